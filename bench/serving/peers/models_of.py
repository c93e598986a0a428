"""The models of the benchmark as a peer's server has them in memory: name -> something with `predict`."""

import os
from pathlib import Path
from typing import Any

import joblib
import xgboost

DATA = Path(os.environ["SERVING_DATA"])


def load(name: str) -> Any:
    if name != "xgb":
        return joblib.load(DATA / name / "model.joblib")
    classifier = xgboost.XGBClassifier(n_jobs=1)
    classifier.load_model(DATA / name / "model.ubj")
    return classifier


def load_all() -> dict[str, Any]:
    return {name: load(name) for name in ("iris", "rf", "xgb")}

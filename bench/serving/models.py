"""The models of the benchmark, trained the same each time, with request bodies and the answers to them.

| model | what |
| --- | --- |
| iris | StandardScaler and LogisticRegression, 4 features: the call is nothing, the way to it all |
| rf | a random forest of 100 trees, 30 features: 10 ms and more for one row |
| xgb | XGBoost, 200 trees of depth 6, 30 features |
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MODELS = ("xgb", "iris", "rf")
SIZES = (1, 8, 100)
_VERSION = "2"
"""Of what is below: a folder that another version wrote is written again."""


def prepare(folder: Path) -> Path:
    """The folder with everything in it: `MODEL/`, `bodies/` and `answers.json`, written if it is not there."""
    stamp = folder / "version"
    if not stamp.exists() or stamp.read_text() != _VERSION:
        (folder / "bodies").mkdir(parents=True, exist_ok=True)
        (folder / "answers.json").write_text(json.dumps(_write(folder)))
        stamp.write_text(_VERSION)
    return folder


def body(folder: Path, model: str, size: int, protocol: str = "v1") -> Path:
    return folder / "bodies" / f"{model}-{size}.{protocol}.json"


class Answers:
    """What the models answer: labels, or for XGBoost the probabilities that a Booster gives, as on the old service."""

    def __init__(self, folder: Path) -> None:
        self._right: dict[str, list[list[float]]] = json.loads((folder / "answers.json").read_text())

    def agree(self, model: str, size: int, answer: Any) -> bool:
        """Whether a decoded body, of whatever protocol, holds the right predictions."""
        given = _numbers(_predictions(answer))
        return any(
            len(given) == size
            and all(math.isclose(g, r, abs_tol=1e-5) for g, r in zip(given, right[:size], strict=True))
            for right in self._right[model]
        )


def _predictions(answer: Any) -> Any:
    if isinstance(answer, dict):
        return answer["predictions"] if "predictions" in answer else answer["outputs"][0]["data"]
    return answer


def _numbers(predictions: Any) -> list[float]:
    """A flat list of a list of numbers, or of lists of one number."""
    return [float(inner) for one in predictions for inner in (one if isinstance(one, list) else [one])]


def _write(folder: Path) -> dict[str, list[list[float]]]:
    import joblib
    import numpy as np
    import xgboost
    from sklearn.datasets import load_iris, make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    flowers, kinds = load_iris(return_X_y=True)
    order = np.random.default_rng(7).permutation(len(flowers))
    flowers, kinds = flowers[order], kinds[order]
    rows, labels = make_classification(20_000, 30, n_informative=12, n_redundant=6, random_state=7)
    rows = rows.round(4)
    iris = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(flowers, kinds)
    rf = RandomForestClassifier(100, random_state=7, n_jobs=1).fit(rows, labels)
    xgb = xgboost.XGBClassifier(
        n_estimators=200, max_depth=6, learning_rate=0.1, tree_method="hist", n_jobs=1, random_state=7
    ).fit(rows, labels)
    for name in MODELS:
        (folder / name).mkdir(exist_ok=True)
    joblib.dump(iris, folder / "iris" / "model.joblib")
    joblib.dump(rf, folder / "rf" / "model.joblib")
    for file in ("model.json", "model.ubj"):
        xgb.save_model(folder / "xgb" / file)
    asked = {name: (flowers if name == "iris" else rows)[: SIZES[-1]] for name in MODELS}
    for name, instances in asked.items():
        for size in SIZES:
            _write_bodies(folder, name, instances[:size].tolist())
    probabilities = xgb.predict_proba(asked["xgb"])[:, 1].astype(float)
    return {
        "iris": [iris.predict(asked["iris"]).tolist()],
        "rf": [rf.predict(asked["rf"]).tolist()],
        "xgb": [xgb.predict(asked["xgb"]).tolist(), probabilities.tolist()],
    }


def _write_bodies(folder: Path, name: str, instances: Sequence[Sequence[float]]) -> None:
    tensor = {
        "name": "x",
        "shape": [len(instances), len(instances[0])],
        "datatype": "FP64",
        "data": [value for instance in instances for value in instance],
    }
    body(folder, name, len(instances), "v1").write_text(json.dumps({"instances": instances}))
    body(folder, name, len(instances), "v2").write_text(json.dumps({"inputs": [tensor]}))

"""Models for the tests: a real one, and ones whose code is written in the test that needs them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from mlgate.ports import ModelSpec


@cache
def iris() -> LogisticRegression:
    return LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))


@dataclass
class Written:
    """Unpickles to the `model` that `source` defines: what any pickle can do."""

    source: str

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"(lambda names: exec({self.source!r}, names) or names['model'])({{}})",)


def model_class(predict: str) -> Written:
    """An object of a class that claims to be scikit-learn's, with this body of `predict(self, x)`."""
    lines = "\n".join("        " + line for line in predict.splitlines())
    return Written(
        "import os, time, signal, numpy as np\n"
        f"class Model:\n    def predict(self, x):\n{lines}\nModel.__module__ = 'sklearn.tests'\nmodel = Model()\n"
    )


def spec(folder: Path, model: Any, uid: str, **fields: Any) -> ModelSpec:
    """Store the model in a folder that anybody may read (pytest's are private) and describe its version."""
    directory = folder / uid
    directory.mkdir()
    joblib.dump(model, directory / "model.joblib")
    return ModelSpec(uid, str(directory), "SCIKIT_LEARN", sys.executable, **fields)

"""XGBoost: `DMatrix(np.array(instances))` -> the Booster's `predict` -> a list: probabilities, where the objective has
them, and not the labels that XGBClassifier.predict gives; as Google did.

A pickled XGBClassifier or XGBRegressor is served by its Booster. (On the old service it was accepted and then failed
at every prediction.) Named features are matched by place, since an array has no names.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping
from typing import Any

from .contract import LOADING, RUNNING, Failed
from .dense import direct
from .frameworks import Model
from .pickled import FILES, Pickled, holds, load_pickled, pickled_file

BOOSTER_FILE = "model.bst"
_OLD_FORMAT = b"binf"


def load(directory: str, options: Mapping[str, Any]) -> Model:
    """The model of model.joblib, else model.pkl, else model.bst. Raises Failed(LOADING)."""
    try:
        import xgboost
    except ImportError as error:
        raise Failed(LOADING, f"the version's environment has no XGBoost ({error}).") from None
    if pickled_file(directory):
        return model_of(load_pickled(directory))
    path = os.path.join(directory, BOOSTER_FILE)
    if not os.path.isfile(path):
        names = ", ".join((*FILES, BOOSTER_FILE))
        raise Failed(LOADING, f"none of {names} is in the model's folder, which holds: {holds(directory)}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not know the ending .bst any more, and goes by the content
            booster = xgboost.Booster(model_file=path)
        return _model(booster, "")
    except MemoryError:
        raise Failed(LOADING, f"{BOOSTER_FILE} does not fit in the memory limit of its process.") from None
    except Exception as error:  # noqa: BLE001 - XGBoost raises what its version likes
        raise Failed(LOADING, f"{BOOSTER_FILE} could not be read: {_why(path, xgboost.__version__, error)}") from None


def _why(path: str, version: str, error: Exception) -> str:
    with open(path, "rb") as file:
        is_old = file.read(len(_OLD_FORMAT)) == _OLD_FORMAT
    if is_old:
        return (
            f"it is in the old binary format of XGBoost, which XGBoost {version} cannot read any more. Choose a"
            " runtimeVersion with an older XGBoost, or convert it with one before 3.1 (pip install 'xgboost<3.1'):"
            " b = xgboost.Booster(model_file='model.bst'); b.save_model('model.ubj'); then upload model.ubj under the"
            " name model.bst."
        )
    return f"{_told(error)}. Is it a file written by Booster.save_model?"


def _told(error: Exception) -> str:
    """XGBoost's own words, without the time, the place in its source and the stack that it puts around them."""
    line = str(error).strip().split("\n", 1)[0]
    return re.sub(r"^\[[\d:]+\] \S+: (Check failed: )?", "", line).rstrip(".") or type(error).__name__


def model_of(pickled: Pickled) -> Model:
    """Raises Failed(LOADING) for what XGBoost did not make."""
    model = pickled.model
    if "xgboost" not in type(model).__module__:
        raise Failed(
            LOADING,
            f"Invalid model type detected: {pickled.kind()}. Please make sure the model file is an exported xgboost"
            " model.",
        )
    try:
        booster = model.get_booster() if hasattr(model, "get_booster") else model
        return _model(booster, pickled.hint)
    except Exception as error:  # noqa: BLE001 - a model that was never fitted, or no model at all
        raise Failed(LOADING, f"{pickled.kind()} holds no Booster that can predict: {_told(error)}") from None


def _model(booster: Any, hint: str) -> Model:
    import numpy
    import xgboost

    booster.set_param({"nthread": 1})  # a pickle remembers how many cores it was trained with
    booster.feature_names = None
    booster.feature_types = None
    features = booster.num_features()
    largest = float(numpy.finfo(numpy.float32).max)
    learner = json.loads(booster.save_config())["learner"]
    is_plain = learner["gradient_booster"]["name"] == "gbtree"
    dense = direct(booster)

    def is_quick(inputs: Any) -> bool:
        fits = is_plain and inputs.ndim == 2 and inputs.shape[1] == features and inputs.dtype.kind in "iuf"
        return fits and bool(numpy.abs(inputs).max(initial=0) <= largest)

    def predict(inputs: Any) -> Any:
        inputs = numpy.asarray(inputs)  # a processor's step may have made it a list
        # Without the copy into a DMatrix the same trees give the same numbers in half the time. What a DMatrix would
        # refuse, or read in a way of its own, takes the long way.
        if is_quick(inputs):
            return dense(inputs)
        try:
            matrix = xgboost.DMatrix(inputs)
        except Exception as error:  # noqa: BLE001 - a caller's values may do anything
            raise Failed(RUNNING, f"Could not initialize DMatrix from inputs: {_told(error)}") from None
        try:
            return booster.predict(matrix)
        except xgboost.core.XGBoostError as error:
            raise Failed(RUNNING, f"Exception during xgboost prediction: {_told(error)}{hint}") from None

    # multi:softmax answers with labels; what they were chosen by is the margin
    chooses = learner["objective"]["name"] == "multi:softmax"

    def scores(inputs: Any) -> Any:
        return booster.predict(xgboost.DMatrix(inputs), output_margin=True) if chooses else predict(inputs)

    def prepare(instances: Any, fields: Any) -> Any:
        return numpy.array(instances)

    return Model("xgboost", prepare, predict, hint, scores=scores, source=booster)

"""scikit-learn: `np.array(instances)` -> `predict` -> a list: class labels, not probabilities, as Google did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .contract import LOADING, Failed
from .frameworks import Model, load_pickled


def load(directory: str, options: Mapping[str, Any]) -> Model:
    try:
        import numpy
        import sklearn  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise Failed(LOADING, f"the version's environment has no scikit-learn ({error}).") from None
    model, hint = load_pickled(directory, "scikit-learn", sklearn.__version__)
    kind = type(model)
    if "sklearn" not in kind.__module__:
        raise Failed(
            LOADING,
            f"Invalid model type detected: {kind.__module__}.{kind.__name__}. Please make sure the model file is an"
            " exported sklearn model or pipeline.",
        )
    if not callable(getattr(model, "predict", None)):
        raise Failed(
            LOADING, f"{kind.__module__}.{kind.__name__} has no predict method, so it cannot serve predictions."
        )
    return Model("sklearn", numpy.array, model.predict, hint)

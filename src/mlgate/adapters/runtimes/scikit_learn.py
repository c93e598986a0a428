"""scikit-learn: `np.array(instances)` -> `predict` -> a list: class labels, not probabilities, as Google did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .contract import LOADING, Failed
from .frameworks import Model
from .pickled import Pickled, load_pickled


def load(directory: str, options: Mapping[str, Any]) -> Model:
    try:
        import sklearn  # type: ignore[import-untyped,unused-ignore]  # noqa: F401 - a pickle would say less clearly
    except ImportError as error:
        raise Failed(LOADING, f"the version's environment has no scikit-learn ({error}).") from None
    return model_of(load_pickled(directory))


def model_of(pickled: Pickled) -> Model:
    """Raises Failed(LOADING) for what scikit-learn did not make, or what cannot predict."""
    import numpy

    if "sklearn" not in type(pickled.model).__module__:
        raise Failed(
            LOADING,
            f"Invalid model type detected: {pickled.kind()}. Please make sure the model file is an exported sklearn"
            " model or pipeline.",
        )
    if not callable(getattr(pickled.model, "predict", None)):
        raise Failed(LOADING, f"{pickled.kind()} has no predict method, so it cannot serve predictions.")
    return Model(
        "sklearn",
        lambda instances, fields: numpy.array(instances),
        pickled.model.predict,
        pickled.hint,
        scores=_scores(pickled.model),
        source=pickled.model,
    )


def _scores(model: Any) -> Any:
    """Probabilities, else distances from the border between labels, else what is predicted: numbers that move."""
    ways = ("predict_proba", "decision_function", "predict")
    return next(getattr(model, way) for way in ways if callable(getattr(model, way, None)))

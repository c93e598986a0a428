"""The frameworks that a version may name: one file and one line in FRAMEWORKS each.

A framework's file has `load(directory, options) -> Model`, which raises `Failed` with a text that the person who
deploys can act on. It imports its framework inside `load`, so that another framework's process never does. A version
that names none is decided by its files, and a pickle by what it holds: here, in the sandbox, and nowhere else.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from .contract import LOADING, Failed
from .packages import install
from .pickled import load_pickled, pickled_file

FRAMEWORKS = {
    "SCIKIT_LEARN": "scikit_learn",
    "XGBOOST": "xgboost",
    "TENSORFLOW": "tensorflow",
    "CUSTOM": "custom",
}

#: Of a version without a framework: the file that tells which. A pickle is looked into.
_TELLING = {"saved_model.pb": "TENSORFLOW", "saved_model.pbtxt": "TENSORFLOW", "model.bst": "XGBOOST"}


def array_key(inputs: Any) -> Hashable:
    """Arrays of one type and one row shape can be predicted together; anything else cannot."""
    return (inputs.dtype, inputs.shape[1:]) if getattr(inputs, "shape", ()) else None


def join_arrays(inputs: Sequence[Any]) -> Any:
    import numpy

    return numpy.concatenate(inputs)


def listed(output: Any) -> Any:
    return output.tolist() if hasattr(output, "tolist") else list(output)


class Model(NamedTuple):
    """A loaded model, as steps: `prepare(instances, fields)` gives its input, `predict` an output, `rows` what is
    written as the predictions. Each may raise Failed; whatever else they raise is reported for them (batching.py).

    Inputs of one `key`, unless that is None, are predicted together after `join`; `len` of an input is its number of
    instances. `hint` is put after the text of a failed prediction.

    Explanations (explaining.py) need `scores(input)`, numbers for each label, a row an instance, or such by output;
    and, for integrated gradients, `gradients(input, output, labels)`, the derivatives of each row's score for its label
    by input. `directory` is where the model's files are.
    """

    label: str
    prepare: Callable[[Any, Mapping[str, Any]], Any]
    predict: Callable[[Any], Any]
    hint: str = ""
    rows: Callable[[Any], Any] = listed
    key: Callable[[Any], Hashable] = array_key
    join: Callable[[Sequence[Any]], Any] = join_arrays
    scores: Callable[[Any], Any] | None = None
    gradients: Callable[[Any, str, Any], Mapping[str, Any]] | None = None
    directory: str = ""
    #: The framework's own object, where a faster copy may be made of it (faster.py).
    source: Any = None


def load_model(framework: str, directory: str, options: Mapping[str, Any]) -> tuple[str, Model]:
    """The model and its framework, found out when `framework` is empty. Raises Failed.

    Code of the user's own (options `packages`) is put on the module path first: a pickle may need it, too. Options
    `explanation` says how the model is to be explained, which must be possible.
    """
    framework, model = _load(framework, directory, options)
    model = model._replace(directory=directory)
    if options.get("explanation"):
        importlib.import_module(".explaining", __package__).check(model, options["explanation"])
    return framework, model


def _load(framework: str, directory: str, options: Mapping[str, Any]) -> tuple[str, Model]:
    if options.get("packages"):
        install(options["packages"])
    if framework:
        return framework, _module(framework).load(directory, options)
    for name, told in _TELLING.items():
        if not pickled_file(directory) and os.path.isfile(os.path.join(directory, name)):
            return told, _module(told).load(directory, options)
    pickled = load_pickled(directory)
    framework = "XGBOOST" if type(pickled.model).__module__.split(".")[0] == "xgboost" else "SCIKIT_LEARN"
    return framework, _module(framework).model_of(pickled)


def _module(framework: str) -> Any:
    if framework not in FRAMEWORKS:
        known = ", ".join(sorted(FRAMEWORKS))
        raise Failed(LOADING, f"framework '{framework}' cannot be served here; use one of: {known}")
    return importlib.import_module("." + FRAMEWORKS[framework], __package__)

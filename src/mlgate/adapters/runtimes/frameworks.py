"""The frameworks that a version may name: one file and one line in FRAMEWORKS each.

A framework's file has `load(directory, options) -> Model`, which raises `Failed(LOADING, ...)` with a text that the
person who deploys can act on. It imports its framework inside `load`, so that another framework's process never does.
"""

from __future__ import annotations

import importlib
import os
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .contract import LOADING, Failed

FRAMEWORKS = {
    "SCIKIT_LEARN": "scikit_learn",
}


class Model(NamedTuple):
    """A loaded model: `prepare` turns a list of instances into its input, `predict` that into its output.

    Inputs that are arrays of one type and row shape are predicted together; see batching.py. `hint` is put after the
    text of a failed prediction.
    """

    label: str
    prepare: Callable[[Any], Any]
    predict: Callable[[Any], Any]
    hint: str = ""


def load_model(framework: str, directory: str, options: Mapping[str, Any]) -> Model:
    """Raises Failed(LOADING)."""
    module = FRAMEWORKS.get(framework)
    if module is None:
        known = ", ".join(sorted(FRAMEWORKS))
        raise Failed(LOADING, f"framework '{framework}' cannot be served here; use one of: {known}")
    load: Callable[[str, Mapping[str, Any]], Model] = importlib.import_module("." + module, __package__).load
    return load(directory, options)


#: Where a module's file is, as Python's errors tell it: no business of the model's owner.
_PLACE = re.compile(r" from '/[^']*'")


def load_pickled(directory: str, label: str, version: str) -> tuple[Any, str]:
    """The object in `model.joblib`, else in `model.pkl`, and a hint on versions that differ. Raises Failed(LOADING).

    Unpickling runs whatever code the file holds; only the sandbox around this process makes that tolerable.
    """
    path = next((p for n in ("model.joblib", "model.pkl") if os.path.isfile(p := os.path.join(directory, n))), None)
    if path is None:
        found = ", ".join(sorted(os.listdir(directory))[:20]) or "nothing"
        raise Failed(LOADING, f"neither model.joblib nor model.pkl is in the model's folder, which holds: {found}.")
    name = os.path.basename(path)
    try:
        import joblib  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise Failed(LOADING, f"the version's environment has no joblib ({error}).") from None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = joblib.load(path)
        except ModuleNotFoundError as error:
            raise Failed(
                LOADING,
                f"{name} needs the module '{error.name}', which the version's environment"
                " has not: choose a runtimeVersion that has it, or save a model that does not need it.",
            ) from None
        except MemoryError:
            raise Failed(LOADING, f"{name} does not fit in the memory limit of its process.") from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a pickle may raise anything
            hint = _version_hint(caught, label, version)
            raise Failed(
                LOADING,
                f"{name} could not be read: {type(error).__name__}: {_PLACE.sub('', str(error))}."
                f"{hint or _unreadable(error)}",
            ) from None
    return model, _version_hint(caught, label, version)


def _unreadable(error: BaseException) -> str:
    if isinstance(error, AttributeError):
        return (
            " It refers to code of your own, which is not in the version's environment: save a model that needs none."
        )
    if isinstance(error, OSError):
        return ""
    return " Is it a file written by joblib.dump or pickle.dump?"


def _version_hint(caught: list[warnings.WarningMessage], label: str, version: str) -> str:
    """scikit-learn warns when a file was written by another version; say so only once something goes wrong."""
    for warning in caught:
        found = re.search(r"from version (\S+) when using version", str(warning.message))
        if found:
            return (
                f" The model was saved with {label} {found[1]} and this environment has {version}: choose a"
                f" runtimeVersion that has {found[1]}, or save the model again."
            )
    return ""

"""`model.joblib`, else `model.pkl`. Unpickling runs whatever code the file holds; only the sandbox around this process
makes that tolerable."""

from __future__ import annotations

import os
import re
import warnings
from typing import Any, NamedTuple

from .contract import LOADING, Failed

FILES = ("model.joblib", "model.pkl")

#: Where a module's file is, as Python's errors tell it: no business of the model's owner.
_PLACE = re.compile(r" from '/[^']*'")


class Pickled(NamedTuple):
    """An object that was read, and a hint on versions that differ, for when something goes wrong."""

    model: Any
    hint: str

    def kind(self) -> str:
        return f"{type(self.model).__module__}.{type(self.model).__name__}"


def pickled_file(directory: str) -> str | None:
    """The path of the pickle that a directory holds."""
    return next((path for name in FILES if os.path.isfile(path := os.path.join(directory, name))), None)


def holds(directory: str) -> str:
    """What is in a directory, as the end of a sentence."""
    return ", ".join(sorted(os.listdir(directory))[:20]) or "nothing"


def load_pickled(directory: str) -> Pickled:
    """Raises Failed(LOADING)."""
    path = pickled_file(directory)
    if path is None:
        raise Failed(
            LOADING, f"neither model.joblib nor model.pkl is in the model's folder, which holds: {holds(directory)}."
        )
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
                f"{name} needs the module '{error.name}', which the version's environment has not: choose a"
                " runtimeVersion that has it, give it in packageUris, or save a model that does not need it.",
            ) from None
        except MemoryError:
            raise Failed(LOADING, f"{name} does not fit in the memory limit of its process.") from None
        except Failed:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a pickle may raise anything
            raise Failed(
                LOADING,
                f"{name} could not be read: {type(error).__name__}: {_PLACE.sub('', str(error))}."
                f"{_version_hint(caught) or _unreadable(error)}",
            ) from None
    return Pickled(model, _version_hint(caught))


def _unreadable(error: BaseException) -> str:
    if isinstance(error, AttributeError):
        return (
            " It refers to code of your own, which is not in the version's environment: give it in packageUris, or save"
            " a model that needs none."
        )
    if isinstance(error, OSError):
        return ""
    return " Is it a file written by joblib.dump or pickle.dump?"


def _version_hint(caught: list[warnings.WarningMessage]) -> str:
    """scikit-learn warns when a file was written by another version; say so only once something goes wrong."""
    for warning in caught:
        found = re.search(r"from version (\S+) when using version (\S+?)\.?(?:\s|$)", str(warning.message))
        if found:
            return (
                f" The model was saved with scikit-learn {found[1]} and this environment has {found[2]}: choose a"
                f" runtimeVersion that has {found[1]}, or save the model again."
            )
    return ""

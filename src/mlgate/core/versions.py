"""Versions: which states they walk through, what a new one must say, and what its files tell of its framework.

    (new) -> CREATING -> READY <-> UPDATING
                 |         |          |
                 v         v          v
               FAILED -> DELETING  FAILED

A version in CREATING, UPDATING or DELETING refuses to be changed or deleted (api.md 2.4). A failed one stays, with its
errorMessage, until it is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from mlgate.core import explanations, runtimes
from mlgate.core.errors import FailedPrecondition, InvalidArgument, Unimplemented
from mlgate.core.names import parse_gs_uri

TRANSITIONS: Mapping[str, frozenset[str]] = {
    "CREATING": frozenset({"READY", "FAILED"}),
    "READY": frozenset({"UPDATING", "DELETING"}),
    "UPDATING": frozenset({"READY", "FAILED"}),
    "FAILED": frozenset({"DELETING"}),
    "DELETING": frozenset(),
}

#: The files by which each framework knows a model, in the order in which they are looked for.
_PICKLES = ("model.joblib", "model.pkl")
_FILES: Mapping[str, tuple[str, ...]] = {
    "TENSORFLOW": ("saved_model.pb", "saved_model.pbtxt"),
    "SCIKIT_LEARN": _PICKLES,
    "XGBOOST": (*_PICKLES, "model.bst"),
}
FRAMEWORKS = tuple(_FILES)
#: Not a framework of the API: what loads a version that has a predictionClass.
CUSTOM = "CUSTOM"
MOST_PACKAGES = 100
PACKAGE_ENDINGS = (".tar.gz", ".whl")
_CLASS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_LATER_FIELDS = (
    "container", "routes", "acceleratorConfig", "lastMigrationModelId", "lastMigrationTime",
)  # fmt: skip


def move(version: dict[str, Any], to: str) -> dict[str, Any]:
    """The version in its next state. Raises FailedPrecondition for a step that is not in the table."""
    state = version["state"]
    if to not in TRANSITIONS.get(state, frozenset()):
        raise FailedPrecondition(f"The version is {state} and cannot become {to}.")
    return {**version, "state": to}


def check_new(version: Mapping[str, Any]) -> None:
    """Raises InvalidArgument for a field that is missing or wrong, Unimplemented for one that this server has not."""
    for field in _LATER_FIELDS:
        if version.get(field):
            raise Unimplemented(f"Version.{field} is not implemented by this server.")
    if version.get("serviceAccount") and not version.get("predictionClass"):
        raise _refuse("serviceAccount", "serviceAccount needs container or predictionClass.")
    _check_code(version)
    if not version.get("deploymentUri"):
        raise _refuse("deploymentUri", "deploymentUri is required: the gs:// directory that holds the model's files.")
    parse_gs_uri(version["deploymentUri"], "version.deploymentUri")
    for field, example in (("runtimeVersion", "2.11"), ("pythonVersion", "3.7")):
        value = version.get(field, "")
        if not re.fullmatch(r"\d{1,3}\.\d{1,3}", value):
            raise _refuse(field, f'{field} "{value[:50]}" is not a version such as {example}.')
    runtimes.check(version["runtimeVersion"], version["pythonVersion"])
    check_scaling(version)
    given = [name for name, value in version.get("fasterCopy", {}).items() if value and name != "disabled"]
    if given:
        raise _refuse(f"fasterCopy.{given[0]}", f"fasterCopy.{given[0]} is told by the server; only disabled is given.")
    explanations.check(version)


def _check_code(version: Mapping[str, Any]) -> None:
    """predictionClass and packageUris (api.md 2.4)."""
    name, uris = version.get("predictionClass", ""), version.get("packageUris") or []
    if name and version.get("framework", "FRAMEWORK_UNSPECIFIED") != "FRAMEWORK_UNSPECIFIED":
        raise _refuse("framework", "framework must not be set with predictionClass.")
    if name and not uris:
        raise _refuse("packageUris", "predictionClass needs packageUris: the packages that hold the class.")
    if name and not (len(name) <= 500 and _CLASS.fullmatch(name)):
        raise _refuse("predictionClass", f'predictionClass "{name[:100]}" is not of the form PACKAGE.MODULE.CLASS.')
    if len(uris) > MOST_PACKAGES:
        raise _refuse("packageUris", f"packageUris holds {len(uris)} packages; {MOST_PACKAGES} are allowed.")
    for i, uri in enumerate(uris):
        field = f"packageUris[{i}]"
        parse_gs_uri(uri, f"version.{field}")
        if not uri.endswith(PACKAGE_ENDINGS):
            raise _refuse(field, f'packageUris "{uri[:300]}" is neither a .tar.gz source archive nor a .whl wheel.')


def check_scaling(version: Mapping[str, Any]) -> None:
    auto, manual = version.get("autoScaling"), version.get("manualScaling")
    if auto and manual:
        raise _refuse("autoScaling", "Give either autoScaling or manualScaling, not both.")
    if manual is not None and not 1 <= manual.get("nodes", 0) <= 1000:
        raise _refuse("manualScaling.nodes", "manualScaling.nodes must be between 1 and 1000.")
    low, high = (auto or {}).get("minNodes", 0), (auto or {}).get("maxNodes")
    if not 0 <= low <= 1000 or (high is not None and not max(low, 1) <= high <= 1000):
        raise _refuse("autoScaling", "autoScaling needs 0 <= minNodes <= maxNodes <= 1000.")


def nodes(version: Mapping[str, Any]) -> dict[str, int]:
    """How many nodes the version is to have: `low` at least, `high` at most; 0 for as many as the machine gives.

    A version that says nothing is scaled automatically and may be without (minNodes 0, as the service had it).
    """
    if version.get("manualScaling"):
        return dict.fromkeys(("low", "high"), version["manualScaling"].get("nodes", 1))
    auto = version.get("autoScaling") or {}
    return {"low": auto.get("minNodes", 0), "high": auto.get("maxNodes", 0)}


def wants_copy(version: Mapping[str, Any], framework: str) -> bool:
    """Whether a faster copy is to be tried: of a framework that has them (or of a pickle, which may hold one), without
    code of the user's own, unless the version says no."""
    is_of_ours = framework in ("", "SCIKIT_LEARN", "XGBOOST") and not version.get("packageUris")
    return is_of_ours and not version.get("fasterCopy", {}).get("disabled")


def copy_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a version says of its faster copy, from what the process that made it said: a stranger's word."""
    reason = said.get("reason")
    if reason is not None:
        return {"state": "UNAVAILABLE", "reason": "".join(c for c in str(reason)[:500] if c.isprintable())}
    try:
        rows, speedup = int(said["maxRows"]), float(said["speedup"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return {"state": "UNAVAILABLE", "reason": "The process that made it did not describe it."}
    return {"state": "READY", "format": "ONNX", "maxRows": min(max(rows, 1), 1 << 20), "speedup": min(speedup, 1e6)}


def framework_of(version: Mapping[str, Any], files: Collection[str]) -> str:
    """What loads these files: CUSTOM, a framework, or "" for a pickle, into which only a model process may look.

    Raises FailedPrecondition with what a person can do.
    """
    if version.get("predictionClass"):
        return CUSTOM
    declared = version.get("framework", "FRAMEWORK_UNSPECIFIED")
    if declared in _FILES:
        wanted = _FILES[declared]
        if not any(name in files for name in wanted):
            raise FailedPrecondition(
                f"Model file not found: deploymentUri holds no {' or '.join(wanted)}, which {declared} needs. "
                f"It holds: {_some(files)}."
            )
        return str(declared)
    if any(name in files for name in _PICKLES):
        return ""
    for framework, names in _FILES.items():
        if any(name in files for name in names):
            return framework
    known = "; ".join(f"{', '.join(names)} ({framework})" for framework, names in _FILES.items())
    raise FailedPrecondition(f"Model file not found: deploymentUri must hold one of {known}. It holds: {_some(files)}.")


def runs_as(framework: str, files: Collection[str]) -> str:
    """The framework whose environment a version needs: a user's own class beside TensorFlow's files may import it."""
    is_tensorflow = any(name.endswith((".keras", ".h5", *_FILES["TENSORFLOW"])) for name in files)
    return "TENSORFLOW" if framework == CUSTOM and is_tensorflow else framework


def _some(files: Collection[str]) -> str:
    shown = sorted(files)
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "") if shown else "nothing"


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(f"version.{field}", message)])

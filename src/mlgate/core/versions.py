"""Versions: which states they walk through, what a new one must say, and how its framework is guessed.

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

from mlgate.core.errors import FailedPrecondition, InvalidArgument, Unimplemented
from mlgate.core.names import parse_gs_uri

TRANSITIONS: Mapping[str, frozenset[str]] = {
    "CREATING": frozenset({"READY", "FAILED"}),
    "READY": frozenset({"UPDATING", "DELETING"}),
    "UPDATING": frozenset({"READY", "FAILED"}),
    "FAILED": frozenset({"DELETING"}),
    "DELETING": frozenset(),
}

FRAMEWORKS = ("SCIKIT_LEARN",)
_FILES: Mapping[str, tuple[str, ...]] = {"SCIKIT_LEARN": ("model.joblib", "model.pkl")}
_LATER_FILES: Mapping[str, tuple[str, ...]] = {"XGBOOST": ("model.bst",), "TENSORFLOW": ("saved_model.pb",)}
_LATER_FIELDS = (
    "container", "routes", "acceleratorConfig", "predictionClass", "packageUris", "explanationConfig",
    "lastMigrationModelId", "lastMigrationTime",
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
    if version.get("serviceAccount"):
        raise _refuse("serviceAccount", "serviceAccount needs container or predictionClass.")
    if not version.get("deploymentUri"):
        raise _refuse("deploymentUri", "deploymentUri is required: the gs:// directory that holds the model's files.")
    parse_gs_uri(version["deploymentUri"], "version.deploymentUri")
    for field, example in (("runtimeVersion", "2.11"), ("pythonVersion", "3.7")):
        value = version.get(field, "")
        if not re.fullmatch(r"\d{1,3}\.\d{1,3}", value):
            raise _refuse(field, f'{field} "{value[:50]}" is not a version such as {example}.')
    framework = version.get("framework", "FRAMEWORK_UNSPECIFIED")
    if framework not in (*FRAMEWORKS, "FRAMEWORK_UNSPECIFIED"):
        raise Unimplemented(f"Version.framework {framework} is not implemented by this server.")
    check_scaling(version)


def check_scaling(version: Mapping[str, Any]) -> None:
    auto, manual = version.get("autoScaling"), version.get("manualScaling")
    if auto and manual:
        raise _refuse("autoScaling", "Give either autoScaling or manualScaling, not both.")
    if manual is not None and not 1 <= manual.get("nodes", 0) <= 1000:
        raise _refuse("manualScaling.nodes", "manualScaling.nodes must be between 1 and 1000.")
    low, high = (auto or {}).get("minNodes", 0), (auto or {}).get("maxNodes")
    if not 0 <= low <= 1000 or (high is not None and not max(low, 1) <= high <= 1000):
        raise _refuse("autoScaling", "autoScaling needs 0 <= minNodes <= maxNodes <= 1000.")


def framework_of(declared: str, files: Collection[str]) -> str:
    """The framework that loads these files. Raises FailedPrecondition with what a person can do."""
    if declared and declared != "FRAMEWORK_UNSPECIFIED":
        wanted = _FILES[declared]
        if not any(name in files for name in wanted):
            raise FailedPrecondition(
                f"Model file not found: deploymentUri holds no {' or '.join(wanted)}, which {declared} needs. "
                f"It holds: {_some(files)}."
            )
        return declared
    for framework, names in _FILES.items():
        if any(name in files for name in names):
            return framework
    for framework, names in _LATER_FILES.items():
        if any(name in files for name in names):
            raise FailedPrecondition(f"These files are a {framework} model, which this server does not serve yet.")
    raise FailedPrecondition(
        "Model file not found: deploymentUri must hold one of model.joblib, model.pkl (scikit-learn). "
        f"It holds: {_some(files)}."
    )


def _some(files: Collection[str]) -> str:
    shown = sorted(files)
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "") if shown else "nothing"


def _refuse(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, fields=[(f"version.{field}", message)])

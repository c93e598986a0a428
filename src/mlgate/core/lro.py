"""Long-running operations: their two states, and their plain form on the wire.

An operation is running until it is done, and then has exactly one of a response and an error (google.longrunning). A
cancelled one stays, with error code 1. These functions take and give the operation's JSON; nothing else writes one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mlgate.core.errors import Cancelled, RpcError
from mlgate.core.wire import format_timestamp

METADATA_TYPE = "type.googleapis.com/google.cloud.ml.v1.OperationMetadata"
EMPTY_TYPE = "type.googleapis.com/google.protobuf.Empty"
MODEL_TYPE = "type.googleapis.com/google.cloud.ml.v1.Model"
VERSION_TYPE = "type.googleapis.com/google.cloud.ml.v1.Version"
#: Of studies. The misspelling is the API's own (api.md 2.8).
SUGGEST_TYPE = "type.googleapis.com/google.cloud.ml.v1.SuggestTrialsMetadata"
SUGGEST_RESPONSE_TYPE = "type.googleapis.com/google.cloud.ml.v1.SuggestTrialsResponse"
CHECK_TYPE = "type.googleapis.com/google.cloud.ml.v1.CheckTrialEarlyStoppingStateMetatdata"
CHECK_RESPONSE_TYPE = "type.googleapis.com/google.cloud.ml.v1.CheckTrialEarlyStoppingStateResponse"


def running(name: str, kind: str, model: str, now: datetime, **metadata: Any) -> dict[str, Any]:
    """A new operation of `kind` (CREATE_VERSION and its like) on a model."""
    said = {k: v for k, v in metadata.items() if v}
    return {
        "name": name,
        "metadata": {
            "@type": METADATA_TYPE,
            "createTime": format_timestamp(now),
            "operationType": kind,
            "modelName": model,
            **said,
        },
    }


def of_study(name: str, kind: str, now: datetime, **metadata: Any) -> dict[str, Any]:
    """A new operation on a study; `kind` is the type of its metadata, which has no times but this one."""
    return {"name": name, "metadata": {"@type": kind, "createTime": format_timestamp(now), **metadata}}


def is_started(operation: dict[str, Any]) -> bool:
    return "startTime" in operation["metadata"]


def started(operation: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Somebody works on it."""
    return _with_metadata(operation, startTime=operation["metadata"].get("startTime") or format_timestamp(now))


def cancelling(operation: dict[str, Any]) -> dict[str, Any]:
    """Cancellation is asked for; whoever does the work sees it at its next step."""
    return operation if is_done(operation) else _with_metadata(operation, isCancellationRequested=True)


def cancelled(operation: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Asked to stop: an operation on a study has no steps and ends at once, any other at its next step."""
    if is_done(operation) or operation["metadata"]["@type"] == METADATA_TYPE:
        return cancelling(operation)
    return failed(operation, now, Cancelled("The operation was cancelled."))


def succeeded(operation: dict[str, Any], now: datetime, response: dict[str, Any] | None = None) -> dict[str, Any]:
    """Done, with the resource (and its @type) or with Empty."""
    _check_running(operation)
    return {**_ended(operation, now), "done": True, "response": response or {"@type": EMPTY_TYPE}}


def failed(operation: dict[str, Any], now: datetime, error: RpcError) -> dict[str, Any]:
    _check_running(operation)
    return {**_ended(operation, now), "done": True, "error": {"code": error.number, "message": error.message}}


def is_done(operation: dict[str, Any]) -> bool:
    return bool(operation.get("done"))


def is_cancelling(operation: dict[str, Any]) -> bool:
    return bool(operation["metadata"].get("isCancellationRequested"))


def _ended(operation: dict[str, Any], now: datetime) -> dict[str, Any]:
    moment = format_timestamp(now)
    if operation["metadata"]["@type"] != METADATA_TYPE:
        return operation
    return _with_metadata(operation, startTime=operation["metadata"].get("startTime") or moment, endTime=moment)


def _with_metadata(operation: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**operation, "metadata": {**operation["metadata"], **changes}}


def _check_running(operation: dict[str, Any]) -> None:
    if is_done(operation):
        raise ValueError(f"{operation['name']} is done already")

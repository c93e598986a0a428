"""From core errors to HTTP: the only place that knows both."""

from __future__ import annotations

from typing import Any

import msgspec

from mlgate.api.call import Response
from mlgate.core import errors
from mlgate.core.errors import RpcError

_HTTP: dict[str, int] = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 416,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}
_HTTP_BY_CLASS: dict[type[RpcError], int] = {errors.ConditionNotMet: 412, errors.TooLarge: 413}
#: The `reason` that the older form of the error carries beside it, which Storage's clients read.
_LEGACY = {401: "authError", 403: "forbidden", 404: "notFound", 409: "conflict", 412: "conditionNotMet"}


def respond(error: RpcError, *, storage: bool = False) -> Response:
    """The response for an error, in Google's JSON form (api.md rule 7)."""
    status = _HTTP_BY_CLASS.get(type(error), _HTTP[error.status])
    body: dict[str, Any] = {"code": status, "message": error.message, "status": error.status}
    if storage:
        body["errors"] = [
            {"message": error.message, "domain": "global", "reason": _LEGACY.get(status, "invalid")},
        ]
    details = _details(error)
    if details:
        body["details"] = details
    headers = [("Vary", "Origin")]
    if status == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="mlgate", error="invalid_token"'))
    return Response(status=status, body=msgspec.json.encode({"error": body}), headers=headers)


def _details(error: RpcError) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    if error.reason:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": error.reason,
                "domain": "mlgate",
                "metadata": error.metadata,
            }
        )
    if error.fields:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": field, "description": what} for field, what in error.fields],
            }
        )
    return details

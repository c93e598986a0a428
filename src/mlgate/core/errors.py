"""The errors of google.rpc as exceptions.

Every layer raises these and nothing else for a fault that a caller should hear about. They know their canonical code
(https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto) and nothing of HTTP; `http/errors.py` alone
turns one into a status line and a body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar


class RpcError(Exception):
    """An error with a canonical code, a message for the caller, and optionally the fields at fault.

    `reason` and `metadata` become the `google.rpc.ErrorInfo` detail; `fields` (pairs of field path and description)
    become `google.rpc.BadRequest`.
    """

    status: ClassVar[str] = "UNKNOWN"
    number: ClassVar[int] = 2

    def __init__(
        self,
        message: str,
        *,
        fields: Sequence[tuple[str, str]] = (),
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fields = tuple(fields)
        self.reason = reason
        self.metadata = dict(metadata or {})


class Cancelled(RpcError):
    status, number = "CANCELLED", 1


class InvalidArgument(RpcError):
    status, number = "INVALID_ARGUMENT", 3


class DeadlineExceeded(RpcError):
    status, number = "DEADLINE_EXCEEDED", 4


class NotFound(RpcError):
    status, number = "NOT_FOUND", 5


class AlreadyExists(RpcError):
    status, number = "ALREADY_EXISTS", 6


class PermissionDenied(RpcError):
    status, number = "PERMISSION_DENIED", 7


class ResourceExhausted(RpcError):
    status, number = "RESOURCE_EXHAUSTED", 8


class FailedPrecondition(RpcError):
    status, number = "FAILED_PRECONDITION", 9


class Aborted(RpcError):
    """A concurrent change won; the caller reads again and retries the whole cycle."""

    status, number = "ABORTED", 10


class OutOfRange(RpcError):
    """A byte range outside an object."""

    status, number = "OUT_OF_RANGE", 11


class Unimplemented(RpcError):
    status, number = "UNIMPLEMENTED", 12


class Internal(RpcError):
    status, number = "INTERNAL", 13


class Unavailable(RpcError):
    status, number = "UNAVAILABLE", 14


class Unauthenticated(RpcError):
    status, number = "UNAUTHENTICATED", 16


class ConditionNotMet(RpcError):
    """A storage precondition (`ifGenerationMatch` and its like) does not hold; HTTP 412 in the Storage API."""

    status, number = "FAILED_PRECONDITION", 9


class TooLarge(RpcError):
    """A request body above its limit."""

    status, number = "INVALID_ARGUMENT", 3

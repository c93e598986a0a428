"""Messages of long-running operations (google.longrunning)."""

from __future__ import annotations

from mlgate.api.messages.message import Json, Message


class Status(Message, schema="GoogleRpc__Status"):
    code: int | None = None
    details: list[dict[str, Json]] | None = None
    message: str | None = None


class Operation(Message, schema="GoogleLongrunning__Operation"):
    """Work that outlives its request."""

    done: bool | None = None
    error: Status | None = None
    metadata: dict[str, Json] | None = None
    name: str | None = None
    response: dict[str, Json] | None = None


class ListOperationsResponse(Message, schema="GoogleLongrunning__ListOperationsResponse"):
    next_page_token: str | None = None
    operations: list[Operation] | None = None
    unreachable: list[str] | None = None

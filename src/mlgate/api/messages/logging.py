"""Messages of Logging v2: reading the entries of a log."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Message, Timestamp


class MonitoredResource(Message):
    labels: dict[str, str] | None = None
    type: str | None = None


class LogEntry(Message):
    """One line."""

    insert_id: str | None = None
    labels: dict[str, str] | None = None
    log_name: str | None = None
    receive_timestamp: Timestamp | None = None
    resource: MonitoredResource | None = None
    severity: (
        Literal["DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"] | None
    ) = None
    text_payload: str | None = None
    timestamp: Timestamp | None = None


class ListLogEntriesRequest(Message):
    filter: str | None = None
    order_by: str | None = None
    page_size: int | None = None
    page_token: str | None = None
    project_ids: list[str] | None = None
    resource_names: list[str] | None = None


class ListLogEntriesResponse(Message):
    entries: list[LogEntry] | None = None
    next_page_token: str | None = None

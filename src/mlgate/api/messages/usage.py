"""Messages of what is counted and logged of predictions: our own."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Duration, Int64, Message, Timestamp


class UsagePoint(Message):
    """What was counted in a period. `failures` are the answers that were no predictions, by HTTP status: 400 is the
    model's failure, 429 a full queue, 503 a process that is not there, 504 one that took too long. The percentiles are
    of the time in which the model answered, and off by 9 % at most."""

    failures: dict[str, Int64] | None = None
    p50: Duration | None = None
    p95: Duration | None = None
    p99: Duration | None = None
    request_bytes: Int64 | None = None
    requests: Int64 | None = None
    response_bytes: Int64 | None = None
    start_time: Timestamp | None = None
    unlogged_requests: Int64 | None = None


class Metrics(Message):
    """Usage of a model or version: in all, and in each period in which there was any."""

    alignment_period: Duration | None = None
    end_time: Timestamp | None = None
    name: str | None = None
    points: list[UsagePoint] | None = None
    start_time: Timestamp | None = None
    total: UsagePoint | None = None


class VersionLogLine(Message):
    """A line of a version's log. The fields beside `text` are those of predictions (kind ACCESS)."""

    kind: Literal["KIND_UNSPECIFIED", "SERVER", "CONSOLE", "ACCESS"] | None = None
    latency: Duration | None = None
    method: str | None = None
    request_bytes: Int64 | None = None
    response_bytes: Int64 | None = None
    status: int | None = None
    text: str | None = None
    time: Timestamp | None = None


class ListVersionLogsResponse(Message):
    lines: list[VersionLogLine] | None = None

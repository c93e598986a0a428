"""What `mlgate models metrics`, `versions metrics` and `versions logs` share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from mlgate.cli.client import Client
from mlgate.cli.moments import begin

Since = Annotated[str, typer.Option(help="From when on: so long ago, such as 2h or 7d, or a moment.")]
Every = Annotated[str | None, typer.Option(help="One line for each such period, such as 300s; else by the span.")]

COLUMNS = ("startTime", "requests", "failures", "p50", "p95", "p99")
#: At most about so many lines where no period was asked for.
_LINES = 60


def metrics(client: Client, method: str, name: str, since: str, every: str | None) -> list[dict[str, Any]]:
    """The periods in which something was asked, and all of them together."""
    now = datetime.now(UTC)
    start = begin(since, now)
    query = {"startTime": start.isoformat(), "alignmentPeriod": every or _period(now - start)}
    answer = client.call(method, query=query, name=name)
    return [*answer.get("points", []), {**answer["total"], "startTime": "total"}]


def _period(span: timedelta) -> str:
    """The span in not too many lines, each of 1, 5 or 30 minutes, an hour, six or a day."""
    minutes = span.total_seconds() / 60
    choices = (1, 5, 30, 60, 360)
    return f"{next((choice for choice in choices if minutes / choice <= _LINES), 1440) * 60}s"

"""The log of a version."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from mlgate.console import parts
from mlgate.console.visit import Visit

Json = dict[str, Any]

_LOGS = {"SERVER": "Deployment", "CONSOLE": "What it prints", "ACCESS": "Requests"}
_LOG_LINES = 500
_LATE_SECONDS = 10.0  # lines are written some seconds after what they tell of


async def log(visit: Visit, name: str, is_unsettled: Callable[[], Awaitable[bool]]) -> None:
    """The last lines of what the server did, of what the model prints, or of how it answered; followed until the
    version is settled and its last lines are in."""
    last_unsettled = time.monotonic()
    with ui.element("div").classes("card"):
        with ui.row().classes("actions"):
            kind = ui.toggle(_LOGS, value="SERVER").props("no-caps dense flat")
            kind.props["aria-label"] = "Which log"
            parts.icon_button("refresh", "Refresh", visit.act(lambda: load()))
        box = ui.element("div").classes("log").props('role="log" tabindex="0"')
        box.props["aria-label"] = "Log"

    async def load() -> bool:
        nonlocal last_unsettled
        lines = await visit.api.version_log(name, kind.value, _LOG_LINES)
        if await is_unsettled():
            last_unsettled = time.monotonic()
        if box.is_deleted:
            return False
        box.clear()
        with box:
            if not lines:
                parts.hint("No lines yet.")
            for line in lines:
                ui.label(_log_line(line)).classes("log-line")
        return time.monotonic() - last_unsettled < _LATE_SECONDS

    kind.on_value_change(visit.act(load))
    if await load():
        visit.later(parts.polled(load, box), box)


def _log_line(line: Json) -> str:
    told = line.get("text") or " ".join(str(line[f]) for f in ("method", "status", "latency") if f in line)
    return f"{str(line.get('time', ''))[:19]}  {told}"

"""The log of a version: lines of JSON, each with a time and a kind.

SERVER    what the server says of a deployment and of the version's processes
CONSOLE   what the processes print: always of a deployment, of predictions where the model's
          onlinePredictionConsoleLogging is on
ACCESS    who was answered how: where its onlinePredictionLogging is on
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from mlgate.core.wire import format_timestamp

SERVER, CONSOLE, ACCESS = KINDS = ("SERVER", "CONSOLE", "ACCESS")


def write_line(kind: str, time: datetime, **shown: Any) -> bytes:
    return json.dumps({"time": format_timestamp(time), "kind": kind, **shown}, separators=(",", ":")).encode()


def read_line(line: bytes) -> dict[str, Any] | None:
    """The line's fields in wire form; None for what is none, such as half a line."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None

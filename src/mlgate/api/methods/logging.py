"""Logging v2: the logs of jobs."""

from __future__ import annotations

from mlgate.api.handlers import logging
from mlgate.api.messages.logging import ListLogEntriesRequest, ListLogEntriesResponse
from mlgate.api.method import POST, Audit, Authenticated, Method

_FILTERED = Authenticated("the answer holds only logs of jobs on which the caller has ml.jobs.get")

ROWS: tuple[Method, ...] = (
    Method("logging.entries.list", POST, "v2/entries:list", _FILTERED, logging.list_entries,
           takes=ListLogEntriesRequest, gives=ListLogEntriesResponse, audit=Audit.DATA_READ, max_body=64 << 10,
           also=logging.needs_of_logs, summary="Read what jobs have logged"),
)  # fmt: skip

"""Denied admin writes on their way to the audit log.

A denial costs its caller nothing, so it must cost the server little: entries wait in a bounded line, and one thread
stores as many as have come in one transaction. When the line is full, further ones are counted and the count is logged:
a flood loses detail, never the service.
"""

from __future__ import annotations

import threading
from collections import deque

import structlog

from mlgate.gathering import Gathering
from mlgate.ports import AuditEntry, Store

log = structlog.get_logger("mlgate.audit")

CAPACITY, PAUSE_SECONDS = 2000, 0.2


class Denials:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[AuditEntry] = deque()
        self._dropped = 0
        self._lock = threading.Lock()
        self._gathering = Gathering("denials", PAUSE_SECONDS, self._store_waiting)

    def add(self, entry: AuditEntry) -> None:
        """Take an entry; it is stored soon after."""
        with self._lock:
            if len(self._waiting) >= CAPACITY:
                self._dropped += 1
                return
            self._waiting.append(entry)
        self._gathering.wake()

    def close(self) -> None:
        """Store what waits, and end."""
        self._gathering.close()

    def _store_waiting(self) -> None:
        with self._lock:
            entries, self._waiting = list(self._waiting), deque()
            dropped, self._dropped = self._dropped, 0
        try:
            with self._store.write() as tx:
                for entry in entries:
                    tx.audit(entry)
        except Exception:  # the thread goes on; the log says what the audit log could not
            log.exception("denials not stored", count=len(entries))
        if dropped:
            log.error("denials not stored: too many", count=dropped)

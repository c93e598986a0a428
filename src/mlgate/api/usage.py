"""Counting predictions, in each API process.

The prediction path adds to numbers in memory; a timer of the event loop takes them, and a thread adds them to the store
in one transaction, a few seconds after the first of them and before their minute is over. Without predictions there is
no timer and nothing is written. A clean stop loses nothing, `kill -9` the last few seconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import UTC, datetime

import structlog

from mlgate.core.usage import Counts
from mlgate.ports import Store, Transaction

log = structlog.get_logger("mlgate.usage")

FLUSH_SECONDS = 5.0
RETENTION_MINUTES = 30 * 24 * 60
#: Batches that could not be stored and are tried again; a store that is away for longer costs the oldest counts.
MOST_BATCHES = 200

Batch = tuple[int, dict[str, Counts]]


class Usage:
    """For one event loop; only `add` and `close` may be called elsewhere."""

    def __init__(self, store: Store, executor: Executor, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._executor = executor
        self._clock = clock
        self._counted: dict[str, Counts] = {}
        self._minute = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unsaved: list[Batch] = []
        self._lock = threading.Lock()

    def of(self, uid: str) -> Counts:
        """The counts to which a prediction of this version is added, at once."""
        counts = self._counted.get(uid)
        if counts is None:
            counts = self._begin(uid)
        counts.last = self._clock()
        return counts

    def _begin(self, uid: str) -> Counts:
        if self._timer is None:
            now = self._clock()
            self._minute = int(now // 60)
            self._timer = asyncio.get_running_loop().call_later(min(FLUSH_SECONDS, 60 - now % 60), self._flush)
        counts = self._counted[uid] = Counts()
        return counts

    def _flush(self) -> None:
        self._timer = None
        self._take()
        self._executor.submit(self._save)

    def _take(self) -> None:
        if self._counted:
            batch, self._counted = (self._minute, self._counted), {}
            with self._lock:
                self._unsaved = [*self._unsaved[-MOST_BATCHES:], batch]

    def add(self, counts: dict[str, Counts]) -> None:
        """Store what was counted elsewhere, from any thread."""
        with self._lock:
            self._unsaved.append((int(self._clock() // 60), counts))
        self._save()

    def _save(self) -> None:
        with self._lock:
            batches, self._unsaved = self._unsaved, []
        if not batches:
            return
        try:
            with self._store.write() as tx:
                for minute, counts in batches:
                    tx.add_usage(minute, counts)
        except Exception:  # kept for the next time
            log.exception("usage not stored", batches=len(batches))
            with self._lock:
                self._unsaved = [*batches, *self._unsaved][-MOST_BATCHES:]

    def close(self) -> None:
        """Store what is not stored yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._take()
        self._save()


def prune(tx: Transaction, now: datetime) -> None:
    """Forget what was counted more than 30 days ago."""
    tx.prune_usage(int(now.timestamp() // 60) - RETENTION_MINUTES)


def last_uses(totals: Mapping[str, Counts]) -> dict[str, datetime]:
    """When versions were last used, by name."""
    return {name: datetime.fromtimestamp(counts.last, UTC) for name, counts in totals.items() if counts.last}

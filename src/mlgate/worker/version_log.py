"""What model processes print, and what the server says of them, on its way to the logs of versions.

A line is kept while its version is not served yet, so a deployment always has a log; later, where the model wants what
its processes print. Lines wait in a bounded line and are written every few seconds by a thread.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

import structlog

from mlgate.core import version_log
from mlgate.gathering import Gathering
from mlgate.logs import without_secrets
from mlgate.ports import Clock, LogFiles
from mlgate.snapshot import Snapshot

log = structlog.get_logger("mlgate.worker")

MOST_LINES = 10_000


@dataclass
class VersionLog:
    snapshot: Snapshot
    logs: LogFiles
    clock: Clock
    seconds: float
    _waiting: deque[tuple[str, bytes]] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    #: The revision at which it was looked up, and the uids whose lines are not wanted.
    _silent: tuple[int, frozenset[str]] = (-1, frozenset())

    def __post_init__(self) -> None:
        self._gathering = Gathering("version-log", self.seconds, self._write)

    def printed(self, uid: str, text: str) -> None:
        """A line that a version's process printed."""
        log.info("model", uid=uid, line=text)
        if uid not in self._unwanted():
            self._add(uid, version_log.CONSOLE, text)

    def said(self, uid: str, text: str) -> None:
        """A line of the server's own."""
        self._add(uid, version_log.SERVER, text)

    def close(self) -> None:
        """Write what waits, and end."""
        self._gathering.close()

    def _unwanted(self) -> frozenset[str]:
        revision, silent = self._silent
        if revision != self.snapshot.revision:
            revision = self.snapshot.revision
            models = [model for model in list(self.snapshot.served.values()) if not model.console_log]
            silent = frozenset(version.uid for model in models for version in model.versions.values())
            self._silent = revision, silent
        return silent

    def _add(self, uid: str, kind: str, text: str) -> None:
        line = version_log.write_line(kind, self.clock.now(), text=without_secrets(text))
        with self._lock:
            self._waiting.append((uid, line))
        self._gathering.wake()

    def _write(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        by_uid: dict[str, list[bytes]] = {}
        for uid, line in waiting:
            by_uid.setdefault(uid, []).append(line)
        for uid, lines in by_uid.items():
            try:
                self.logs.append(uid, lines)
            except OSError as error:
                log.warning("lines not logged", uid=uid, reason=str(error))

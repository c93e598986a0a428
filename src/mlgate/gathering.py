"""What comes piece by piece and is written together: a thread that writes a few seconds after something has come."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger("mlgate.gathering")

CLOSE_SECONDS = 20.0


class Gathering:
    """`write` is called on a thread of its own, `seconds` after `wake`, and at last by `close`. It takes what has come
    until then; what it raises is logged, and what it had taken is lost."""

    def __init__(self, name: str, seconds: float, write: Callable[[], None]) -> None:
        self._name = name
        self._seconds = seconds
        self._write = write
        self._come = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Something has come. From any thread; the thread that writes begins with the first."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._come.set()

    def close(self) -> None:
        """Write what waits, and end."""
        self._closing.set()
        self._come.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._come.wait()
            self._closing.wait(self._seconds)  # let more come
            self._come.clear()
            self._write_all()
        self._write_all()

    def _write_all(self) -> None:
        try:
            self._write()
        except Exception:  # the next are written all the same
            log.exception("not written", what=self._name)

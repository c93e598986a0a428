"""Spare processes: one for each kind of version that was started lately, imported and confined, waiting for a model.

A thread of its own starts them (whose end would end them), one at a time, a moment after they are first wanted: whoever
deploys has the processor first. A kind that nobody has asked for in a while keeps none.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mlgate.adapters.hosts.child import Log, ModelProcess
from mlgate.adapters.hosts.sandbox import Sandbox, interpreter
from mlgate.core.errors import RpcError
from mlgate.ports import ModelSpec

#: Frameworks whose models are read whole, from few files: the files can be handed to a closed sandbox.
FRAMEWORKS = ("SCIKIT_LEARN", "XGBOOST")
MOST_FILES, MOST_BYTES = 100, 64 << 20
MOST_KINDS = 4
CALM_SECONDS = 1.0
#: After so long without one being taken, a kind keeps no spare.
FORGOTTEN_SECONDS = 3600.0

Kind = tuple[str, str, int]


def kind_of(spec: ModelSpec) -> Kind | None:
    """What a spare must be like to serve a version; None for a version that no spare can serve."""
    if spec.framework not in FRAMEWORKS or len(spec.directories()) > 1 + bool(spec.options.get("copy")):
        return None
    sizes = [path.stat().st_size for path in Path(spec.directory).rglob("*") if path.is_file()]
    if len(sizes) > MOST_FILES or sum(sizes) > MOST_BYTES:
        return None
    return spec.framework, spec.python, spec.memory_bytes


class Spares:
    def __init__(
        self, number: int, sandbox: Sandbox, scratch: str, on_log: Log, ready_seconds: float,
        monotonic: Callable[[], float], has_room: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        """`number` of each kind, while there is room for one more; 0 keeps none."""
        self._has_room = has_room
        self._number = number
        self._sandbox = sandbox
        self._scratch = scratch
        self._log = on_log
        self._ready_seconds = ready_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._waiting: dict[Kind, list[ModelProcess]] = {}
        self._wanted: dict[Kind, tuple[ModelSpec, float]] = {}
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._starting: ModelProcess | None = None
        self._thread = threading.Thread(target=self._keep, name="mlgate-spares", daemon=True)
        if number:
            self._thread.start()

    def take(self, spec: ModelSpec) -> ModelProcess | None:
        """A spare for this version, if one is ready; another will be there for the next."""
        kind = kind_of(spec) if self._number else None
        if kind is None:
            return None
        with self._lock:
            self._wanted.pop(kind, None)
            self._wanted[kind] = (spec, self._monotonic())
            ready = self._waiting.get(kind)
            taken = ready.pop() if ready else None
        self._wake.set()
        return taken

    def memory(self) -> int:
        """Bytes that all of them hold."""
        with self._lock:
            waiting = [process for ready in self._waiting.values() for process in ready]
        return sum(process.own_memory() for process in waiting)

    def give_up(self) -> None:
        """End those that wait: their memory is needed."""
        with self._lock:
            over = [process for ready in self._waiting.values() for process in ready]
            self._waiting.clear()
            self._wanted.clear()
        self._end(over)

    def count(self) -> int:
        with self._lock:
            return sum(len(ready) for ready in self._waiting.values())

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        with self._lock:
            starting = self._starting
        if starting is not None:
            starting.kill()
        if self._number:
            self._thread.join()
        self._end([process for ready in self._waiting.values() for process in ready])

    def _keep(self) -> None:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        while not self._closing.is_set():
            self._wake.wait(FORGOTTEN_SECONDS / 10)
            self._wake.clear()
            if self._closing.wait(CALM_SECONDS):
                return
            self._forget()
            while (spec := self._lacking()) is not None and self._has_room() and not self._closing.is_set():
                self._start(spec)

    def _forget(self) -> None:
        now = self._monotonic()
        with self._lock:
            for kind, (_, taken) in list(self._wanted.items()):
                if now - taken > FORGOTTEN_SECONDS or len(self._wanted) > MOST_KINDS:
                    del self._wanted[kind]  # the one that was wanted longest ago comes first
            gone = [kind for kind in self._waiting if kind not in self._wanted]
            over = [process for kind in gone for process in self._waiting.pop(kind)]
        self._end(over)

    def _lacking(self) -> ModelSpec | None:
        with self._lock:
            for kind, (spec, _) in reversed(self._wanted.items()):
                if len(self._waiting.get(kind, ())) < self._number:
                    return spec
        return None

    def _start(self, like: ModelSpec) -> None:
        """One more of a kind; a kind that cannot be started is forgotten."""
        kind = (like.framework, like.python, like.memory_bytes)
        spec = replace(like, uid="spare", directory="", options={})
        try:
            scratch = tempfile.mkdtemp(prefix=self._scratch)
            process = ModelProcess(spec, None, self._sandbox, interpreter(spec.python), scratch, self._log)
            with self._lock:
                self._starting = process
            is_good = process.wait_spare(self._ready_seconds)
        except RpcError:
            is_good = False
        with self._lock:
            self._starting = None
            if is_good:
                self._waiting.setdefault(kind, []).append(process)
            else:
                self._wanted.pop(kind, None)

    @staticmethod
    def _end(processes: list[ModelProcess]) -> None:
        for process in processes:
            process.stop()

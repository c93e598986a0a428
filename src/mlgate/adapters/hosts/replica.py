"""One of a version's processes, kept alive: its socket, its thread, and the state that they are in.

    STARTING --ready--> RUNNING --ended--> PAUSING --pause over--> STARTING
       |first start fails  |  |crashed too often          any --kill--> GONE
       +------------> FAILED <+
                           +--leave--> LEAVING --answered all--> GONE

The listening socket belongs to the replica, not to the process: connections made while a process is being replaced
wait in its backlog. Leaving RUNNING for good closes it, so that whoever waits there hears of it.

A process that was killed (SIGKILL: of a person, or of a kernel short of memory) is replaced at once. One that ends by
itself is replaced after a pause, and not at all when that happens again and again.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlgate.adapters.hosts.child import Log, ModelProcess
from mlgate.adapters.hosts.sandbox import Sandbox, interpreter
from mlgate.adapters.runners.gateway import Gateway
from mlgate.core.errors import FailedPrecondition, RpcError, Unavailable
from mlgate.ports import ModelSpec

STARTING, RUNNING, PAUSING, FAILED, LEAVING, GONE = "STARTING", "RUNNING", "PAUSING", "FAILED", "LEAVING", "GONE"
CRASHES, CRASH_WINDOW = 5, 60.0
PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
KILLED_PAUSE = 0.2
REMEMBER_FAILURE = 10.0
#: How much longer than a prediction may take a process that is leaving is given.
LEAVE_SECONDS = 5.0
BACKLOG = 128


@dataclass(frozen=True)
class Surroundings:
    """What all replicas of a supervisor share. `spare` gives a process that waits for such a version, if there is."""

    sandbox: Sandbox
    scratch: str
    ready_seconds: float
    on_log: Log
    spare: Callable[[ModelSpec], ModelProcess | None]
    #: The way out of a version that has an account (option `account`), with a private folder to keep its files in.
    gateway: Callable[[str, Path], Gateway] | None
    monotonic: Callable[[], float] = time.monotonic


class Replica:
    def __init__(self, spec: ModelSpec, path: Path, around: Surroundings) -> None:
        self.spec = spec
        self.path = str(path)
        self.state = STARTING
        self.restarts = 0
        self._around = around
        self._changed = threading.Condition()
        self._process: ModelProcess | None = None
        self._has_run = False
        self._error: RpcError | None = None
        self._retry_at = 0.0
        self._crashes: deque[float] = deque(maxlen=CRASHES)
        self._thread = threading.Thread(target=self._keep, name=f"mlgate-model-{spec.uid}", daemon=True)
        self._unlink()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o600)
        self._listener.listen(BACKLOG)

    def start(self) -> None:
        self._thread.start()

    # ------------------------------------------------------------------------------------------------- questions

    def wait_ready(self) -> None:
        """Return when it answers. Raises FailedPrecondition, Unavailable."""
        with self._changed:
            while self.state in (STARTING, PAUSING):
                self._changed.wait()
            if self.state != RUNNING:
                raise self._why()

    def is_of_use(self, retry: bool) -> bool:
        """Whether to wait for it: it runs, or will, or its failure is remembered (and not to be tried again)."""
        with self._changed:
            if self.state == FAILED:
                return not retry and self._around.monotonic() < self._retry_at
            return self.state in (STARTING, RUNNING, PAUSING)

    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def describe(self) -> dict[str, Any]:
        process = self.process()
        return {
            "uid": self.spec.uid,
            "state": self.state,
            "pid": process.pid() if process else 0,
            "since": process.started if process else 0.0,
            "restarts": self.restarts,
            "rss": process.rss() if process else 0,
        }

    def process(self) -> ModelProcess | None:
        """The process that answers."""
        with self._changed:
            return self._process if self.state in (RUNNING, LEAVING) else None

    # --------------------------------------------------------------------------------------------------- commands

    def restart(self) -> None:
        """Kill the process, which does not answer any more; another follows."""
        with self._changed:
            process = self._process if self.state == RUNNING else None
        if process is not None:
            process.kill()

    def leave(self) -> None:
        """End it for good without losing a request: what has come is answered first."""
        with self._changed:
            if self.state != RUNNING:
                process = None
            else:
                self.state, process = LEAVING, self._process
                self._changed.notify_all()
        if process is None:
            self.kill()
            return
        self._unlink()
        process.leave()
        timer = threading.Timer(self.spec.seconds + LEAVE_SECONDS, process.kill)
        timer.daemon = True
        timer.start()

    def kill(self) -> None:
        self._become(GONE)
        with self._changed:
            process = self._process
        if process is not None:
            process.kill()

    def join(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()

    # ----------------------------------------------------------------------------------------------------- thread

    def _keep(self) -> None:
        """The thread: start, wait for the end, pause, again."""
        with suppress(OSError):  # its processes are batch work: they do not interrupt who brings them requests
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        try:
            while self._run_once():
                self._become(PAUSING)
                with self._changed:
                    self._changed.wait_for(lambda: self.state != PAUSING, self._pause())
                self.restarts += 1
                if not self._become(STARTING):
                    break
        finally:
            self._fail(Unavailable("The version's model process could not be kept running."), 0.0)
            self._listener.close()
            self._unlink()

    def _run_once(self) -> bool:
        """One process from start to end; whether another is to follow."""
        process: ModelProcess | None
        try:
            process = self._started()
            if not self._become(RUNNING):
                process.stop()
                return False
            self._has_run = True
            process.wait()
            last = f"The version's model process {process.end()}."
        except RpcError as error:
            process, last = self._process, error.message
            was_killed = process is not None and process.was_killed()
            if not self._has_run and not (was_killed and self.restarts < len(PAUSES)):
                self._fail(error, REMEMBER_FAILURE)
                return False
        if self.state in (LEAVING, GONE):
            return False
        self._around.on_log(self.spec.uid, last)
        if process is None or not process.was_killed():
            now = self._around.monotonic()
            self._crashes.append(now)
            if len(self._crashes) == CRASHES and now - self._crashes[0] < CRASH_WINDOW:
                self._fail(Unavailable(f"The version's model crashes again and again. {last}"), CRASH_WINDOW)
                return False
        return True

    def _pause(self) -> float:
        recent = sum(self._around.monotonic() - crash < CRASH_WINDOW for crash in self._crashes)
        return PAUSES[min(recent - 1, len(PAUSES) - 1)] if recent else min(KILLED_PAUSE, 0.05 * self.restarts)

    def _started(self) -> ModelProcess:
        """A process that has loaded the model. Raises FailedPrecondition."""
        if not all(os.path.isdir(directory) for directory in self.spec.directories()):
            raise FailedPrecondition("Failed to load model: its folder does not exist (Error code: 0)")
        process = self._around.spare(self.spec)
        if process is None or not process.assign(self.spec, self._listener):
            scratch = tempfile.mkdtemp(prefix=self._around.scratch)
            python, task = interpreter(self.spec.python), ("listen", self._listener.fileno())
            gateway = self._gateway(scratch)
            process = ModelProcess(self.spec, task, self._around.sandbox, python, scratch, self._around.on_log, gateway)
        with self._changed:
            self._process = process
        if self.state == GONE:  # before it was known: kill() has missed it
            process.kill()
        self.framework = process.wait_ready(self._around.ready_seconds)
        return process

    def _gateway(self, scratch: str) -> Gateway | None:
        account = self.spec.options.get("account")
        if not account:
            return None
        if self._around.gateway is None:
            raise FailedPrecondition("A version with a serviceAccount cannot be served here.")
        private = Path(scratch).with_name(f"{Path(scratch).name}-gateway")
        private.mkdir(mode=0o711)
        gateway = self._around.gateway(account, private)
        gateway.start()
        return gateway

    #: What the process says that its model is.
    framework = ""

    def _become(self, state: str) -> bool:
        """Change the state, unless the end is decided: that is final."""
        with self._changed:
            if self.state == GONE or (self.state == LEAVING and state != GONE):
                return False
            self.state = state
            self._changed.notify_all()
            return True

    def _fail(self, error: RpcError, remember: float) -> None:
        with self._changed:
            if self.state in (GONE, FAILED):
                return
            self._error, self._retry_at = error, self._around.monotonic() + remember
            self.state = GONE if self.state == LEAVING else FAILED
            self._changed.notify_all()

    def _why(self) -> RpcError:
        error = self._error or Unavailable("The version was undeployed.")
        return type(error)(error.message)  # each waiting thread its own: a raised exception collects tracebacks

    def _unlink(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)

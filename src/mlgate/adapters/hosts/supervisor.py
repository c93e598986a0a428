"""Keeps one model process per version alive. Lives in the worker process; sync, with a thread per version.

Theory of operation. A version's thread starts its process, waits for readiness, then for its end, and starts it again
after a pause; the thread's life covers the process's, which the parent-death signal needs.

    STARTING --ready--> RUNNING --ended--> PAUSING --pause over--> STARTING
       |first start fails          |crashed too often             any --unload--> GONE
       +------------> FAILED <-----+

The listening socket belongs to the version, not to the process: connections made while a process is being replaced
wait in its backlog. Leaving RUNNING for good closes it, so that whoever waits there hears of it.

A first start that fails is the deployer's business (FailedPrecondition with the model's reason); a version that
crashes again and again is Unavailable. Both are remembered for a while, so that a stream of requests for a broken
version does not become a stream of processes; `load` always tries afresh.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlgate.adapters.hosts import control
from mlgate.adapters.hosts.child import Log, ModelProcess
from mlgate.adapters.hosts.sandbox import Sandbox, interpreter
from mlgate.core.errors import FailedPrecondition, RpcError, Unavailable
from mlgate.ports import ModelSpec

STARTING, RUNNING, PAUSING, FAILED, GONE = "STARTING", "RUNNING", "PAUSING", "FAILED", "GONE"
CRASHES, CRASH_WINDOW = 5, 60.0
PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
REMEMBER_FAILURE = 10.0
BACKLOG = 128


class ModelSupervisor:
    """The model processes of this machine; a ModelLoader, and the answerer of the control socket."""

    def __init__(
        self,
        run_dir: Path,
        sandbox: Sandbox,
        *,
        on_log: Log = lambda uid, line: None,
        ready_seconds: float = 120.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_log(uid, line)` gets what model processes print. Raises OSError when `run_dir` cannot be used."""
        self.sandbox = sandbox
        self.run_dir = run_dir
        self.on_log = on_log
        self.ready_seconds = ready_seconds
        self.monotonic = monotonic
        self._lock = threading.Lock()
        self._versions: dict[str, Version] = {}
        self._number = 0
        self._sockets, self._is_private = control.prepare(run_dir)
        self.scratch = control.scratch_prefix(run_dir)
        self._control = control.ControlServer(self._sockets / control.SOCKET, self.ensure)

    def load(self, spec: ModelSpec) -> str:
        """Try a model: return its framework when it answers, at once if it already does. Raises FailedPrecondition."""
        version = self._version(spec, retry=True)
        version.wait_ready()
        return version.spec.framework

    def ensure(self, spec: ModelSpec) -> str:
        """The path of the version's socket, its process started if need be. Raises FailedPrecondition, Unavailable."""
        return self._version(spec, retry=False).wait_ready()

    def unload(self, uid: str) -> None:
        """End the version's process, if there is one; its requests in flight fail."""
        with self._lock:
            version = self._versions.pop(uid, None)
        if version is not None:
            version.close()

    def running(self) -> list[dict[str, Any]]:
        """What runs: uid, state, pid, since (epoch seconds), restarts, rss (bytes)."""
        with self._lock:
            versions = list(self._versions.values())
        return [version.describe() for version in versions]

    def close(self) -> None:
        self._control.close()
        with self._lock:
            versions = list(self._versions.values())
            self._versions.clear()
        for version in versions:
            version.kill()
        for version in versions:
            version.close()
        if self._is_private:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _version(self, spec: ModelSpec, retry: bool) -> Version:
        with self._lock:
            old = self._versions.get(spec.uid)
            if old is not None and old.serves(spec, retry):
                return old
            self._number += 1
            path = self._sockets / f"m{self._number}.sock"
            new = Version(spec, path, self)
            self._versions[spec.uid] = new
        if old is not None:
            old.close()
        new.start()
        return new


class Version:
    """One version's socket and thread, and the state that they are in."""

    def __init__(self, spec: ModelSpec, path: Path, supervisor: ModelSupervisor) -> None:
        self.spec = spec
        self.path = str(path)
        self.state = STARTING
        self.restarts = 0
        self._sandbox = supervisor.sandbox
        self._log = supervisor.on_log
        self._ready_seconds = supervisor.ready_seconds
        self._monotonic = supervisor.monotonic
        self._scratch = supervisor.scratch
        self._changed = threading.Condition()
        self._process: ModelProcess | None = None
        self._error: RpcError | None = None
        self._retry_at = 0.0
        self._crashes: deque[float] = deque(maxlen=CRASHES)
        self._thread = threading.Thread(target=self._keep, name=f"mlgate-model-{spec.uid}", daemon=True)
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o600)
        self._listener.listen(BACKLOG)

    def start(self) -> None:
        self._thread.start()

    def serves(self, spec: ModelSpec, retry: bool) -> bool:
        """Whether this one answers for `spec`, be it with its remembered failure."""
        with self._changed:
            if self.spec != spec or self.state == GONE:
                return False
            return self.state != FAILED or (not retry and self._monotonic() < self._retry_at)

    def wait_ready(self) -> str:
        with self._changed:
            while self.state in (STARTING, PAUSING):
                self._changed.wait()
            if self.state == RUNNING:
                return self.path
            error = self._error or Unavailable("The version was undeployed.")
            raise type(error)(error.message)  # each waiting thread its own: a raised exception collects tracebacks

    def describe(self) -> dict[str, Any]:
        with self._changed:
            process = self._process if self.state == RUNNING else None
        return {
            "uid": self.spec.uid,
            "state": self.state,
            "pid": process.pid() if process else 0,
            "since": process.started if process else 0.0,
            "restarts": self.restarts,
            "rss": process.rss() if process else 0,
        }

    def kill(self) -> None:
        self._become(GONE)
        with self._changed:
            process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        self.kill()
        if self._thread.ident is not None:
            self._thread.join()

    def _keep(self) -> None:
        """The thread: start, wait for the end, pause, again."""
        try:
            while self._run_once():
                self._become(PAUSING)
                with self._changed:
                    self._changed.wait_for(lambda: self.state == GONE, PAUSES[min(self.restarts, len(PAUSES) - 1)])
                self.restarts += 1
                if not self._become(STARTING):
                    break
        finally:
            self._fail(Unavailable("The version's model process could not be kept running."), 0.0)
            self._listener.close()
            with suppress(FileNotFoundError):
                os.unlink(self.path)

    def _run_once(self) -> bool:
        """One process from start to end; whether another is to follow."""
        process = None
        try:
            process = self._started()
            if self.state != GONE:
                self._learn(process.wait_ready(self._ready_seconds))
            if self._become(RUNNING):
                process.wait()
                last = f"The version's model process {process.end()}."
            else:
                process.stop()
                return False
        except RpcError as error:
            if not self.restarts:
                self._fail(error, REMEMBER_FAILURE)
                return False
            last = error.message
        if self.state == GONE:
            return False
        self._log(self.spec.uid, last)
        now = self._monotonic()
        self._crashes.append(now)
        if len(self._crashes) == CRASHES and now - self._crashes[0] < CRASH_WINDOW:
            self._fail(Unavailable(f"The version's model crashes again and again. {last}"), CRASH_WINDOW)
            return False
        return True

    def _started(self) -> ModelProcess:
        if not all(os.path.isdir(directory) for directory in self.spec.directories()):
            raise FailedPrecondition("Failed to load model: its folder does not exist (Error code: 0)")
        python = interpreter(self.spec.python)
        scratch = tempfile.mkdtemp(prefix=self._scratch)
        process = ModelProcess(self.spec, self._listener, self._sandbox, python, scratch, self._log)
        with self._changed:
            self._process = process
        if self.state == GONE:  # closed between the check above and here: kill() may have missed the process
            process.kill()
        return process

    def _learn(self, framework: str) -> None:
        """Where the framework was left to the files, what they are counts from now on."""
        with self._changed:
            if not self.spec.framework:
                self.spec = replace(self.spec, framework=framework)

    def _become(self, state: str) -> bool:
        """Change the state, unless the version is gone: that is final."""
        with self._changed:
            if self.state == GONE:
                return False
            self.state = state
            self._changed.notify_all()
            return True

    def _fail(self, error: RpcError, remember: float) -> None:
        with self._changed:
            if self.state in (GONE, FAILED):
                return
            self.state, self._error, self._retry_at = FAILED, error, self._monotonic() + remember
            self._changed.notify_all()

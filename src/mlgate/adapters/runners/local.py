"""Executions as processes of this machine, each in a folder of its own with a keeper: the JobRunner port.

Nothing is remembered here: what `look` tells is read from the folder (keeper.py says what is there). So a runner that
starts anew knows as much as the one that died.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mlgate.adapters.hosts.sandbox import LOOPBACK, Sandbox, for_jobs, interpreter
from mlgate.adapters.runners.keeper import CONTROL, LOCK, METRICS, PLAN, descendants, read_status
from mlgate.core.errors import FailedPrecondition
from mlgate.executions import ABSENT, ENDED, LOST, RUNNING, STARTING, Execution, Printed, Seen
from mlgate.ports import Blobs

#: A read of output stops at the first line behind so many bytes, one of metrics at so many.
READ_BYTES, METRIC_BYTES = 256 << 10, 1 << 20
_KEY = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass
class LocalRunner:
    root: Path
    sandbox: Sandbox
    blobs: Blobs
    #: This server's address, for what jobs ask of it; without one they have no way out at all.
    upstream: str = ""
    public_url: str = ""
    #: Seconds that a keeper goes on without hearing from a runner.
    patience: float = 3600.0
    #: Keepers that this process started, by key: their numbers, and the exit codes of those that have ended.
    _keepers: dict[str, int] = field(default_factory=dict)
    _codes: dict[str, int] = field(default_factory=dict)

    def start(self, execution: Execution, token: str) -> None:
        folder = self._folder(execution.key)
        if not folder.is_dir():
            self._prepare(execution, folder)
        if read_status(folder) or _is_kept(folder):
            return
        with (folder / "keeper.log").open("ab") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "mlgate.adapters.runners.keeper", str(folder)],
                env={**_environment(), "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        keeper.returncode = 0  # it outlives this object, and is waited for below
        assert keeper.stdin is not None
        with suppress(BrokenPipeError), keeper.stdin:
            keeper.stdin.write(token.encode() + b"\n")
        self._codes.pop(execution.key, None)
        self._keepers[execution.key] = keeper.pid
        _wait_for(lambda: _is_kept(folder) or self._code(execution.key) is not None)

    def renew(self, key: str, token: str) -> None:
        self._tell(key, {"token": token} if token else {})

    def look(self, key: str) -> Seen:
        folder = self._folder(key)
        if not folder.is_dir():
            return Seen(ABSENT)
        is_kept = _is_kept(folder)
        status = read_status(folder)  # after the lock was looked at: what a keeper wrote last is seen
        began = status.get("began", 0.0)
        match status.get("phase"):
            case "ended":
                told = {name: status[name] for name in ("code", "task", "reason", "detail", "ended") if name in status}
                return Seen(ENDED, began=began, **told)
            case "begun" if is_kept:
                return Seen(RUNNING, began=began)
            case "begun":
                _end_leftovers(folder)
                return Seen(LOST, began=began)
        if not is_kept and self._code(key):
            return Seen(ENDED, reason="NOT_STARTED", detail=_last_line(folder / "keeper.log"))
        return Seen(STARTING if is_kept else ABSENT)

    def cancel(self, key: str, grace_seconds: float) -> None:
        self._tell(key, {"cancel": grace_seconds})

    def output(self, key: str, task: str, offset: int) -> tuple[list[Printed], int]:
        try:
            with (self._folder(key) / "out" / task).open("rb") as file:
                file.seek(offset)
                lines = file.readlines(READ_BYTES)
        except FileNotFoundError:
            return [], offset
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        return [_printed(line) for line in lines], offset + sum(map(len, lines))

    def metrics(self, key: str) -> bytes:
        file = self.made(key, METRICS)
        if file is None:
            return b""
        with file:
            return file.read(METRIC_BYTES)

    def made(self, key: str, name: str) -> BinaryIO | None:
        try:
            # the folder is the job's own: what is there may be a link, or a pipe that never says anything
            fd = os.open(self._folder(key) / "work" / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        return open(fd, "rb")

    def forget(self, key: str) -> None:
        folder = self._folder(key)
        if not folder.is_dir():
            return
        self._tell(key, {"cancel": 0})
        _wait_for(lambda: not _is_kept(folder))
        _end_leftovers(folder)
        _wait_for(lambda: key not in self._keepers or self._code(key) is not None)
        self._keepers.pop(key, None)
        self._codes.pop(key, None)
        dying = folder.with_name(f".{secrets.token_hex(8)}")
        with suppress(FileNotFoundError):  # somebody else is faster
            folder.rename(dying)  # at once: an execution is there whole or not at all
        _remove(dying)

    def executions(self) -> list[str]:
        return [path.name for path in self.root.iterdir() if _KEY.fullmatch(path.name)] if self.root.is_dir() else []

    def tidy(self) -> None:
        """Remove what a runner left half made, or half removed, when it was killed; before another starts anything."""
        for place in self.root.glob(".*/"):
            _remove(place)

    # -------------------------------------------------------------------------------------------------------- folder

    def _folder(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(key)
        return self.root / key

    def _prepare(self, execution: Execution, folder: Path) -> None:
        """The folder, whole or not at all. Raises FailedPrecondition for what this machine cannot run."""
        sandbox = for_jobs(self.sandbox)
        if sandbox.mode == LOOPBACK and len(execution.processes) > 1:
            raise FailedPrecondition(
                f"The job is {len(execution.processes)} processes, which find each other in a network of its own, and "
                "this machine gives it none: run it as one (scaleTier BASIC), or let the server make namespaces."
            )
        scratch = self.root / f".{secrets.token_hex(8)}"
        for name in ("out", "work", "temporary", "packages", "files"):
            (scratch / name).mkdir(parents=True)
        (scratch / "temporary").chmod(0o1777)
        for name, digest in execution.packages:
            self.blobs.materialize(digest, scratch / "packages" / name)
        for path, digest in execution.files:
            place = scratch / "files" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            self.blobs.materialize(digest, place)
        os.mkfifo(scratch / CONTROL, 0o600)
        python = interpreter(execution.python)
        where = {
            "upstream": self.upstream,
            "public_url": self.public_url,
            "account": execution.account,
            "project": execution.project,
            "open_to": execution.open_to,
        }
        plan: dict[str, Any] = {
            "sandbox": asdict(sandbox),
            "python": {"executable": python.executable, "read": python.read},
            "processes": [
                {
                    "task": process.task,
                    "module": process.module,
                    "arguments": process.arguments,
                    "environment": dict(process.environment),
                }
                for process in execution.processes
            ],
            "program": execution.program,
            "gateway": where if self.upstream and execution.account else None,
            "memory_bytes": execution.memory_bytes,
            "disk_bytes": execution.disk_bytes,
            "log_bytes": execution.log_bytes,
            "seconds": execution.seconds,
            "patience": self.patience,
        }
        (scratch / PLAN).write_text(json.dumps(plan))
        try:
            scratch.rename(folder)
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            if not folder.is_dir():
                raise FailedPrecondition(f"The job's folder cannot be made: {error.strerror}.") from error

    def _tell(self, key: str, message: dict[str, Any]) -> None:
        """A message for the keeper; a dead one hears nothing."""
        with suppress(OSError):
            fd = os.open(self._folder(key) / CONTROL, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(fd, json.dumps(message).encode() + b"\n")
            finally:
                os.close(fd)
        self._code(key)

    def _code(self, key: str) -> int | None:
        """The exit code of a keeper of this process, once it has ended."""
        pid = self._keepers.get(key)
        if pid is not None and key not in self._codes:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self._codes[key] = os.waitstatus_to_exitcode(status)
        return self._codes.get(key)


def _environment() -> dict[str, str]:
    """What a keeper needs of the runner's: how to find Python's modules, and no settings."""
    kept = ("PATH", "PYTHONPATH", "LANG", "HOME", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _is_kept(folder: Path) -> bool:
    """Whether a keeper lives: the lock is its own."""
    try:
        with (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _wait_for(is_true: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not is_true() and time.monotonic() < until:
        time.sleep(0.01)


def _end_leftovers(folder: Path) -> None:
    """Kill what a dead keeper left: in the bubble nothing outlives it; elsewhere a job's processes are known by their
    environment, which names the job's folder."""
    mark = os.fsencode(folder / "work")
    for name in os.listdir("/proc"):
        with suppress(OSError, ValueError):
            if mark in Path("/proc", name, "environ").read_bytes():
                for pid in (*descendants(int(name)), int(name)):
                    os.kill(pid, signal.SIGKILL)


def _printed(line: bytes) -> Printed:
    time_us, kind, text = line.rstrip(b"\n").split(b" ", 2)
    return Printed(int(time_us) / 1e6, kind == b"e", text.decode("utf-8", "replace").replace("\x00", "\\0"))


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1][:500] if lines else ""


def _remove(folder: Path) -> None:
    """All of it, also what the job made unreadable for its owner."""

    def again(function: Callable[..., Any], path: str, _: object) -> None:
        with suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            function(path)

    shutil.rmtree(folder, onerror=again)
    shutil.rmtree(folder, ignore_errors=True)

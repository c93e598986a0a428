"""One model process, from its start to its end; supervisor.py decides when there is one.

What a model process says (its readiness, its log, its last words) is written by a stranger's code: it is bounded,
stripped of control characters, and believed only as far as it concerns that model.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlgate.adapters.hosts.sandbox import Interpreter, Sandbox
from mlgate.core.errors import FailedPrecondition
from mlgate.core.versions import FRAMEWORKS
from mlgate.ports import ModelSpec

RUNTIMES = Path(__file__).parent.parent / "runtimes"
PROCESS = str(RUNTIMES / "process.py")
LONGEST_LINE = 2000
LONGEST_STATUS = 16 << 10
LAST_WORDS = 20
LINES_PER_SECOND = 50

Log = Callable[[str, str], None]


class ModelProcess:
    """A running (or ended) model process. The thread that starts it must outlive it: the thread's end kills it."""

    def __init__(
        self, spec: ModelSpec, listener: socket.socket, sandbox: Sandbox, python: Interpreter, scratch: str, log: Log
    ) -> None:
        """Raises FailedPrecondition when it cannot even be started."""
        self.spec = spec
        self.started = time.time()
        self.scratch = scratch
        self._log = log
        self._words: deque[str] = deque(maxlen=LAST_WORDS)
        alive, self._alive = os.pipe()
        self._status, status = os.pipe()
        try:
            start = {
                "framework": spec.framework, "directory": spec.directory, "options": spec.options,
                "listen": listener.fileno(), "alive": alive, "status": status,
            }  # fmt: skip
            command = sandbox.command(
                python,
                ["-I", "-B", PROCESS, json.dumps(start)],
                read=[str(RUNTIMES), *(os.path.abspath(path) for path in spec.directories())],
                scratch=scratch,
                memory_bytes=spec.memory_bytes,
            )
            self._popen = subprocess.Popen(
                command,
                env=sandbox.environment(scratch),
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(listener.fileno(), alive, status),
                start_new_session=True,
            )
        except BaseException as error:
            os.close(self._alive)
            os.close(self._status)
            shutil.rmtree(scratch, ignore_errors=True)
            if isinstance(error, OSError):
                raise FailedPrecondition(f"The model process cannot be started: {error}") from error
            raise
        finally:
            os.close(alive)
            os.close(status)
        self._reader = threading.Thread(target=self._read_log, name=f"mlgate-log-{spec.uid}", daemon=True)
        self._reader.start()

    def wait_ready(self, seconds: float) -> str:
        """Return when the model is loaded: the framework that it says it has ("" for none that is known). Raises
        FailedPrecondition with the reason, and the process is then dead."""
        line = self._status_line(seconds)
        try:
            answer = json.loads(line) if line else {}
        except ValueError:
            answer = {}
        if isinstance(answer, dict) and answer.get("ok") is True:
            framework = answer.get("framework")
            return framework if isinstance(framework, str) and framework in FRAMEWORKS else ""
        waited = self._popen.poll() is None and line is None
        self.stop()
        if isinstance(answer, dict) and isinstance(answer.get("error"), str):
            raise FailedPrecondition(printable(answer["error"], 3000))
        if waited:
            raise FailedPrecondition(f"Failed to load model: it was not ready in {seconds:g} seconds (Error code: 0)")
        raise FailedPrecondition(f"Failed to load model: its process {self.end()} (Error code: 0)")

    def wait(self) -> None:
        """Return when the process has ended and everything of it is cleaned up."""
        self._popen.wait()
        self._reap()

    def stop(self) -> None:
        """Kill it and wait: a model process keeps nothing that would be lost."""
        self.kill()
        self.wait()

    def kill(self) -> None:
        """As stop, without waiting; the thread in `wait` sees the end."""
        if self._popen.returncode is None:  # once reaped, its number may be another's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)

    def end(self) -> str:
        """How it ended and what it last said, as the rest of a sentence."""
        code = self._popen.returncode or 0
        number = -code if code < 0 else code - 128 if code > 128 else 0  # bubblewrap gives 128 + the signal
        if number == signal.SIGALRM:
            how = "was ended because a prediction took too long"
        elif number == signal.SIGKILL:
            how = "was killed (signal 9), perhaps because the machine ran out of memory"
        elif number:
            how = f"was ended by signal {number}"
        else:
            how = f"ended with code {code}"
        words = " | ".join(self._words)
        return f"{how}; its last words: {words[-1000:]}" if words else f"{how} and left no word"

    def pid(self) -> int:
        """The model's own process: in bubblewrap mode, the innermost child."""
        pid = self._popen.pid
        for _ in range(4):
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except OSError:
                break
            if not children:
                break
            pid = int(children[0])
        return pid

    def rss(self) -> int:
        """Bytes of memory in use, 0 when it has ended."""
        try:
            return int(Path(f"/proc/{self.pid()}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0

    def _status_line(self, seconds: float) -> bytes | None:
        """The first line of the status pipe; empty when it ended without one, None when the time is over."""
        until, line = time.monotonic() + seconds, b""
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        while b"\n" not in line and len(line) < LONGEST_STATUS:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                return None
            data = os.read(self._status, 4096)
            if not data:
                self._popen.wait()
                self._reader.join(2)  # its last words come by another pipe
                break
            line += data
        return line

    def _read_log(self) -> None:
        """Pass on what the process prints, line by line, at most so many a second."""
        output: Any = self._popen.stdout
        second, count = 0, 0
        while line := output.readline(LONGEST_LINE):
            text = printable(line.decode("utf-8", "replace").rstrip(), LONGEST_LINE)
            now = int(time.monotonic())
            second, count = (second, count + 1) if now == second else (now, 1)
            if text:
                self._words.append(text)
            if text and count <= LINES_PER_SECOND:
                self._log(self.spec.uid, text)
            elif count == LINES_PER_SECOND + 1:
                self._log(self.spec.uid, "(the model prints too much; the rest of this second is dropped)")

    def _reap(self) -> None:
        self._reader.join(2)
        for name in ("_alive", "_status"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                setattr(self, name, -1)
                os.close(descriptor)
        if self._popen.stdout is not None and not self._reader.is_alive():
            self._popen.stdout.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


def printable(text: str, longest: int) -> str:
    """One line of a stranger's text without control characters, cut to a length."""
    return "".join(c if c.isprintable() else " " for c in text[:longest])

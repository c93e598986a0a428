"""One model process, from its start to its end; supervisor.py decides when there is one.

A process is started for a version, or as a spare that gets its version later (runtimes/spare.py).

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

from mlgate.adapters.hosts.sandbox import SCRATCH_BYTES, THREADS, Interpreter, JobLimits, Sandbox, for_jobs
from mlgate.adapters.runners.gateway import Gateway
from mlgate.core.errors import FailedPrecondition
from mlgate.core.versions import FRAMEWORKS
from mlgate.ports import ModelSpec

RUNTIMES = Path(__file__).parent.parent / "runtimes"
PROCESS = str(RUNTIMES / "process.py")
LONGEST_LINE = 2000
LONGEST_STATUS = 16 << 10
LAST_WORDS = 20
LINES_PER_SECOND = 50
PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")

Log = Callable[[str, str], None]


class ModelProcess:
    """A running (or ended) model process. The thread that starts it must outlive it: the thread's end kills it."""

    def __init__(
        self, spec: ModelSpec, task: tuple[str, int] | None, sandbox: Sandbox, python: Interpreter, scratch: str,
        log: Log, gateway: Gateway | None = None,
    ) -> None:  # fmt: skip
        """`task` is what it is for: ("listen", a listening socket) to serve, or ("copy", a file) to make a faster copy.
        Without one it is a spare: the spec's directory and uid are nobody's. With a gateway, which is closed at its
        end, it is confined as a job is, and has a network on which that answers. Raises FailedPrecondition when it
        cannot even be started."""
        self.spec = spec
        self.started = time.time()
        self.scratch = scratch
        self._log = log
        self._words: deque[str] = deque(maxlen=LAST_WORDS)
        #: What it says of the faster copy that it was to make: a stranger's word.
        self.copy: Any = None
        self._said = b""
        self._gateway = gateway
        self._model_pid = 0
        self._is_killed = False
        self._gate = threading.Lock()
        alive, self._alive = os.pipe()
        self._status, status = os.pipe()
        self._assign: socket.socket | None = None
        theirs: socket.socket | None = None
        if task is None:
            self._assign, theirs = socket.socketpair()
            task = ("assign", theirs.fileno())
        name, descriptor = task
        try:
            start = {
                "framework": spec.framework, "directory": spec.directory, "options": spec.options,
                "seconds": spec.seconds, "alive": alive, "status": status, name: descriptor,
            }  # fmt: skip
            directories = [] if theirs is not None else [os.path.abspath(path) for path in spec.directories()]
            arguments, read = ["-I", "-B", PROCESS, json.dumps(start)], [str(RUNTIMES), *directories]
            environment, fds = sandbox.environment(scratch), [descriptor, alive, status]
            if gateway is None:
                command = sandbox.command(
                    python, arguments, read=read, scratch=scratch, memory_bytes=spec.memory_bytes
                )  # fmt: skip
            else:
                temporary = os.path.join(scratch, "tmp")
                os.mkdir(temporary)
                limits = JobLimits(memory_bytes=spec.memory_bytes, file_bytes=SCRATCH_BYTES, processes=THREADS)
                command = for_jobs(sandbox).job_command(
                    python, arguments, read=[*read, *gateway.read], work=scratch, temporary=temporary, limits=limits,
                    door=gateway.door(),
                )  # fmt: skip
                environment |= sandbox.job_environment(python, scratch, temporary) | gateway.environment()
                fds += gateway.pass_fds
            self._popen = subprocess.Popen(
                command,
                env=environment,
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=fds,
                start_new_session=True,
            )
        except BaseException as error:
            self._close_gateway()
            os.close(self._alive)
            os.close(self._status)
            shutil.rmtree(scratch, ignore_errors=True)
            if isinstance(error, OSError):
                raise FailedPrecondition(f"The model process cannot be started: {error}") from error
            raise
        finally:
            os.close(alive)
            os.close(status)
            if theirs is not None:
                theirs.close()
        self._reader = threading.Thread(target=self._read_log, name=f"mlgate-log-{spec.uid}", daemon=True)
        self._reader.start()

    def wait_spare(self, seconds: float) -> bool:
        """Return when a spare has imported what it can; whether it is good for use. One that is not is dead."""
        line = self._status_line(seconds)
        if line is not None and line.strip() == b'{"spare": true}':
            return True
        self.stop()
        return False

    def assign(self, spec: ModelSpec, listener: socket.socket) -> bool:
        """Give a spare its version; whether it still could be given one. `wait_ready` tells how that went."""
        assert self._assign is not None
        folders = {"model": Path(spec.directory)}
        if spec.options.get("copy"):
            folders["copy"] = Path(spec.options["copy"])
        files = {
            f"{name}/{path.relative_to(folder)}": path
            for name, folder in folders.items()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        message = {
            "framework": spec.framework, "options": spec.options, "seconds": spec.seconds, "files": list(files),
        }  # fmt: skip
        opened: list[int] = []
        try:
            opened += [os.open(path, os.O_RDONLY) for path in files.values()]
            socket.send_fds(self._assign, [json.dumps(message).encode()], [listener.fileno(), *opened])
        except OSError:
            self.stop()
            return False
        finally:
            for descriptor in opened:
                os.close(descriptor)
        self._assign.close()
        self._assign = None
        self.spec = spec
        return True

    def wait_ready(self, seconds: float) -> str:
        """Return when the model is loaded: the framework that it says it has ("" for none that is known). Raises
        FailedPrecondition with the reason, and the process is then dead."""
        line = self._status_line(seconds)
        try:
            answer = json.loads(line) if line else {}
        except ValueError:
            answer = {}
        if isinstance(answer, dict) and answer.get("ok") is True:
            self.copy = answer.get("copy")
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
            self._is_killed = True
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)

    def leave(self) -> None:
        """Ask it to answer what has come, to send everybody elsewhere, and to end."""
        with self._gate, suppress(OSError):
            os.write(self._alive, b"l")

    def was_killed(self) -> bool:
        """Whether somebody else ended it by SIGKILL: a kernel that needs memory, or a person. No model does that to
        itself by mistake."""
        return not self._is_killed and self._popen.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)

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
        if not self._model_pid:
            self._model_pid = self._innermost()
        return self._model_pid

    def _innermost(self) -> int:
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
        return self._memory()[0]

    def cpu_seconds(self) -> float:
        """Processor time that it has used, 0 when it has ended."""
        try:
            ticks = Path(f"/proc/{self.pid()}/stat").read_text().rpartition(")")[2].split()[11:13]
        except OSError:
            return 0.0
        return sum(int(n) for n in ticks) / TICKS

    def own_memory(self) -> int:
        """Bytes that would be free without it: what is mapped from files is shared with its like."""
        whole, shared = self._memory()
        return whole - shared

    def _memory(self) -> tuple[int, int]:
        try:
            pages = Path(f"/proc/{self.pid()}/statm").read_text().split()
        except OSError:
            return 0, 0
        return tuple(int(n) * PAGE for n in pages[1:3])  # type: ignore[return-value]

    def _status_line(self, seconds: float) -> bytes | None:
        """The next line of the status pipe; empty when it ended without one, None when the time is over."""
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        while b"\n" not in self._said and len(self._said) < LONGEST_STATUS:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                return None
            try:
                data = os.read(self._status, 4096)
            except OSError:  # it is closed: the process was cleaned up meanwhile
                data = b""
            if not data:
                self._popen.wait()
                self._reader.join(2)  # its last words come by another pipe
                break
            self._said += data
        line, _, self._said = self._said.partition(b"\n")
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

    def _close_gateway(self) -> None:
        if self._gateway is not None:
            self._gateway.close()
            shutil.rmtree(f"{self.scratch}-gateway", ignore_errors=True)
            self._gateway = None

    def _reap(self) -> None:
        self._reader.join(2)
        self._close_gateway()
        if self._assign is not None:
            self._assign.close()
            self._assign = None
        with self._gate:
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

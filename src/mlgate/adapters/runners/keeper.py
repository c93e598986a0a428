"""The keeper of one execution: `python -m mlgate.adapters.runners.keeper FOLDER`, the account's token on its input.

It stands outside the sandbox, in a session of its own, and outlives the runner that started it (as a containerd shim
outlives containerd). It starts the confined command, writes down what it prints, line by line with the time, ends it
when it is told to, when its time is over, or when nobody has cared for too long, and says how it ended. Whoever comes
later learns everything from the folder:

    plan.json      what to run; never changed
    lock           held by the living keeper: the kernel's own word, which no reuse of a process number can forge
    control        a pipe with a name for the runner's messages, a JSON object a line: {"token"}, {"cancel": SECONDS}
    status.json    {"phase": "begun"} before any user code, {"phase": "ended", ...} after all of it; written whole
    out/TASK       lines: microseconds since 1970, `o` or `e`, text
    work, temporary, packages    the job's own; the first holds the file of metrics
    files          what it is given to read

INVARIANT: user code is begun at most once for a folder. Only the holder of the lock begins it, after it wrote `begun`,
and not when that was written before.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlgate.adapters.hosts.sandbox import Interpreter, JobLimits, Sandbox
from mlgate.core.errors import RpcError

if TYPE_CHECKING:
    from mlgate.adapters.runners.gateway import Gateway

#: Runs a program of our own, by its name.
PROGRAM = Path(__file__).parent.parent / "runtimes" / "process.py"
METRICS = "metrics"
LOCK, CONTROL, STATUS, PLAN = "lock", "control", "status.json", "plan.json"
#: What is longer than a line may be is stored as several.
LONGEST_LINE = 16 << 10
ROUND_SECONDS = 0.5
MEASURE_SECONDS, SIZE_SECONDS = 1.0, 5.0
GRACE_SECONDS = 5.0
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    folder = Path(sys.argv[1])
    lock = (folder / LOCK).open("a")
    if not _locked(lock.fileno()):
        return  # another keeper was faster
    if read_status(folder):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    token = sys.stdin.readline().strip()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    Keeper(folder, token).run()


def _locked(fd: int) -> bool:
    """Whoever only looks holds the lock for a moment, too: so it is tried for a while."""
    for _ in range(200):
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.01)
    return False


def read_status(folder: Path) -> dict[str, Any]:
    """What the keeper wrote last; nothing before it began."""
    try:
        status: dict[str, Any] = json.loads((folder / STATUS).read_bytes())
    except FileNotFoundError:
        return {}
    return status


class Keeper:
    def __init__(self, folder: Path, token: str) -> None:
        self.folder = folder
        self.plan: dict[str, Any] = json.loads((folder / PLAN).read_text())
        self.token = token
        self.reason = ""
        self._heard = time.monotonic()
        self._kill_at: float | None = None
        self._writers: list[Writer] = []
        # Opened for both directions: so there is always a writer, and reading never meets an end.
        self._control = os.open(folder / CONTROL, os.O_RDWR | os.O_NONBLOCK)
        self._began = 0.0
        self._excess = ""

    def run(self) -> None:
        try:
            gateway = self._gateway()
        except (OSError, RpcError) as error:
            self._write_status(phase="ended", reason="NOT_STARTED", detail=f"its way to the buckets: {error}")
            return
        try:
            self._run(gateway)
        finally:
            if gateway is not None:
                gateway.close()

    def _gateway(self) -> Gateway | None:
        where = self.plan["gateway"]
        if not where:
            return None
        from mlgate.adapters.runners.gateway import Gateway

        private = self.folder / "gateway"
        private.mkdir(mode=0o711, exist_ok=True)
        gateway = Gateway(
            where["upstream"], lambda: self.token, account=where["account"], project=where["project"],
            directory=private, public_url=where["public_url"], open_to=where["open_to"],
            mode=self.plan["sandbox"]["mode"],
        )  # fmt: skip
        gateway.start()
        return gateway

    def _run(self, gateway: Gateway | None) -> None:
        deadline = time.monotonic() + self.plan["seconds"]
        self._began = time.time()
        self._write_status(phase="begun", began=self._began)
        try:
            child, ended = self._start(gateway)
        except (OSError, RpcError) as error:
            self._write_status(phase="ended", reason="NOT_STARTED", detail=str(error))
            return
        code = self._watch(child, deadline)
        self._end_all()
        for writer in self._writers:
            writer.close()
        task = os.read(ended, 200).decode("ascii", "replace")  # whoever could write there has ended
        self._write_status(
            phase="ended", began=self._began, ended=time.time(), code=code, reason=self.reason, task=task
        )

    # ------------------------------------------------------------------------------------------------------- start

    def _start(self, gateway: Gateway | None) -> tuple[int, int]:
        """The number of the first confined process, and the pipe on which the one that decides is named."""
        plan, folder = self.plan, self.folder
        sandbox = Sandbox(plan["sandbox"]["mode"], plan["sandbox"]["reason"], tuple(plan["sandbox"]["bubblewrap"]))
        python = Interpreter(plan["python"]["executable"], tuple(plan["python"]["read"]))
        work, temporary, packages = (str(folder / name) for name in ("work", "temporary", "packages"))
        ended, ended_in = os.pipe()
        processes, given = [], [ended_in]
        for process in plan["processes"]:
            writer = Writer(folder / "out" / process["task"], plan["log_bytes"])
            self._writers.append(writer)
            processes.append({**process, "output": writer.output, "errors": writer.errors})
        first = processes[0]
        given += [fd for process in processes[1:] for fd in (process["output"], process["errors"])]
        told = [{**first, "output": 1, "errors": 2}, *processes[1:]]
        task = json.dumps({"packages": packages, "processes": told, "ended": ended_in})
        read = [str(PROGRAM.parent), packages, str(folder / "files")]
        arguments, own = [str(PROGRAM), task, "task"], {}
        if plan["program"]:
            arguments, own = [str(PROGRAM), *first["arguments"], plan["program"]], first["environment"]
        door, environment = None, {}
        if gateway is not None:
            door, environment = gateway.door(), gateway.environment()
            read += gateway.read
            given += gateway.pass_fds
        command = sandbox.job_command(
            python, ["-I", "-B", *arguments], read=read, work=work, temporary=temporary, door=door,
            limits=JobLimits(memory_bytes=plan["memory_bytes"]),
        )  # fmt: skip
        shared = {
            **sandbox.job_environment(python, work, temporary),
            **environment,
            "PYTHONUNBUFFERED": "1",
            **own,
            "CLOUD_ML_HP_METRIC_FILE": str(folder / "work" / METRICS),
        }
        popen = subprocess.Popen(
            command, env=shared, cwd=work, stdin=subprocess.DEVNULL, stdout=first["output"], stderr=first["errors"],
            pass_fds=given, start_new_session=True,
        )  # fmt: skip
        popen.returncode = 0  # it is waited for here, and not by the object
        for process in processes:
            os.close(process["output"])
            os.close(process["errors"])
        os.close(ended_in)
        return popen.pid, ended

    # ------------------------------------------------------------------------------------------------------- watch

    def _watch(self, child: int, deadline: float) -> int:
        """The exit code of the first process (negative for a signal), once it has ended."""
        threading.Thread(target=self._measure, daemon=True).start()
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ, self._read_control)
        watched = os.pidfd_open(child)
        selector.register(watched, selectors.EVENT_READ, lambda: None)
        while True:
            code = _reap(child)
            if code is not None:
                return code
            now = time.monotonic()
            if now > deadline:
                self._ask("TOO_LONG", GRACE_SECONDS)
            if now - self._heard > self.plan["patience"]:
                self._ask("DESERTED", GRACE_SECONDS)
            if self._excess:
                self._ask(self._excess, GRACE_SECONDS)
            if not self.folder.is_dir():
                self._ask("DESERTED", 0)
            if self._kill_at is not None and now >= self._kill_at:
                _signal_all(child, signal.SIGKILL)
            ends = [deadline, self._kill_at or deadline]
            wait = min(ROUND_SECONDS, max(0.01, min(ends) - now))
            for key, _ in selector.select(wait):
                key.data()

    def _measure(self) -> None:
        """Look at the memory of all the job's processes, and at the size of its folders: files that are open and have
        no name any more are not seen there."""
        most = self.plan["memory_bytes"] * len(self.plan["processes"])
        next_size = 0.0
        while not self._excess:
            time.sleep(MEASURE_SECONDS)
            if sum(map(_resident, pids := descendants(os.getpid()))) > most and sum(map(_proportional, pids)) > most:
                self._excess = "OUT_OF_MEMORY"
            if time.monotonic() > next_size:
                next_size = time.monotonic() + SIZE_SECONDS
                if sum(size_of(self.folder / name) for name in ("work", "temporary")) > self.plan["disk_bytes"]:
                    self._excess = "TOO_LARGE"

    def _read_control(self) -> None:
        self._heard = time.monotonic()
        for line in os.read(self._control, 1 << 16).splitlines():
            message = json.loads(line)
            if message.get("token"):
                self.token = message["token"]
            if "cancel" in message:
                self._ask("CANCELLED", message["cancel"])

    def _ask(self, reason: str, grace: float) -> None:
        """SIGTERM for every process of the job's, and SIGKILL after the grace; the first reason is the one told."""
        if self._kill_at is not None:
            self._kill_at = min(self._kill_at, time.monotonic() + grace)
            return
        self.reason = reason
        self._kill_at = time.monotonic() + grace
        for pid in descendants(os.getpid()):
            if not _is_bubblewrap(pid):  # which would take the others with it, at once
                _send(pid, signal.SIGTERM)

    def _end_all(self) -> None:
        """Nothing of the job's outlives it: what detached itself is this process's child by now (it is a subreaper)."""
        for _ in range(200):
            left = descendants(os.getpid())
            for pid in left:
                _send(pid, signal.SIGKILL)
            _reap(0)
            if not left:
                return
            time.sleep(0.02)

    def _write_status(self, **status: Any) -> None:
        scratch = self.folder / (STATUS + ".new")
        with suppress(FileNotFoundError):  # the folder is gone: nobody wants to know
            with scratch.open("w") as file:
                json.dump(status, file)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self.folder / STATUS)


class Writer:
    """Two pipes whose lines are written into one file, with their times, up to a number of bytes in all."""

    def __init__(self, path: Path, most: int) -> None:
        self._file = path.open("ab", buffering=0)
        self._left = most
        self._dropped = 0
        output, self.output = os.pipe()
        errors, self.errors = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=({output: b"o", errors: b"e"},), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Once no process of the job's is left, so that the pipes have ended."""
        self._thread.join(10)
        if self._dropped:
            self._write([f"The log is full: {self._dropped} more bytes were not kept.".encode()], b"e")

    def _copy(self, kinds: dict[int, bytes]) -> None:
        rests = dict.fromkeys(kinds, b"")
        while rests:
            ready, _, _ = select.select(list(rests), [], [])
            for fd in ready:
                piece = os.read(fd, 1 << 16)
                *lines, rest = (rests[fd] + piece).split(b"\n")
                if not piece:
                    lines, rest = [rest] if rest else [], b""
                    del rests[fd]
                    os.close(fd)
                elif len(rest) >= LONGEST_LINE:
                    lines, rest = [*lines, rest], b""
                if piece:
                    rests[fd] = rest
                self._write(list(self._within(lines)), kinds[fd])

    def _within(self, lines: list[bytes]) -> Iterator[bytes]:
        """The lines, cut where they are too long, as far as there is room for them."""
        for line in lines:
            for at in range(0, len(line) or 1, LONGEST_LINE):
                part = line[at : at + LONGEST_LINE]
                if self._dropped or len(part) >= self._left:
                    self._dropped += len(part) + 1
                    continue
                self._left -= len(part) + 1
                yield part

    def _write(self, lines: list[bytes], kind: bytes) -> None:
        now = time.time_ns() // 1000
        self._file.write(b"".join(b"%d %s %s\n" % (now, kind, line.removesuffix(b"\r")) for line in lines))


# --------------------------------------------------------------------------------------------------------- processes


def _resident(pid: int) -> int:
    """The memory of a process, what it shares with others included; quick to be had."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _proportional(pid: int) -> int:
    """The memory of a process, its part only of what it shares with others; all of it where that may not be known, as
    of another user's process in a container."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next((int(line.split()[1]) << 10 for line in file if line.startswith("Pss:")), 0)
    except PermissionError:
        return _resident(pid)
    except (OSError, ValueError, IndexError):
        return 0


def size_of(folder: str | Path) -> int:
    """The bytes that a folder takes on the disk."""
    size = 0
    waiting = [os.fspath(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return size


def descendants(pid: int) -> list[int]:
    """All processes below one, parents first."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for task in _children_lists(waiting.pop()):
            waiting += task
            found += task
    return found


def _children_lists(pid: int) -> list[list[int]]:
    lists = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                lists.append([int(child) for child in file.read().split()])
    return lists


def _signal_all(child: int, number: int) -> None:
    for pid in [child, *descendants(os.getpid())]:
        _send(pid, number)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _is_bubblewrap(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip() == "bwrap"
    except OSError:
        return False


def _reap(child: int) -> int | None:
    """Wait for every process that has ended; the exit code of `child` if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()

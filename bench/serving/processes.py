"""A contestant's processes: found by a mark in their environment and by descent, pinned, counted, ended.

Neither alone finds all: a supervisor may start a process outside its family (the mark is inherited), a sandbox may
start one without an environment (but as a child).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_MARK = "SERVING_CONTESTANT"


def pin(core: int) -> None:
    """Keep this process, and whatever it starts, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def children_of() -> dict[int, list[int]]:
    """Every process's children."""
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            found.setdefault(parent, []).append(int(stat.parent.name))
    return found


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children, found = children_of(), [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time so far; of a process that is gone, none."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            ticks += sum(int(n) for n in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pids: Iterable[int]) -> tuple[int, int]:
    """Bytes of memory: resident, and proportional (a page that n processes share counts 1/n for each)."""
    total = {"Rss": 0, "Pss": 0}
    for pid in pids:
        with suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            for kind in total:
                total[kind] += int(re.search(rf"^{kind}:\s+(\d+)", rollup, re.MULTILINE)[1]) << 10  # type: ignore[index]
    return total["Rss"], total["Pss"]


class Group:
    """A command and all the processes that come of it."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path, core: int | None = None
    ) -> None:
        self._mark = f"{_MARK}={uuid.uuid4().hex}".encode()
        name, _, value = self._mark.decode().partition("=")
        with log.open("wb") as out:
            self._popen = subprocess.Popen(
                command, env={**environ, name: value}, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, preexec_fn=None if core is None else lambda: pin(core),
            )  # fmt: skip

    def pids(self) -> set[int]:
        """Those that live."""
        marked = set(family(self._popen.pid)) if self._popen.poll() is None else set()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if self._mark in environ.read_bytes():
                    marked.add(int(environ.parent.name))
        return marked

    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def end(self) -> None:
        """Ask the first process to stop, then all, then kill what is left. Returns when nothing is."""
        for sent, to_all, seconds in (
            (signal.SIGTERM, False, 10),
            (signal.SIGTERM, True, 5),
            (signal.SIGKILL, True, 10),
        ):
            left = self.pids()
            for pid in left if to_all else left & {self._popen.pid}:
                with suppress(OSError):
                    os.kill(pid, sent)
            until = time.monotonic() + seconds
            while self.pids() and time.monotonic() < until:
                time.sleep(0.05)
            if not self.pids():
                return

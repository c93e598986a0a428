"""Executions of user code, and the port that runs them: how a job's runner sees whatever starts its processes.

The adapter here is local processes (adapters/runners); another one has to pass tests/jobs/test_runner_contract.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class JobProcess:
    """One process of an execution: its task, such as master-replica-0, what stands behind `python -m`, and what it is
    told by its environment."""

    task: str
    module: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Execution:
    """User code to be run once: a job, or a trial of one. Its processes share a loopback network, on which each finds
    the others; the first one is the master, and its end is the end of all.

    `key` is never used for anything else. `packages` are pairs of a file name and the digest of a blob. `open_to` are
    patterns of the hosts that it may reach besides this server; without an account it reaches nothing at all.
    `memory_bytes` is the limit of any process that it starts, and of all together for each of `processes`.

    With a `program`, `batch`, its only process is that one of our own, whose first argument is its plan, instead of a
    module of the packages. `files` are pairs of a path and a digest, which it finds below `../files`.
    """

    key: str
    python: str
    processes: tuple[JobProcess, ...]
    packages: tuple[tuple[str, str], ...]
    account: str
    project: str
    memory_bytes: int = 4 << 30
    disk_bytes: int = 20 << 30
    log_bytes: int = 64 << 20
    seconds: float = 604_800.0
    open_to: tuple[str, ...] = ()
    program: str = ""
    files: tuple[tuple[str, str], ...] = ()


#: What `JobRunner.look` may find. INVARIANT: STARTING is before any user code; an execution that is LOST began it
#: and nobody knows how that ended.
ABSENT, STARTING, RUNNING, ENDED, LOST = "ABSENT", "STARTING", "RUNNING", "ENDED", "LOST"
#: Why one ended that did not end by itself.
CANCELLED, TOO_LONG, TOO_LARGE, DESERTED = "CANCELLED", "TOO_LONG", "TOO_LARGE", "DESERTED"
OUT_OF_MEMORY, NOT_STARTED = "OUT_OF_MEMORY", "NOT_STARTED"


@dataclass(frozen=True, slots=True)
class Seen:
    """An execution as `look` finds it. `code` is the exit code of its master, or of the process whose failure ended
    them all, which `task` names; below 0 a signal. `detail` says more of why it could not be started."""

    state: str
    code: int = 0
    task: str = ""
    reason: str = ""
    detail: str = ""
    began: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Printed:
    """A line that a process printed, and when (seconds since 1970)."""

    time: float
    is_error: bool
    text: str


class JobRunner(Protocol):
    """Runs user code where nothing of the server's can be seen. Executions outlive the process that started them: what
    `look` tells depends on the key alone, whoever asks. No key is ever begun twice."""

    def start(self, execution: Execution, token: str) -> None:
        """Begin it, unless it has begun. `token` is the account's, for calls of this server. Raises
        FailedPrecondition when it cannot be run here."""

    def renew(self, key: str, token: str) -> None:
        """Say that somebody still cares, and hand over a fresh token ("" for none)."""

    def look(self, key: str) -> Seen: ...

    def cancel(self, key: str, grace_seconds: float) -> None:
        """Ask all its processes to end (SIGTERM), and kill what is left after the grace."""

    def output(self, key: str, task: str, offset: int) -> tuple[list[Printed], int]:
        """What a task printed from a byte on: some whole lines, and where the next ones begin."""

    def metrics(self, key: str) -> bytes:
        """The file that CLOUD_ML_HP_METRIC_FILE names, as it is now: cloudml-hypertune keeps its last entries there."""

    def made(self, key: str, name: str) -> BinaryIO | None:
        """A file that it put into its working folder; None where there is none. What is in it is a stranger's word."""

    def forget(self, key: str) -> None:
        """Kill what still runs, and remove everything of it."""

    def executions(self) -> list[str]:
        """All executions that are not forgotten."""

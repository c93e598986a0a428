"""One execution as its job sees it: begun, its output moved into the log, kept alive, and its end in words."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mlgate.core.errors import RpcError
from mlgate.executions import (
    ABSENT,
    CANCELLED,
    DESERTED,
    ENDED,
    LOST,
    NOT_STARTED,
    OUT_OF_MEMORY,
    STARTING,
    TOO_LARGE,
    TOO_LONG,
    Execution,
    JobRunner,
    Seen,
)
from mlgate.job_logs import ERROR, INFO, Line, Stream
from mlgate.runner.claimed import Claimed, log

#: Tokens of a job's account are good for the first, and handed over anew after the second.
TOKEN_SECONDS, RENEW_SECONDS = 1800.0, 600.0
#: A keeper hears of its runner this often, or three times in its patience.
CARE_SECONDS = 20.0
#: One that does not get to user code is started again so often.
STARTS = 3
GRACE_SECONDS = 5.0
#: Exit code of what cannot be used; the reason is the last line of the error output.
UNUSABLE = 78
_LAST_WORDS = 12


@dataclass
class Watched:
    claimed: Claimed
    runner: JobRunner
    execution: Execution
    #: A fresh token for the execution's account. Raises RpcError.
    issue: Callable[[], str]
    #: Whether user code may be begun; False where it has been, as far as the job's record knows.
    may_start: bool = True
    trial: str = ""
    #: Seconds that its keeper goes on without hearing of its runner.
    patience: float = 3600.0
    seen: Seen = field(default_factory=lambda: Seen(ABSENT))
    _starts: int = 0
    _is_cancelled: bool = False
    _renewed: float = 0.0
    _cared: float = 0.0
    _offsets: dict[str, int] = field(default_factory=dict)
    _words: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_WORDS))

    def step(self) -> Seen:
        """Look at it, start it if no user code has begun, and store what it printed. Raises FailedPrecondition when it
        cannot be started."""
        if self.seen.state in (ENDED, LOST):
            return self.seen
        seen = self.runner.look(self.execution.key)
        if seen.state == ABSENT and not self._is_cancelled:
            seen = self._start() if self.may_start else Seen(LOST)
        self._care()
        self._move_output()
        self.seen = seen
        return seen

    def cancel(self) -> None:
        """What has not begun user code never will. Said until it has ended: a keeper that just starts does not hear."""
        self._is_cancelled = True
        self.runner.cancel(self.execution.key, GRACE_SECONDS)

    def forget(self) -> None:
        self.runner.forget(self.execution.key)

    def has_ended(self) -> bool:
        return self.seen.state in (ENDED, LOST) or (self.seen.state == ABSENT and self._is_cancelled)

    def failure(self) -> str:
        """Why it did not succeed, in words; "" when it did, or was cancelled."""
        seen, task = self.seen, self.seen.task or self.execution.processes[0].task
        match seen.reason:
            case _ if seen.state == LOST:
                return (
                    f"The replica {task} is gone, and with it the process that kept it: it was killed, or the machine "
                    "was restarted. How far it came is not known, so it is not run again."
                )
            case "" if seen.code == UNUSABLE and self._words:
                return self._words[-1]
            case "" if seen.code:
                return f"The replica {task} {_how(seen.code)}.{self._said()}"
            case r if r == NOT_STARTED:
                return f"The replica {task} could not be started: {seen.detail}"
            case r if r == OUT_OF_MEMORY:
                limit = self.execution.memory_bytes * len(self.execution.processes)
                return f"The job's processes took more than {limit} bytes of memory together (MLGATE_JOB_MEMORY)."
            case r if r == TOO_LARGE:
                limit = self.execution.disk_bytes
                return f"The job wrote more than the {limit} bytes that its folders may hold (MLGATE_JOB_DISK)."
            case r if r == DESERTED:
                return "The job was ended because no server ran for too long to look after it (MLGATE_JOB_PATIENCE)."
        return ""

    def was_lost(self) -> bool:
        """Whether it went with its keeper, and not by itself."""
        return self.seen.state == LOST or self.seen.reason == DESERTED

    def is_too_long(self) -> bool:
        return self.seen.reason == TOO_LONG

    def is_cancelled(self) -> bool:
        return self.seen.reason == CANCELLED or self.seen.state == ABSENT

    def _start(self) -> Seen:
        self._starts += 1
        if self._starts > STARTS:
            return Seen(ENDED, reason=NOT_STARTED, detail=f"it was tried {STARTS} times.")
        self.runner.start(self.execution, self.issue())
        self._renewed = self._cared = time.monotonic()
        seen = self.runner.look(self.execution.key)
        return Seen(STARTING) if seen.state == ABSENT else seen

    def _care(self) -> None:
        now = time.monotonic()
        if now - self._renewed > RENEW_SECONDS or not self._renewed:
            self._renewed = now
            try:
                self.runner.renew(self.execution.key, self.issue())
            except RpcError as error:  # the account is gone: the job goes on without access
                log.warning("no token", job=self.claimed.name, error=error.message)
        elif now - self._cared > min(CARE_SECONDS, self.patience / 3):
            self.runner.renew(self.execution.key, "")
        else:
            return
        self._cared = now

    def _move_output(self) -> None:
        for process in self.execution.processes:
            stream = Stream(process.task, self.trial)
            start = self._offsets.get(process.task)
            if start is None:
                start = self.claimed.cursor(stream)
            while True:
                printed, end = self.runner.output(self.execution.key, process.task, start)
                if end == start:
                    break
                lines = [
                    Line(datetime.fromtimestamp(p.time, UTC), ERROR if p.is_error else INFO, p.text) for p in printed
                ]
                self.claimed.store_output(stream, lines, start, end)
                self._words.extend(p.text for p in printed if p.is_error)
                start = end
            self._offsets[process.task] = start

    def _said(self) -> str:
        words = "\n".join(self._words)[-2000:]
        return f" Its last words:\n{words}" if words else " It left no word; the log may say more."


def _how(code: int) -> str:
    number = -code if code < 0 else code - 128 if code > 128 else 0
    if number == signal.SIGKILL:
        return "was killed (signal 9), perhaps because the machine ran out of memory"
    return f"was ended by signal {number}" if number else f"exited with a non-zero status of {code}"

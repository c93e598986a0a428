"""A job that a runner has claimed: its record, changed only while the lease is the runner's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from mlgate import job_logs
from mlgate.core import jobs
from mlgate.core.errors import Aborted
from mlgate.job_logs import Line, Stream
from mlgate.ports import Clock, Record, Store, Task, Transaction

log = structlog.get_logger("mlgate.runner")

#: An update that met somebody else's (labels, cancel) is tried again so often.
TRIES = 10


class LostLease(Exception):
    """Another runner has the job, or it is gone: nothing of ours may be stored."""


@dataclass(frozen=True)
class Claimed:
    store: Store
    clock: Clock
    task: Task

    @property
    def name(self) -> str:
        return str(self.task.body["job"])

    def read(self) -> Record:
        """Raises LostLease."""
        with self.store.read() as tx:
            return self._own(tx)

    def change(self, work: Callable[[Transaction, Record, datetime], None]) -> None:
        """Do work in a transaction, with the job as it is then. Raises LostLease."""
        for tries in range(TRIES):
            try:
                with self.store.write() as tx:
                    work(tx, self._own(tx), self.clock.now())
                return
            except Aborted:
                if tries == TRIES - 1:
                    raise

    def move(self, to: str, text: str, message: str = "", at: datetime | None = None) -> None:
        """The job in its next state, with a line in its log, at a time that was before or now; nothing where it is
        being cancelled meanwhile."""

        def work(tx: Transaction, record: Record, now: datetime) -> None:
            if record.body["state"] == jobs.CANCELLING and to in (jobs.PREPARING, jobs.RUNNING, jobs.CANCELLING):
                return
            record.body = jobs.move(record.body, to, at or now, message)
            tx.update(record)
            job_logs.note(tx, record, at or now, text, job_logs.ERROR if to == jobs.FAILED else job_logs.INFO)

        self.change(work)
        log.info("job", job=self.name, state=to)

    def remember(self, said: Iterable[str] = (), **hidden: Any) -> None:
        """Keep this with the job and say those lines in its log: both, or neither where the runner dies on the way."""

        def work(tx: Transaction, record: Record, now: datetime) -> None:
            record.hidden = {**record.hidden, **hidden}
            tx.update(record)
            for line in said:
                job_logs.note(tx, record, now, line)

        self.change(work)

    def note(self, text: str, severity: str = job_logs.INFO, trial: str = "") -> None:
        self.change(lambda tx, record, now: job_logs.note(tx, record, now, text, severity, trial))

    def cursor(self, stream: Stream) -> int:
        """How many bytes of a stream's output are stored."""
        with self.store.read() as tx:
            return job_logs.cursor(tx, self.name, stream).offset

    def store_output(self, stream: Stream, lines: Iterable[Line], start: int, end: int) -> None:
        kept = list(lines)
        self.change(lambda tx, record, _: job_logs.append(tx, record, stream, kept, start, end))

    def end(
        self,
        to: str,
        message: str,
        finish: Callable[[dict[str, Any]], dict[str, Any]],
        also: Callable[[Transaction, Record, datetime], None] = lambda tx, record, now: None,
    ) -> None:
        """The job's end and its task's, in one transaction. `finish` says what else its message tells then, and `also`
        does what belongs to it."""

        def work(tx: Transaction, record: Record, now: datetime) -> None:
            if not tx.finish(self.task):
                raise LostLease
            body = record.body
            if to == jobs.CANCELLED and body["state"] != jobs.CANCELLING:
                body = jobs.move(body, jobs.CANCELLING, now, message)
            message_now = "" if to == jobs.CANCELLED else message
            record.body = finish(jobs.move(body, to, now, message_now))
            also(tx, record, now)
            tx.update(record)
            said = {jobs.SUCCEEDED: "Job completed successfully.", jobs.CANCELLED: "Job cancelled."}.get(to, message)
            job_logs.note(tx, record, now, said, job_logs.ERROR if to == jobs.FAILED else job_logs.INFO)

        self.change(work)
        log.info("job", job=self.name, state=to, message=message)

    def drop(self) -> None:
        """The job has ended already: its task is all that is left."""
        with self.store.write() as tx:
            tx.finish(self.task)

    def _own(self, tx: Transaction) -> Record:
        record = tx.get(self.name)
        if not tx.holds(self.task) or record is None or record.uid != self.task.body["uid"]:
            raise LostLease
        return record

"""The logs of jobs in the store: what a job's processes printed, and what became of it.

Lines are stored in chunks. A chunk is a record of kind `log` below its job, named by the time of its first line, so
that the store's order is that of time; it spans a few seconds at most. Beside the chunks each stream (a task of a
trial) has one record that says how far it has been read, and both are written in one transaction: a runner that is
killed neither loses a line nor stores one twice.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from mlgate.core.errors import Aborted
from mlgate.core.names import id_of, join, project_id_of
from mlgate.core.wire import format_timestamp
from mlgate.ports import Record, Transaction

LOG, CURSOR = "log", "logCursor"
#: A chunk ends with either.
CHUNK_LINES, CHUNK_SPAN = 500, timedelta(seconds=10)
#: The task of lines that the service itself writes.
SERVICE = "service"
DEBUG, INFO, WARNING, ERROR = "DEBUG", "INFO", "WARNING", "ERROR"


class Line(NamedTuple):
    time: datetime
    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class Stream:
    """Where lines come from: a task such as master-replica-0, of a trial ("" outside of tuning)."""

    task: str
    trial: str = ""

    @property
    def id(self) -> str:
        return f"{self.trial}-{self.task}" if self.trial else self.task


@dataclass(slots=True)
class Cursor:
    """How far a stream has been stored: bytes of its output, lines, and the time of the last one."""

    offset: int = 0
    lines: int = 0
    last: str = ""


def cursor(tx: Transaction, job: str, stream: Stream) -> Cursor:
    record = tx.get(_cursor_name(job, stream))
    return Cursor(**record.body) if record is not None else Cursor()


def append(tx: Transaction, job: Record, stream: Stream, lines: Iterable[Line], start: int = 0, end: int = 0) -> None:
    """Store lines that were read from the bytes `start` to `end` of the stream's output. Raises Aborted when the stream
    is not stored just up to there: somebody else reads it."""
    name = _cursor_name(job.name, stream)
    record = tx.get(name)
    at = Cursor(**record.body) if record is not None else Cursor()
    if at.offset != start:
        raise Aborted(f"The log {stream.id} of {job.name} is stored up to byte {at.offset}, not {start}.")
    last = datetime.min.replace(tzinfo=UTC) if not at.last else _moment(at.last)
    chunk: list[Line] = []
    for line in lines:
        line = line._replace(time=max(line.time, last))  # a clock that is set back does not turn the log around
        last = line.time
        if chunk and (len(chunk) >= CHUNK_LINES or line.time - chunk[0].time > CHUNK_SPAN):
            _insert(tx, job, stream, chunk, at)
            chunk = []
        chunk.append(line)
    if chunk:
        _insert(tx, job, stream, chunk, at)
    at.offset = end
    body = {"offset": at.offset, "lines": at.lines, "last": at.last}
    if record is None:
        tx.insert(Record(name, CURSOR, job.name, f"{job.uid}.{stream.id}", body, job.created))
    else:
        record.body = body
        tx.update(record)


def note(tx: Transaction, job: Record, now: datetime, text: str, severity: str = INFO, trial: str = "") -> None:
    """A line of the service's own."""
    append(tx, job, Stream(SERVICE, trial), [Line(now, severity, text)])


def entries(tx: Transaction, job: str, since: datetime | None = None) -> Iterator[dict[str, Any]]:
    """The log of a job as entries of Logging v2, in order of (timestamp, insertId), from `since` on."""
    after = ""
    if since is not None:
        after = join(job, "logs", _stamp(since - CHUNK_SPAN)) if since.year > 1 else ""
    waiting: list[tuple[str, str, int, dict[str, Any]]] = []
    count = 0
    while True:
        chunks = tx.children(job, LOG, after=after, limit=20)
        for chunk in chunks:
            first = chunk.body["lines"][0][0]
            while waiting and waiting[0][0] < first:
                yield heapq.heappop(waiting)[3]
            for entry in _entries_of(job, chunk.body):
                if since is None or _moment(entry["_time"]) >= since:
                    count += 1
                    heapq.heappush(waiting, (entry.pop("_time"), entry["insertId"], count, entry))
        if len(chunks) < 20:
            break
        after = chunks[-1].name
    while waiting:
        yield heapq.heappop(waiting)[3]


def _insert(tx: Transaction, job: Record, stream: Stream, chunk: list[Line], at: Cursor) -> None:
    name = join(job.name, "logs", f"{_stamp(chunk[0].time)}-{stream.id}-{at.lines:09d}")
    body = {
        "task": stream.task,
        "trial": stream.trial,
        "number": at.lines,
        "lines": [[_stamp(line.time), line.severity, line.text] for line in chunk],
    }
    tx.insert(Record(name, LOG, job.name, f"{job.uid}.{stream.id}.{at.lines}", body, chunk[0].time))
    at.lines += len(chunk)
    at.last = _stamp(chunk[-1].time)


def _entries_of(job: str, chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
    project, job_id, task, trial = project_id_of(job), id_of(job), chunk["task"], chunk["trial"]
    log = f"ml.googleapis.com%2F{job_id}" if task == SERVICE else task
    for number, (time, severity, text) in enumerate(chunk["lines"], chunk["number"]):
        moment = format_timestamp(_moment(time))
        entry = {
            "_time": time,
            "logName": f"projects/{project}/logs/{log}",
            "resource": {"type": "ml_job", "labels": {"project_id": project, "job_id": job_id, "task_name": task}},
            "timestamp": moment,
            "receiveTimestamp": moment,
            "severity": severity,
            # a letter first: an id that looks like a number would be compared as one
            "insertId": f"e{number:012d}-{Stream(task, trial).id}",
            "textPayload": text,
        }
        yield {**entry, "labels": {"ml.googleapis.com/trial_id": trial}} if trial else entry


def _cursor_name(job: str, stream: Stream) -> str:
    return join(job, "logCursors", stream.id)


def _stamp(moment: datetime) -> str:
    """A moment in UTC whose texts are in the order of time."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")


def _moment(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)

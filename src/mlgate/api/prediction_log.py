"""What is kept of predictions beyond their number: sampled requests with their answers, and access lines.

Both wait in a bounded line off the prediction path; one thread writes what has come every few seconds. A full line, a
table that has reached its limit, or a place that the project's service agent may no longer write to costs rows, which
are counted, and never predictions. A row is what BigQuery's table had on the old service: model, model_version, time,
raw_data, raw_prediction, groundtruth. Bodies are all that is logged of a request, and what looks like a token or a key
in one is dropped (`logs.py`).
"""

from __future__ import annotations

import random
import secrets
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import structlog

from mlgate.api.usage import Usage
from mlgate.core.errors import PermissionDenied, RpcError
from mlgate.core.names import id_of, model_of, project_id_of
from mlgate.core.request_logging import PERMISSION, Sink, sink_of
from mlgate.core.usage import Counts
from mlgate.core.version_log import ACCESS, write_line
from mlgate.core.wire import format_duration, format_timestamp
from mlgate.gathering import Gathering
from mlgate.logs import without_secrets
from mlgate.ports import Blobs, Clock, LogFiles, Store, TableFiles
from mlgate.snapshot import RequestLogging, Snapshot
from mlgate.stored_objects import bucket_of, store_object

log = structlog.get_logger("mlgate.predictions")

MOST_ROWS, MOST_BYTES = 10_000, 64 << 20
#: Of one version in one write.
MOST_LINES = 1000


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer: of which version (its name and uid), when, what and how."""

    version: str
    uid: str
    method: str
    time: datetime
    status: int
    seconds: float
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class _Row:
    prediction: Prediction
    sink: str
    request: bytes
    answer: bytes


@dataclass
class PredictionLog:
    store: Store
    blobs: Blobs
    snapshot: Snapshot
    tables: TableFiles
    logs: LogFiles
    clock: Clock
    usage: Usage
    seconds: float
    _rows: list[_Row] = field(default_factory=list)
    _size: int = 0
    _accesses: deque[Prediction] = field(default_factory=lambda: deque(maxlen=MOST_ROWS))
    _unlogged: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._gathering = Gathering("predictions", self.seconds, self._write)

    def access(self, prediction: Prediction) -> None:
        """Take an access line."""
        with self._lock:
            self._accesses.append(prediction)
        self._gathering.wake()

    def sample(self, prediction: Prediction, logging: RequestLogging, request: bytes, answer: bytes) -> None:
        """Take a request and its answer, or not, by chance."""
        if random.random() >= logging.share:
            return
        size = len(request) + len(answer)
        with self._lock:
            if len(self._rows) >= MOST_ROWS or self._size + size > MOST_BYTES:
                self._unlogged[prediction.uid] = self._unlogged.get(prediction.uid, 0) + 1
            else:
                self._rows.append(_Row(prediction, logging.sink, request, answer))
                self._size += size
        self._gathering.wake()

    def close(self) -> None:
        """Write what waits, and end."""
        self._gathering.close()

    # ---------------------------------------------------------------------------------------------------- writing

    def _write(self) -> None:
        with self._lock:
            rows, self._rows, self._size = self._rows, [], 0
            accesses = list(self._accesses)
            self._accesses.clear()
            unlogged, self._unlogged = self._unlogged, {}
        self._write_accesses(accesses)
        groups: dict[tuple[str, str], list[_Row]] = {}
        for row in rows:
            groups.setdefault((row.sink, row.prediction.version), []).append(row)
        for (sink, version), group in groups.items():
            written, reason = self._write_rows(sink_of(sink), version, group)
            if reason:
                log.warning("requests not logged", version=version, sink=sink, rows=len(group) - written, reason=reason)
                for row in group[written:]:
                    unlogged[row.prediction.uid] = unlogged.get(row.prediction.uid, 0) + 1
        if unlogged:
            self.usage.add({uid: Counts(unlogged=count) for uid, count in unlogged.items()})

    def _write_accesses(self, accesses: Iterable[Prediction]) -> None:
        lines: dict[str, deque[bytes]] = {}
        for one in accesses:
            shown = {
                "method": one.method,
                "status": one.status,
                "latency": format_duration(one.seconds),
                "requestBytes": str(one.received),
                "responseBytes": str(one.sent),
            }
            log.info("prediction", version=one.version, **shown)
            line = write_line(ACCESS, one.time, **shown)
            lines.setdefault(one.uid, deque(maxlen=MOST_LINES)).append(line)
        for uid, some in lines.items():
            try:
                self.logs.append(uid, some)
            except OSError as error:
                log.warning("accesses not logged", uid=uid, reason=str(error))

    def _write_rows(self, sink: Sink, version: str, rows: list[_Row]) -> tuple[int, str]:
        """Write them where they belong, with the rights of the project's service agent: how many, and why not more."""
        self.snapshot.refresh()
        project = self.snapshot.projects.get(project_id_of(version))
        if project is None:
            return 0, "the version's project does not exist any more"
        agent = f"serviceAccount:{project.agent}"
        if not self.snapshot.allows(agent, PERMISSION, sink.resource):
            return 0, f"the service account {project.agent} lacks {PERMISSION} on {sink.resource}"
        lines = [_row_line(row) for row in rows]
        try:
            if sink.bucket:
                self._write_object(sink, agent, version, lines)
                return len(lines), ""
            written = self.tables.append(sink.table, lines)
            return written, "" if written == len(lines) else "the table is full (max_table_bytes)"
        except RpcError as error:
            return 0, error.message
        except OSError as error:
            return 0, f"they cannot be written: {error.strerror}"

    def _write_object(self, sink: Sink, agent: str, version: str, lines: list[bytes]) -> None:
        """An object of its own for each batch. Raises RpcError, OSError."""
        now = self.clock.now()
        place = [sink.prefix] if sink.prefix else []
        name = "/".join(
            [*place, id_of(model_of(version)), id_of(version), f"{now:%Y%m%dT%H%M%S.%f}-{secrets.token_hex(6)}.jsonl"]
        )
        writer = self.blobs.writer()
        try:
            writer.write(b"".join(line + b"\n" for line in lines))
            blob = writer.commit()
        except BaseException:
            writer.abandon()
            raise
        with self.store.write() as tx:
            self.snapshot.refresh()
            if not self.snapshot.allows(agent, PERMISSION, sink.resource):  # nobody else can write now
                raise PermissionDenied(f"{agent} lacks {PERMISSION} on {sink.resource}")
            store_object(tx, bucket_of(tx, sink.bucket), name, blob, {"contentType": "application/jsonl"}, now)


def _row_line(row: _Row) -> bytes:
    plain: Mapping[str, Any] = {
        "model": id_of(model_of(row.prediction.version)),
        "model_version": id_of(row.prediction.version),
        "time": format_timestamp(row.prediction.time),
        "raw_data": without_secrets(row.request.decode("utf-8", "replace")),
        "raw_prediction": without_secrets(row.answer.decode("utf-8", "replace")),
        "groundtruth": None,
    }
    return msgspec.json.encode(plain)

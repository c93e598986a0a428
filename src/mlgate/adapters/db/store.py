"""The database behind the port `Store`: SQLite in the data directory, or PostgreSQL.

Two things differ between them and are kept here. Writers: SQLite takes its one write lock at the start (BEGIN
IMMEDIATE), and a lock of this process lines its threads up first, so that they wait in order and do not spin; on
PostgreSQL a writer locks the revision row. So on both, writes happen one after another, and nothing decided on an old
policy is committed after a new one. Reading the revision: on SQLite a statement on a connection that each thread keeps,
a few microseconds; on PostgreSQL one round trip on such a connection.

Durability: WAL with synchronous=FULL, so that what was answered survives a pulled plug.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mlgate.adapters.db import schema
from mlgate.adapters.db.transaction import SqlTransaction
from mlgate.ports import Fact, Task, Transaction
from mlgate.settings import Settings

_TASKS = schema.tasks


def engine_for(url: str, pool_size: int = 16) -> Engine:
    """An engine with the pragmas of the embedded database, or a pool of PostgreSQL connections."""
    if not url.startswith("sqlite"):
        plain = url.replace("postgres://", "postgresql://", 1).replace("postgresql://", "postgresql+psycopg://", 1)
        return sa.create_engine(plain, pool_size=pool_size, max_overflow=16, pool_pre_ping=True)
    engine = sa.create_engine(url, pool_size=pool_size, max_overflow=64, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(
            "BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN DEFERRED"
        )

    return engine


def sqlite_url(data_dir: Path) -> str:
    return f"sqlite:///{data_dir / 'mlgate.db'}"


def _lost_connection() -> type[Exception]:
    import psycopg

    return psycopg.OperationalError


class SqlStore:
    def __init__(self, url: str, revisions_kept: int = Settings.policy_revisions_kept) -> None:
        self._engine = engine_for(url)
        self._revisions_kept = revisions_kept
        self._sqlite = self._engine.dialect.name == "sqlite"
        self._writer = threading.Lock()
        self._local = threading.local()
        self._raw: list[Any] = []
        self._broken: type[Exception] = sa.exc.DBAPIError if self._sqlite else _lost_connection()

    def close(self) -> None:
        for raw in self._raw:
            raw.close()
        self._raw.clear()
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        whole = {} if self._sqlite else {"isolation_level": "REPEATABLE READ"}  # one state, as SQLite's readers see
        with self._engine.connect().execution_options(**whole) as connection, connection.begin():
            yield SqlTransaction(connection, self._revisions_kept)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        if not self._sqlite:
            with self._engine.connect() as connection, connection.begin():
                connection.execute(sa.select(schema.revision.c.n).with_for_update())
                yield SqlTransaction(connection, self._revisions_kept)
            return
        with self._writer, self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield SqlTransaction(connection, self._revisions_kept)

    # ----------------------------------------------------------------------------------------------------- facts

    def revision(self) -> int:
        try:
            return self._read_revision()
        except self._broken:
            self._local.__dict__.clear()  # a server that was restarted: once more, on a new connection
            return self._read_revision()

    def _read_revision(self) -> int:
        try:
            cursor = self._local.cursor
        except AttributeError:
            cursor = self._local.cursor = self._held_cursor()
        return int(cursor.execute("SELECT n FROM revision WHERE id = 1").fetchone()[0])

    def _held_cursor(self) -> Any:
        """A cursor that this thread keeps, on a connection in autocommit: one statement is one round trip."""
        url = self._engine.url
        held: Any
        if self._sqlite:
            held = sqlite3.connect(url.database or "", isolation_level=None, check_same_thread=False)
            held.execute("PRAGMA busy_timeout=30000")
        else:
            import psycopg

            plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
            held = psycopg.connect(plain, autocommit=True, prepare_threshold=0)
        self._raw.append(held)
        return held.cursor()

    def changes(self, since: int) -> tuple[int, list[Fact]]:
        f = schema.facts
        # Whoever begins has nothing to forget: each operation of a study leaves a fact that is forgotten.
        known = () if since else (f.c.value.is_not(None),)
        with self._engine.connect() as connection, connection.begin():
            revision = int(connection.execute(sa.select(schema.revision.c.n)).scalar_one())
            rows = connection.execute(
                sa.select(f.c.kind, f.c.key, f.c.value)
                .where(f.c.revision > since, f.c.revision <= revision, *known)
                .order_by(f.c.revision)
            )
            return revision, [Fact(r.kind, r.key, None if r.value is None else json.loads(r.value)) for r in rows]

    # ----------------------------------------------------------------------------------------------------- tasks

    def claim(
        self, worker: str, now: datetime, lease_seconds: float, kinds: Collection[str], held: Collection[str] = ()
    ) -> Task | None:
        is_due = _is_due(worker, now, kinds, held)
        due = sa.select(_TASKS.c.name).where(*is_due)
        due = due.order_by(_TASKS.c.fence == 0, _TASKS.c.lease_until, _TASKS.c.name)
        due = due.limit(1) if self._sqlite else due.limit(1).with_for_update(skip_locked=True)
        statement = (
            sa.update(_TASKS)
            .where(_TASKS.c.name == due.scalar_subquery())
            .values(
                lease_owner=worker,
                lease_until=now.timestamp() + lease_seconds,
                attempts=_TASKS.c.attempts + 1,
                fence=_TASKS.c.fence + 1,
            )
            .returning(_TASKS)
        )
        if not self._is_any(is_due):
            return None
        with self._claiming() as connection:
            row = connection.execute(statement).first()
        return Task(row.name, row.kind, json.loads(row.body), row.attempts, row.fence) if row else None

    def _is_any(self, is_due: tuple[sa.ColumnElement[bool], ...]) -> bool:
        """Looked up before the write lock is taken: an idle worker must not hold up writers."""
        with self._engine.connect() as connection, connection.begin():
            query = sa.select(_TASKS.c.name).where(*is_due).limit(1)
            return connection.execute(query).first() is not None

    def renew(self, task: Task, worker: str, now: datetime, lease_seconds: float) -> bool:
        with self._claiming() as connection:
            done = connection.execute(
                sa.update(_TASKS)
                .where(_TASKS.c.name == task.name, _TASKS.c.fence == task.fence, _TASKS.c.lease_owner == worker)
                .values(lease_until=now.timestamp() + lease_seconds)
            )
            return done.rowcount == 1

    def release(self, task: Task, now: datetime, delay_seconds: float) -> None:
        with self._claiming() as connection:
            connection.execute(
                sa.update(_TASKS)
                .where(_TASKS.c.name == task.name, _TASKS.c.fence == task.fence)
                # whoever renews it at this moment has it no more
                .values(lease_until=now.timestamp() + delay_seconds, fence=_TASKS.c.fence + 1)
            )

    @contextmanager
    def _claiming(self) -> Iterator[Connection]:
        """A write transaction that takes no part in the ordering against policies."""
        if not self._sqlite:
            with self._engine.connect() as connection, connection.begin():
                yield connection
            return
        with self._writer, self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection


def _is_due(
    worker: str, now: datetime, kinds: Collection[str], held: Collection[str]
) -> tuple[sa.ColumnElement[bool], ...]:
    is_free = sa.or_(_TASKS.c.lease_until < now.timestamp(), _TASKS.c.lease_owner == worker)
    return is_free, _TASKS.c.kind.in_(list(kinds)), _TASKS.c.name.not_in(list(held))

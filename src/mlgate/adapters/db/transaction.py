"""One unit of work on the database: the port `Transaction`, for both dialects, in SQLAlchemy Core."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import IntegrityError

from mlgate.adapters.db import schema
from mlgate.core.errors import Aborted, AlreadyExists
from mlgate.core.iam.policy import Policy, from_plain, to_plain
from mlgate.core.usage import Counts, total
from mlgate.core.wire import format_timestamp, parse_timestamp
from mlgate.ports import AuditEntry, Author, PolicyRevision, Record, StoredObject, Task, Token

_RESOURCES, _FACTS, _REVISIONS, _OBJECTS, _TASKS, _TOKENS, _USAGE, _TOTALS = (
    schema.resources,
    schema.facts,
    schema.policy_revisions,
    schema.objects,
    schema.tasks,
    schema.tokens,
    schema.usage,
    schema.usage_totals,
)
#: Reviews read hundreds of facts, and building a statement takes longer than running it.
_ONE_FACT = sa.select(_FACTS.c.value).where(_FACTS.c.kind == sa.bindparam("kind"), _FACTS.c.key == sa.bindparam("key"))


class SqlTransaction:
    """INVARIANT: `_bump` runs at most once a transaction, before the first fact is written; every fact of the
    transaction carries the number that it made."""

    def __init__(self, connection: Connection, revisions_kept: int) -> None:
        self._db = connection
        self._revisions_kept = revisions_kept
        self._bumped = 0
        self.author: Author | None = None

    # -------------------------------------------------------------------------------------------------- revision

    def revision(self) -> int:
        return int(self._db.execute(sa.select(schema.revision.c.n)).scalar_one())

    def _bump(self) -> int:
        if not self._bumped:
            r = schema.revision
            self._bumped = self._db.execute(sa.update(r).values(n=r.c.n + 1).returning(r.c.n)).scalar_one()
        return self._bumped

    # ------------------------------------------------------------------------------------------------- resources

    def get(self, name: str) -> Record | None:
        row = self._db.execute(sa.select(_RESOURCES).where(_RESOURCES.c.name == name)).first()
        return _record(row) if row else None

    def insert(self, record: Record) -> None:
        record.etag = secrets.token_bytes(8)
        try:
            with self._db.begin_nested():
                self._db.execute(sa.insert(_RESOURCES).values(**_columns(record)))
        except IntegrityError:
            raise AlreadyExists(f'Resource "{record.name}" already exists.') from None

    def update(self, record: Record) -> None:
        before, record.etag = record.etag, secrets.token_bytes(8)
        changed = self._db.execute(
            sa.update(_RESOURCES)
            .where(_RESOURCES.c.name == record.name, _RESOURCES.c.uid == record.uid, _RESOURCES.c.etag == before)
            .values(**_columns(record))
        )
        if changed.rowcount != 1:
            raise Aborted(f'"{record.name}" was changed at the same time; read it again and retry.')

    def delete(self, name: str) -> None:
        self._db.execute(sa.delete(_RESOURCES).where(_RESOURCES.c.name == name))

    def children(self, parent: str, kind: str, *, after: str = "", limit: int | None = None) -> list[Record]:
        t = _RESOURCES
        query = sa.select(t).where(t.c.parent == parent, t.c.kind == kind, t.c.name > after).order_by(t.c.name)
        return [_record(row) for row in self._db.execute(query.limit(limit) if limit is not None else query)]

    def find(self, kind: str) -> list[Record]:
        rows = self._db.execute(sa.select(_RESOURCES).where(_RESOURCES.c.kind == kind).order_by(_RESOURCES.c.name))
        return [_record(row) for row in rows]

    def count(self, parent: str, kind: str) -> int:
        t = _RESOURCES
        query = sa.select(sa.func.count()).select_from(t).where(t.c.parent == parent, t.c.kind == kind)
        return int(self._db.execute(query).scalar_one())

    # ---------------------------------------------------------------------------------------- facts and policies

    def set_fact(self, kind: str, key: str, value: Any) -> None:
        revision = self._bump()
        values = {
            "kind": kind,
            "key": key,
            "value": None if value is None else json.dumps(value, separators=(",", ":")),
            "revision": revision,
        }
        statement = _insert(self._db, _FACTS).values(**values)
        self._db.execute(
            statement.on_conflict_do_update(
                index_elements=["kind", "key"], set_={"value": values["value"], "revision": revision}
            )
        )

    def fact(self, kind: str, key: str) -> Any:
        value = self._db.execute(_ONE_FACT, {"kind": kind, "key": key}).scalar_one_or_none()
        return None if value is None else json.loads(value)

    def facts(self, kind: str) -> dict[str, Any]:
        rows = self._db.execute(
            sa.select(_FACTS.c.key, _FACTS.c.value).where(_FACTS.c.kind == kind, _FACTS.c.value.is_not(None))
        )
        return {row.key: json.loads(row.value) for row in rows}

    def policy(self, resource: str) -> Policy | None:
        value = self.fact("policy", resource)
        return None if value is None else from_plain(value)

    def set_policy(self, resource: str, policy: Policy | None) -> Policy | None:
        if policy is None:
            if self.fact("policy", resource) is not None:
                self.set_fact("policy", resource, None)
            self._db.execute(sa.delete(_REVISIONS).where(_REVISIONS.c.resource == resource))
            return None
        stored = Policy(policy.bindings, secrets.token_bytes(8), policy.version, policy.audit_configs)
        self.set_fact("policy", resource, to_plain(stored))
        self._keep(resource, stored)
        return stored

    def _keep(self, resource: str, policy: Policy) -> None:
        """The policy as the next revision of its history, and no more of the oldest than are to be kept."""
        r = _REVISIONS.c
        last = self._db.execute(sa.select(sa.func.max(r.number)).where(r.resource == resource)).scalar() or 0
        self._db.execute(
            sa.insert(_REVISIONS).values(
                resource=resource,
                number=last + 1,
                time=format_timestamp(self.author.time) if self.author else "",
                principal=self.author.principal if self.author else "",
                policy=json.dumps(to_plain(policy), separators=(",", ":")),
            )
        )
        outlived = last + 1 - self._revisions_kept
        if outlived > 0:
            self._db.execute(sa.delete(_REVISIONS).where(r.resource == resource, r.number <= outlived))

    def policy_revisions(self, resource: str, *, before: int | None = None, limit: int) -> list[PolicyRevision]:
        r = _REVISIONS.c
        query = sa.select(_REVISIONS).where(r.resource == resource).order_by(r.number.desc()).limit(limit)
        return [_revision(row) for row in self._db.execute(query if before is None else query.where(r.number < before))]

    def policied(self, first: str, before: str, limit: int) -> list[str]:
        f = _FACTS.c
        query = sa.select(f.key).where(f.kind == "policy", f.key >= first, f.key < before, f.value.is_not(None))
        return [row.key for row in self._db.execute(query.order_by(f.key).limit(limit))]

    def policies_naming(self, member: str) -> list[tuple[str, Policy]]:
        quoted = json.dumps(member).replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
        rows = self._db.execute(
            sa.select(_FACTS.c.key, _FACTS.c.value).where(
                _FACTS.c.kind == "policy", _FACTS.c.value.like(f"%{quoted}%", escape="\\")
            )
        )
        return [(row.key, from_plain(json.loads(row.value))) for row in rows]

    # ------------------------------------------------------------------------------------------ audit and tokens

    def audit(self, entry: AuditEntry) -> None:
        self._db.execute(
            sa.insert(schema.audit_entries).values(
                time=format_timestamp(entry.time),
                request_id=entry.request_id,
                method=entry.method,
                resource=entry.resource,
                principal=entry.principal,
                permission=entry.permission,
                because=None if entry.because is None else json.dumps(entry.because),
                outcome=entry.outcome,
                detail=json.dumps(entry.detail),
            )
        )

    def add_token(self, token: Token) -> None:
        self._db.execute(
            sa.insert(_TOKENS).values(
                digest=token.digest, principal=token.principal, uid=token.uid, expires=token.expires.timestamp()
            )
        )

    def token(self, digest: bytes) -> Token | None:
        row = self._db.execute(sa.select(_TOKENS).where(_TOKENS.c.digest == digest)).first()
        return Token(row.digest, row.principal, datetime.fromtimestamp(row.expires, UTC), row.uid) if row else None

    def drop_expired_tokens(self, now: datetime) -> int:
        return self._db.execute(sa.delete(_TOKENS).where(_TOKENS.c.expires < now.timestamp())).rowcount

    # ----------------------------------------------------------------------------------------------------- tasks

    def enqueue(self, task: Task) -> None:
        self._db.execute(
            sa.insert(_TASKS).values(name=task.name, kind=task.kind, body=json.dumps(task.body), fence=task.fence)
        )

    def finish(self, task: Task) -> bool:
        gone = self._db.execute(sa.delete(_TASKS).where(_TASKS.c.name == task.name, _TASKS.c.fence == task.fence))
        return gone.rowcount == 1

    def holds(self, task: Task) -> bool:
        query = sa.select(_TASKS.c.name).where(_TASKS.c.name == task.name, _TASKS.c.fence == task.fence)
        return self._db.execute(query).first() is not None

    def find_tasks(self, kind: str = "", worker: str = "") -> list[str]:
        wanted = [(_TASKS.c.kind, kind), (_TASKS.c.lease_owner, worker)]
        query = sa.select(_TASKS.c.name).where(*(column == value for column, value in wanted if value))
        return [row.name for row in self._db.execute(query)]

    def waiting_tasks(self, kind: str) -> list[Task]:
        query = sa.select(_TASKS).where(_TASKS.c.kind == kind, _TASKS.c.fence == 0).order_by(_TASKS.c.name)
        return [Task(row.name, row.kind, json.loads(row.body)) for row in self._db.execute(query)]

    # ----------------------------------------------------------------------------------------------------- usage

    def add_usage(self, minute: int, counts: Mapping[str, Counts]) -> None:
        for uid, more in counts.items():
            for table, key in ((_USAGE, {"uid": uid, "minute": minute}), (_TOTALS, {"uid": uid})):
                where = [table.c[name] == value for name, value in key.items()]
                stored = self._db.execute(sa.select(table.c.counts).where(*where)).scalar_one_or_none()
                added = total([more] if stored is None else [Counts.from_plain(json.loads(stored)), more])
                text = json.dumps(added.to_plain(), separators=(",", ":"))
                if stored is None:
                    self._db.execute(sa.insert(table).values(**key, counts=text))
                else:
                    self._db.execute(sa.update(table).where(*where).values(counts=text))

    def usage(self, uids: Collection[str], start: int, end: int) -> list[tuple[int, Counts]]:
        u = _USAGE.c
        query = sa.select(u.minute, u.counts).where(u.minute >= start, u.minute < end).order_by(u.minute)
        rows = [row for some in _batched(uids, 1000) for row in self._db.execute(query.where(u.uid.in_(some)))]
        return [(int(row.minute), Counts.from_plain(json.loads(row.counts))) for row in rows]

    def usage_totals(self, names: Collection[str] | None = None) -> dict[str, Counts]:
        r, t = _RESOURCES.c, _TOTALS.c
        query = sa.select(r.name, t.counts).where(r.uid == t.uid, r.kind == "version")
        asked = [query] if names is None else [query.where(r.name.in_(some)) for some in _batched(names, 1000)]
        rows = [row for one in asked for row in self._db.execute(one)]
        return {row.name: Counts.from_plain(json.loads(row.counts)) for row in rows}

    def prune_usage(self, before: int) -> None:
        self._db.execute(sa.delete(_USAGE).where(_USAGE.c.minute < before))
        kept = sa.select(_RESOURCES.c.uid).where(_RESOURCES.c.kind == "version")
        for table in (_USAGE, _TOTALS):
            self._db.execute(sa.delete(table).where(table.c.uid.not_in(kept)))

    # --------------------------------------------------------------------------------------------------- objects

    def get_object(self, bucket: str, name: str) -> StoredObject | None:
        row = self._db.execute(sa.select(_OBJECTS).where(_OBJECTS.c.bucket == bucket, _OBJECTS.c.name == name)).first()
        return _stored(row) if row else None

    def put_object(self, stored: StoredObject) -> None:
        values = {
            "generation": stored.generation,
            "digest": stored.digest,
            "size": stored.size,
            "body": json.dumps(stored.body),
        }
        statement = _insert(self._db, _OBJECTS).values(bucket=stored.bucket, name=stored.name, **values)
        self._db.execute(statement.on_conflict_do_update(index_elements=["bucket", "name"], set_=values))

    def delete_object(self, bucket: str, name: str) -> bool:
        gone = self._db.execute(sa.delete(_OBJECTS).where(_OBJECTS.c.bucket == bucket, _OBJECTS.c.name == name))
        return gone.rowcount == 1

    def list_objects(
        self, bucket: str, *, prefix: str = "", after: str = "", until: str | None = None, limit: int | None = None
    ) -> list[StoredObject]:
        t = _OBJECTS
        query = sa.select(t).where(t.c.bucket == bucket, t.c.name > after).order_by(t.c.name)
        if prefix:
            query = query.where(t.c.name >= prefix)
            if end := _behind(prefix):
                query = query.where(t.c.name < end)
        if until is not None:
            query = query.where(t.c.name < until)
        return [_stored(row) for row in self._db.execute(query.limit(limit) if limit is not None else query)]

    def blob_digests(self) -> set[str]:
        digests = {row.digest for row in self._db.execute(sa.select(_OBJECTS.c.digest))}
        hidden = self._db.execute(sa.select(_RESOURCES.c.hidden).where(_RESOURCES.c.kind.in_(("version", "job"))))
        for row in hidden:
            digests.update(entry["digest"] for entry in json.loads(row.hidden).get("files", []))
        return digests


def _batched(values: Collection[str], size: int) -> Iterator[tuple[str, ...]]:
    """The values in portions, as many as a statement may name."""
    ordered = iter(values)
    while some := tuple(islice(ordered, size)):
        yield some


def _behind(prefix: str) -> str:
    """The smallest text greater than every text that starts with `prefix`; "" when there is none."""
    stripped = prefix.rstrip("\U0010ffff")
    if not stripped:
        return ""
    last = ord(stripped[-1]) + 1
    return stripped[:-1] + chr(0xE000 if last == 0xD800 else last)


def _insert(db: Connection, table: sa.Table) -> Any:
    if db.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert

        return insert(table)
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(table)


def _columns(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "kind": record.kind,
        "parent": record.parent,
        "uid": record.uid,
        "body": json.dumps(record.body, separators=(",", ":")),
        "hidden": json.dumps(record.hidden, separators=(",", ":")),
        "etag": record.etag,
        "created": format_timestamp(record.created),
    }


def _record(row: Row[Any]) -> Record:
    return Record(
        name=row.name,
        kind=row.kind,
        parent=row.parent,
        uid=row.uid,
        body=json.loads(row.body),
        created=parse_timestamp(row.created),
        etag=row.etag,
        hidden=json.loads(row.hidden),
    )


def _revision(row: Row[Any]) -> PolicyRevision:
    author = Author(row.principal, parse_timestamp(row.time)) if row.time else None
    return PolicyRevision(row.number, from_plain(json.loads(row.policy)), author)


def _stored(row: Row[Any]) -> StoredObject:
    return StoredObject(row.bucket, row.name, row.generation, row.digest, row.size, json.loads(row.body))

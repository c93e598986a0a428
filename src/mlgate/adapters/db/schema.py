"""The tables. One definition serves SQLite and PostgreSQL; `migrations/` brings older databases to it.

`resources` holds every named thing as its own JSON message; `facts` holds what every process keeps in memory (policies,
roles, accounts, ...), each row with the revision that wrote it, so that a process that knows revision n asks for the
rows above n. A fact that is gone stays as a row without a value, or others would never hear of it. `revision` is one
row with one number. `policy_revisions` holds what each policy was, the present one included, numbered from 1 for each
resource; time and principal are "" where nobody knows them.

`usage` holds what was counted of each version's predictions, by minutes since 1970, and `usage_totals` the same since
the version was there; writers add to a row in a writing transaction, so that no process loses what another counted.

Names are compared by code point on both databases: SQLite does so by default, PostgreSQL through the "C" collation.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

metadata = MetaData()

Name = String().with_variant(String(collation="C"), "postgresql")

revision = Table("revision", metadata, Column("id", Integer, primary_key=True), Column("n", BigInteger, nullable=False))

resources = Table(
    "resources",
    metadata,
    Column("name", Name, primary_key=True),
    Column("kind", String, nullable=False),
    Column("parent", Name, nullable=False),
    Column("uid", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("hidden", Text, nullable=False),
    Column("etag", LargeBinary, nullable=False),
    Column("created", String, nullable=False),
    Index("resources_in_parent", "parent", "kind", "name"),
)

facts = Table(
    "facts",
    metadata,
    Column("kind", String, nullable=False),
    Column("key", Name, nullable=False),
    Column("value", Text),
    Column("revision", BigInteger, nullable=False),
    PrimaryKeyConstraint("kind", "key"),
    Index("facts_by_revision", "revision"),
)

policy_revisions = Table(
    "policy_revisions",
    metadata,
    Column("resource", Name, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("time", String, nullable=False),
    Column("principal", String, nullable=False),
    Column("policy", Text, nullable=False),
    PrimaryKeyConstraint("resource", "number"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("principal", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("expires", Float, nullable=False),
    Index("tokens_by_expiry", "expires"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("name", Name, primary_key=True),
    Column("kind", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("fence", BigInteger, nullable=False, default=0),
    Column("lease_owner", String, nullable=False, default=""),
    Column("lease_until", Float, nullable=False, default=0),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("time", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("method", String, nullable=False),
    Column("resource", Name, nullable=False),
    Column("principal", String, nullable=False),
    Column("permission", String, nullable=False),
    Column("because", Text),
    Column("outcome", String, nullable=False),
    Column("detail", Text, nullable=False),
    Index("audit_by_resource", "resource", "id"),
)

objects = Table(
    "objects",
    metadata,
    Column("bucket", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("digest", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("bucket", "name"),
)

usage = Table(
    "usage",
    metadata,
    Column("uid", String, nullable=False),
    Column("minute", BigInteger, nullable=False),
    Column("counts", Text, nullable=False),
    PrimaryKeyConstraint("uid", "minute"),
    Index("usage_by_minute", "minute"),
)

usage_totals = Table(
    "usage_totals", metadata, Column("uid", String, primary_key=True), Column("counts", Text, nullable=False)
)

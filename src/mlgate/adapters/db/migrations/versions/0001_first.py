"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "revision", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.BigInteger, nullable=False)
    )
    op.execute("INSERT INTO revision (id, n) VALUES (1, 1)")
    op.create_table(
        "resources",
        sa.Column("name", name, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("parent", name, nullable=False),
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("hidden", sa.Text, nullable=False),
        sa.Column("etag", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.String, nullable=False),
    )
    op.create_index("resources_in_parent", "resources", ["parent", "kind", "name"])
    op.create_table(
        "facts",
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("key", name, nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "key"),
    )
    op.create_index("facts_by_revision", "facts", ["revision"])
    op.create_table(
        "tokens",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("principal", sa.String, nullable=False),
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
    )
    op.create_index("tokens_by_expiry", "tokens", ["expires"])
    op.create_table(
        "tasks",
        sa.Column("name", name, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("lease_owner", sa.String, nullable=False, server_default=""),
        sa.Column("lease_until", sa.Float, nullable=False, server_default="0"),
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("resource", name, nullable=False),
        sa.Column("principal", sa.String, nullable=False),
        sa.Column("permission", sa.String, nullable=False),
        sa.Column("because", sa.Text),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("audit_by_resource", "audit_entries", ["resource", "id"])
    op.create_table(
        "objects",
        sa.Column("bucket", name, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("bucket", "name"),
    )


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing below it")

"""Policies keep their revisions. Those that are there become revision 1, by nobody known and at no time known."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    op.create_table(
        "policy_revisions",
        sa.Column("resource", name, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("principal", sa.String, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("resource", "number"),
    )
    op.execute(
        "INSERT INTO policy_revisions (resource, number, time, principal, policy) "
        "SELECT key, 1, '', '', value FROM facts WHERE kind = 'policy' AND value IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_table("policy_revisions")

"""Predictions are counted: by version and minute, and altogether."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("minute", sa.BigInteger, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("uid", "minute"),
    )
    op.create_index("usage_by_minute", "usage", ["minute"])
    op.create_table(
        "usage_totals",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("counts", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("usage_totals")
    op.drop_table("usage")

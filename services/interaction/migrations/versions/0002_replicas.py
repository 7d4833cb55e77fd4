"""Replicas of this service, and which of them has a container."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table, and the column."""
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(32), primary_key=True),
        # Where the others reach it.
        sa.Column("address", sa.String, nullable=False),
    )
    # Empty when it is nobody's.
    op.add_column(
        "containers", sa.Column("holder", sa.String(32), nullable=False, server_default="")
    )

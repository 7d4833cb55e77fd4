"""Restart policies, and signals that wait for a paused container."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, and a table for what is known of the suite as a whole."""
    # Somebody stopped or killed it: its restart policy leaves it alone until it is started again.
    op.add_column(
        "containers",
        sa.Column("stopped_by_hand", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    # When a restart policy starts it again, and the pause before that; zero where it doesn't.
    op.add_column(
        "containers", sa.Column("restart_at_ns", sa.BigInteger, nullable=False, server_default="0")
    )
    op.add_column(
        "containers",
        sa.Column("restart_delay_ns", sa.BigInteger, nullable=False, server_default="0"),
    )
    # Numbers with spaces between, in their order.
    op.add_column(
        "containers", sa.Column("held_signals", sa.Text, nullable=False, server_default="")
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )

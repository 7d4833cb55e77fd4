"""Whose the tethers are that had waited under names of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "tethers",
        # As the tether's certificate names it: given away once, to one boot.
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("container_id", sa.String, nullable=False, index=True),
        sa.Column("boot_id", sa.String, nullable=False),
    )

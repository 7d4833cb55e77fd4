"""What is known of a container's health."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; none before the first probe."""
    op.add_column("containers", sa.Column("health", sa.LargeBinary))
    op.add_column(
        "containers", sa.Column("health_boot_id", sa.String, nullable=False, server_default="")
    )

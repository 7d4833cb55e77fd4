"""What the VM of a container was given, which its limits may leave later."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; zero where it isn't known."""
    op.add_column(
        "containers",
        sa.Column("vm_memory_bytes", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.add_column(
        "containers", sa.Column("vm_cpus", sa.Integer, nullable=False, server_default="0")
    )

"""External networks: those of the host's surroundings that an administrator mapped."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no network was one."""
    # Parent interface, firewall level and so on, as one value: it is read and written as a whole.
    op.add_column("networks", sa.Column("external", sa.JSON, nullable=True))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("networks", "external")

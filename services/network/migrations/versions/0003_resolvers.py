"""Name servers of containers' own."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; none had any."""
    op.add_column(
        "reservations", sa.Column("resolvers", sa.JSON, nullable=False, server_default="[]")
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_column("reservations", "resolvers")

"""Events with a detail after their kind."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the column."""
    op.add_column(
        "events", sa.Column("detail", sa.Text, nullable=False, server_default=sa.text("''"))
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_column("events", "detail")

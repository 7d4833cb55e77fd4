"""Published ports of containers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "published_ports",
        sa.Column(
            "container_id",
            sa.Text,
            sa.ForeignKey("reservations.container_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        # Place among the container's ports, in the order in which they were asked for.
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("transport", sa.Text, nullable=False),
        # 0.0.0.0 means all of the host's.
        sa.Column("host_address", sa.Text, nullable=False),
        sa.Column("host_port", sa.Integer, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.UniqueConstraint("transport", "host_address", "host_port"),
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("published_ports")

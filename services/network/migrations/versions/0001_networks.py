"""Networks, their pools, and who has which address."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "networks",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("kind", sa.Text, nullable=False),
        # Number of the platform's segment; none where the network has no segment.
        sa.Column("ordinal", sa.Integer, nullable=True, unique=True),
        sa.Column("internal", sa.Boolean, nullable=False),
        sa.Column("attachable", sa.Boolean, nullable=False),
        sa.Column("predefined", sa.Boolean, nullable=False),
        # Whether the user named the subnet: only then may addresses be asked for.
        sa.Column("own_subnet", sa.Boolean, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "pools",
        sa.Column(
            "network_id",
            sa.String(64),
            sa.ForeignKey("networks.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("family", sa.Integer, primary_key=True),
        sa.Column("subnet", sa.Text, nullable=False),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("ip_range", sa.Text, nullable=True),
        sa.Column("auxiliary", sa.JSON, nullable=False),
        # Last address that was given.
        sa.Column("cursor", sa.Text, nullable=True),
    )
    op.create_table(
        "reservations",
        sa.Column("container_id", sa.Text, primary_key=True),
        sa.Column("container_name", sa.Text, nullable=False),
        sa.Column("hostname", sa.Text, nullable=False),
        # What was asked for, to know a repeated request from another one.
        sa.Column("wishes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "endpoints",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column(
            "container_id",
            sa.Text,
            sa.ForeignKey("reservations.container_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("network_id", sa.String(64), sa.ForeignKey("networks.id"), nullable=False),
        # Place among the container's endpoints; the management one has 0.
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("port_name", sa.Text, nullable=True, unique=True),
        sa.Column("mac", sa.Text, nullable=True),
        sa.Column("ipv4", sa.Text, nullable=True),
        sa.Column("aliases", sa.JSON, nullable=False),
        sa.UniqueConstraint("container_id", "position"),
        sa.UniqueConstraint("network_id", "ipv4"),
        sa.UniqueConstraint("network_id", "mac"),
    )


def downgrade() -> None:
    """Remove them."""
    for table in ("endpoints", "reservations", "pools", "networks"):
        op.drop_table(table)

"""IPv6: pools of networks, addresses of endpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; there was no IPv6."""
    op.add_column("endpoints", sa.Column("ipv6", sa.Text, nullable=True))
    op.create_index("endpoints_ipv6", "endpoints", ["network_id", "ipv6"], unique=True)
    # Whether the user named the subnet, of pools of IPv6; of IPv4 the network itself says it.
    op.add_column(
        "pools", sa.Column("named", sa.Boolean, nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_column("pools", "named")
    op.drop_index("endpoints_ipv6", "endpoints")
    op.drop_column("endpoints", "ipv6")

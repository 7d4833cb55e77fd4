"""What replicas must know of one another: numbers of turns, and requests that were carried out."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the turn that wrote a container last, where numbers are drawn, and the requests."""
    op.add_column(
        "containers", sa.Column("turn", sa.BigInteger, nullable=False, server_default="0")
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.schema.CreateSequence(sa.Sequence("turns")))
    op.create_table(
        "requests",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("container_id", sa.String, nullable=False),
        sa.Column("time_ns", sa.BigInteger, nullable=False),
    )

"""Containers and events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "containers",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        # False while Create is at work: such a row only holds the name.
        sa.Column("ready", sa.Boolean, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False, index=True),
        sa.Column("boot_id", sa.String(32), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("exit_code", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("oom_killed", sa.Boolean, nullable=False),
        sa.Column("started_ns", sa.BigInteger, nullable=False),
        sa.Column("finished_ns", sa.BigInteger, nullable=False),
        sa.Column("restart_count", sa.Integer, nullable=False),
        sa.Column("start_kind", sa.SmallInteger, nullable=False),
        sa.Column("kernel_release", sa.String, nullable=False),
        sa.Column("endpoints", sa.LargeBinary, nullable=False),
        sa.Column("disk_chain_length", sa.Integer, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("time_ns", sa.BigInteger, nullable=False, index=True),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("container_id", sa.String(64), nullable=False),
        sa.Column("attributes", sa.JSON, nullable=False),
        # Numbers are never used twice, also when the newest events were removed.
        sqlite_autoincrement=True,
    )
    op.create_table(
        "watch_positions",
        # What is read from another service's stream, and how far it was taken in.
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )

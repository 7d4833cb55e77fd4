"""Containers, their processes, and events that nobody has acknowledged."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "containers",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("discard_logs", sa.Boolean, nullable=False),
        sa.Column("log_max_size", sa.BigInteger, nullable=False),
        sa.Column("log_max_files", sa.BigInteger, nullable=False),
        sa.Column("tty", sa.Boolean, nullable=False),
        sa.Column("open_stdin", sa.Boolean, nullable=False),
        sa.Column("stdin_once", sa.Boolean, nullable=False),
        # Run of the VM that exec named last; empty when its VM is gone.
        sa.Column("boot_id", sa.String, nullable=False),
    )
    op.create_table(
        "processes",
        sa.Column("container_id", sa.String(64), primary_key=True),
        # "init" or the ID of an additional process.
        sa.Column("process_id", sa.String(64), primary_key=True),
        # Empty for an additional process that was not started.
        sa.Column("boot_id", sa.String, nullable=False),
        # vic.interaction.v1.CreateExecRequest of an additional process that a client made.
        sa.Column("spec", sa.LargeBinary),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_ns", sa.BigInteger, nullable=False),
        # Null while it has not ended.
        sa.Column("exit_code", sa.Integer),
        sa.Column("oom_killed", sa.Boolean, nullable=False),
        sa.Column("finished_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        # vic.interaction.v1.ProcessEvent without its number.
        sa.Column("event", sa.LargeBinary, nullable=False),
        # Numbers are never used twice.
        sqlite_autoincrement=True,
    )

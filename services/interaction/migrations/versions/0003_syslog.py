"""Where a container's log is sent as well as stored."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    # Fields of a SyslogTarget; null for nowhere.
    op.add_column("containers", sa.Column("syslog", sa.JSON))

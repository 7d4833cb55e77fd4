"""Engines of PostgreSQL's, which all connect in one way."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# The server gives back the locks of a client whose machine is gone after a minute, and not after
# Linux's two hours. In seconds, and a count; over a Unix socket they are taken and mean nothing.
# Source: PostgreSQL 15, 20.3.2 TCP Settings.
_KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


def new_engine(url: str | sa.URL, **options: Any) -> AsyncEngine:
    """Return an engine, with SQLAlchemy's own options."""
    return create_async_engine(url, connect_args={"server_settings": _KEEPALIVES}, **options)

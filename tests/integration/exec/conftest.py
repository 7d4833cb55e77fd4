"""A PostgreSQL, and what is kept in it."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from portlayer.store import Store, open_store
from services.exec.store import MIGRATIONS


@pytest.fixture
async def stores(database: str) -> AsyncIterator[list[Store]]:
    opened = [await open_store(database, MIGRATIONS) for _ in range(3)]
    async with opened[0].transaction() as connection:
        for table in ("containers", "events", "facts", "requests", "watch_positions"):
            await connection.execute(sa.text(f"TRUNCATE {table}"))
    yield opened
    for store in opened:
        await store.close()

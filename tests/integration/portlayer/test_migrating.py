"""Replicas that find a database out of date at the same moment."""

import asyncio
import time

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from portlayer.store import open_store
from services.exec.store import MIGRATIONS
from tests.databases import postgresql

REPLICAS = 3
BOUND_SECONDS = 120.0
WAITING = sa.text("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
TABLE = sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))")
VERSIONS = sa.text("SELECT version_num FROM alembic_version")


async def until_waiting(looker: AsyncConnection, count: int) -> None:
    """Return when so many sessions wait for another one; nothing tells of that."""
    deadline = time.monotonic() + BOUND_SECONDS
    while (await looker.execute(WAITING)).scalar_one() < count:
        assert time.monotonic() < deadline, "they never came so far"
        await asyncio.sleep(0.1)


async def test_replicas_that_start_at_once_bring_a_database_up_to_date_once() -> None:
    with postgresql() as url:
        engine = create_async_engine(url)
        async with engine.connect() as looker, engine.connect() as holding:
            # Keeps all of them at their first step until each has come there.
            await holding.execute(TABLE)
            opening = [asyncio.create_task(open_store(url, MIGRATIONS)) for _ in range(REPLICAS)]
            await until_waiting(looker, REPLICAS)
            await holding.rollback()
            stores = await asyncio.gather(*opening)
            assert len((await looker.execute(VERSIONS)).all()) == 1
        for store in stores:
            await store.close()
        await engine.dispose()

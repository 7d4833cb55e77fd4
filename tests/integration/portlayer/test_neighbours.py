"""What processes on one PostgreSQL agree on, when that is restarted beneath them."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from portlayer.errors import Unavailable
from portlayer.neighbours import Neighbours
from portlayer.store import open_store
from services.exec.store import MIGRATIONS
from tests.databases import postgresql

END_ALL = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'"
)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql() as url:
        yield url


async def end_all_connections(database: str) -> None:
    """Do to the others what a restart of the database does."""
    engine = create_async_engine(database)
    async with engine.begin() as connection:
        await connection.execute(END_ALL)
    await engine.dispose()


async def test_turns_go_on_after_the_database_was_restarted(database: str) -> None:
    store = await open_store(database, MIGRATIONS)
    try:
        async with store.neighbours.turn("a") as first:
            pass
        await end_all_connections(database)
        async with store.neighbours.turn("a") as second:
            pass
        async with store.neighbours.turn("b") as held:
            # Who has a turn meanwhile loses no other one's.
            await end_all_connections(database)
            async with store.neighbours.turn("a") as third:
                pass
    finally:
        await store.close()
    numbers = [first, second, held, third]
    assert numbers == sorted(numbers, key=lambda number: number or 0)


async def test_a_database_that_is_away_is_told_as_such() -> None:
    engine = create_async_engine("postgresql+asyncpg://vic@/postgres?host=/nonexistent")
    with pytest.raises(Unavailable, match="the database"):
        async with Neighbours(engine).turn("a"):
            pass
    await engine.dispose()

"""What processes on one PostgreSQL agree on, when that is restarted beneath them."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from portlayer import neighbours as module
from portlayer.errors import Unavailable
from portlayer.neighbours import Neighbours, log
from portlayer.store import open_store
from services.exec.store import MIGRATIONS

BOUND_SECONDS = 60.0
END_ALL = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'"
)


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


async def until(database: str, counted: str, query: str) -> None:
    """Return once something can be counted of statements in hand that are like this."""
    engine = create_async_engine(database, isolation_level="AUTOCOMMIT")
    asked = sa.text(
        f"SELECT count({counted}) FROM pg_stat_activity "
        "WHERE query LIKE :query AND state = 'active' AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(BOUND_SECONDS), engine.connect() as connection:
        while not (await connection.execute(asked, {"query": query})).scalar():  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # nothing tells
    await engine.dispose()


async def end_who(database: str, query: str) -> None:
    """End those connections whose latest statement is like this, once there is one."""
    await until(database, "pg_terminate_backend(pid)", query)


async def is_asked(database: str, query: str) -> None:
    """Return when a statement like this is in hand."""
    await until(database, "*", query)


async def test_who_waits_for_a_turn_when_the_database_ends_is_told_so(database: str) -> None:
    one, other = [await open_store(database, MIGRATIONS) for _ in range(2)]

    async def wait() -> None:
        async with other.neighbours.turn("a"):
            pass

    try:
        async with one.neighbours.turn("a"):
            waiting = asyncio.create_task(wait())
            await end_who(database, "SELECT pg_advisory_lock(%")
            with pytest.raises(Unavailable, match="the database"):
                await waiting
    finally:
        await one.close()
        await other.close()


async def test_a_turn_that_was_waited_for_and_lost_ends_as_what_was_done_in_it(
    database: str,
) -> None:
    one, other = [await open_store(database, MIGRATIONS) for _ in range(2)]
    had = asyncio.Event()

    async def wait() -> str:
        async with other.neighbours.turn("a"):
            had.set()
            await end_all_connections(database)
            return "done"

    try:
        async with one.neighbours.turn("a"):
            waiting = asyncio.create_task(wait())
            async with asyncio.timeout(60):
                while not await is_waited_for(database):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert await waiting == "done"
    finally:
        await one.close()
        await other.close()


async def is_waited_for(database: str) -> bool:
    engine = create_async_engine(database)
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with engine.begin() as connection:
        waiting = (await connection.execute(sa.text(query))).scalar_one()
    await engine.dispose()
    return bool(waiting)


async def test_a_statement_in_hand_when_the_database_ends_is_told_as_such(database: str) -> None:
    store = await open_store(database, MIGRATIONS)

    async def read() -> None:
        async with store.reading() as connection:
            await connection.execute(sa.text("SELECT pg_sleep(60)"))

    try:
        reading = asyncio.create_task(read())
        await end_who(database, "SELECT pg_sleep(%")
        with pytest.raises(Unavailable, match="the database"):
            await reading
    finally:
        await store.close()


async def test_listeners_go_on_where_the_database_takes_no_more_connections(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role's limit of connections stands for the server's: it is the same refusal."""
    admin = create_async_engine(database, isolation_level="AUTOCOMMIT")
    limited = database.replace("vic@", "few@")
    async with admin.connect() as connection:
        await connection.execute(sa.text("CREATE ROLE few LOGIN CONNECTION LIMIT 0"))
        engine = create_async_engine(limited)
        neighbours = Neighbours(engine)
        heard, left, warned = asyncio.Event(), asyncio.Event(), asyncio.Event()
        said = set()

        def warning(text: str, *_: object) -> None:
            said.add(text)
            if len(said) == 2:
                warned.set()

        monkeypatch.setattr(log, "warning", warning)
        with pytest.raises(Unavailable, match="too many connections"):
            async with neighbours.turn("a"):
                pass
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            following = [
                group.create_task(neighbours.listen("news", lambda _: heard.set())),
                group.create_task(neighbours.company("kind", left.set)),
            ]
            await warned.wait()
            await connection.execute(sa.text("ALTER ROLE few CONNECTION LIMIT -1"))
            await heard.wait()
            await left.wait()
            for task in following:
                task.cancel()
        await neighbours.close()
        await engine.dispose()
        await connection.execute(sa.text("DROP ROLE few"))
    await admin.dispose()


async def test_what_stands_leaves_the_pool_to_statements(database: str) -> None:
    """With a pool of one connection each."""
    engines = [
        create_async_engine(database, pool_size=1, max_overflow=0, pool_timeout=5) for _ in range(2)
    ]
    one, other = map(Neighbours, engines)
    heard, counts = asyncio.Event(), {"one": 0, "other": 0}
    both = asyncio.Event()

    def left(name: str) -> None:
        # Once at its beginning; who is there already then is watched from then on.
        counts[name] += 1
        if all(counts.values()):
            both.set()

    async def wait() -> None:
        async with other.turn("b"):
            pass

    async with asyncio.timeout(60):
        following = [
            asyncio.create_task(other.listen("news", lambda _: heard.set())),
            asyncio.create_task(other.listen("more news", lambda _: None)),
            asyncio.create_task(other.company("kind", lambda: left("other"))),
            asyncio.create_task(one.company("kind", lambda: left("one"))),
        ]
        await heard.wait()
        await both.wait()
        async with other.presence("me"), one.turn("b"), other.turn("a"):
            waiting = asyncio.create_task(wait())
            while not await is_waited_for(database):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert await other.is_present("me")
            assert not await other.is_present("nobody")
            async with engines[1].begin() as connection:
                assert (await connection.execute(sa.text("SELECT 1"))).scalar() == 1
        await waiting
        assert not await one.is_present("me")
    for task in following:
        task.cancel()
    await asyncio.wait(following)
    for engine, neighbours in zip(engines, (one, other), strict=True):
        await neighbours.close()
        await engine.dispose()


async def test_a_database_that_is_away_is_told_as_such() -> None:
    engine = create_async_engine("postgresql+asyncpg://vic@/postgres?host=/nonexistent")
    with pytest.raises(Unavailable, match="the database"):
        async with Neighbours(engine).turn("a"):
            pass
    await engine.dispose()


async def test_who_gives_a_turn_up_takes_nobody_elses_away(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given up while PostgreSQL is asked for it."""
    slowly = str(module._TRY).replace("(:key)", "(:key) AND pg_sleep(0.5) IS NOT NULL")
    one, other = [await open_store(database, MIGRATIONS) for _ in range(2)]

    async def give_up() -> None:
        async with one.neighbours.turn("b"):
            raise AssertionError("it was given up")

    try:
        async with one.neighbours.turn("a"):
            with monkeypatch.context() as patches:
                patches.setattr(module, "_TRY", sa.text(slowly))
                giving_up = asyncio.create_task(give_up())
                await is_asked(database, "%pg_sleep(0.5)%")
                giving_up.cancel()
                await asyncio.wait([giving_up])
            assert giving_up.cancelled()
            assert await other.neighbours.is_present("a")
        async with asyncio.timeout(60), other.neighbours.turn("b"), other.neighbours.turn("a"):
            pass
    finally:
        await one.close()
        await other.close()


@contextmanager
def standing_still(pids: list[int]) -> Iterator[None]:
    """Stop processes of the database, as if their machine were gone: nothing is said any more."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_who_listens_notices_a_database_that_went_without_a_word(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1.0)
    engine = create_async_engine(database)
    neighbours = Neighbours(engine)
    heard: asyncio.Queue[str] = asyncio.Queue()
    joined: asyncio.Queue[None] = asyncio.Queue()
    pids = sa.text(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND pid <> pg_backend_pid() AND datname = current_database()"
    )
    async with asyncio.timeout(60):
        following = [
            asyncio.create_task(neighbours.listen("news", heard.put_nowait)),
            asyncio.create_task(neighbours.company("kind", lambda: joined.put_nowait(None))),
        ]
        async with neighbours.presence("me") as lost:
            await heard.get()
            await joined.get()
            async with engine.connect() as connection:
                found = list((await connection.execute(pids)).scalars())
            assert len(found) == 3
            with standing_still(found):
                await lost.wait()
                assert await heard.get() == ""
                await joined.get()
        for task in following:
            task.cancel()
        await asyncio.wait(following)
    await engine.dispose()


async def test_a_database_that_went_without_a_word_keeps_nobody_from_ending(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1.0)
    store = await open_store(database, MIGRATIONS)
    async with store.neighbours.turn("a"), store.reading() as connection:
        backends = sa.text("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
        found = list((await connection.execute(backends)).scalars())
    assert len(found) == 2
    with standing_still(found):
        async with asyncio.timeout(BOUND_SECONDS):
            # A turn is another connection's then, and none of the old one is waited for.
            async with store.neighbours.turn("b") as number:
                assert number is not None
            await store.close()


async def test_the_server_notices_soon_that_a_clients_machine_is_gone(database: str) -> None:
    store = await open_store(database, MIGRATIONS)
    # What holds now is told as 0 over a Unix socket.
    asked = sa.text(
        "SELECT name, reset_val FROM pg_settings "
        "WHERE name LIKE 'tcp_keepalives%' AND source = 'client'"
    )
    wanted = {
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
    try:
        async with store.reading() as statements:
            assert {row.name: row.reset_val for row in await statements.execute(asked)} == wanted
        async with store.neighbours._connection() as standing:
            assert {row.name: row.reset_val for row in await standing.execute(asked)} == wanted
    finally:
        await store.close()

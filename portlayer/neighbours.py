"""Several processes on one database: one at a time at what has a name, and news for all.

On PostgreSQL alone; a SQLite file has one process, which needs neither. Both end with the process:
PostgreSQL gives back its locks when its connections are gone, so that nothing waits for the dead.

Source: PostgreSQL 15, 13.3.5 Advisory Locks; NOTIFY.
"""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from portlayer.errors import VicError
from portlayer.postgres import new_engine
from portlayer.reaching import reaching
from portlayer.sqlite import Statements

log = logging.getLogger("vic.neighbours")

# Between attempts to reach a database that is away; nothing tells when it is back.
RETRY_SECONDS = 1.0
# A database whose machine is gone says nothing to who only listens: it is asked so often, and has
# so long to answer. In seconds.
LOOK_SECONDS = 30.0
ANSWER_SECONDS = 60.0
# For what is asked of it still when we end; who stops us waits 15 s in all.
CLOSE_SECONDS = 2.0
# Sequence of the numbers of turns; made by the migrations of who takes turns.
TURNS = "turns"

# Each turn has a number above that of any before it: it is drawn when the lock is had.
_TRY = sa.text(f"SELECT CASE WHEN pg_try_advisory_lock(:key) THEN nextval('{TURNS}') END")
_WAIT = sa.text("SELECT pg_advisory_lock(:key)")
_DRAW = sa.text(f"SELECT nextval('{TURNS}')")
# Above all that was drawn before a database was lost or restored: few turns take a microsecond.
_RAISE = sa.text(
    f"SELECT setval('{TURNS}', GREATEST(nextval('{TURNS}'), "  # noqa: S608
    "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint))"
)
_UNLOCK = sa.text("SELECT pg_advisory_unlock(:key)")
# Askers don't get in one another's way, as they would by the exclusive kind.
_TRY_SHARED = sa.text("SELECT pg_try_advisory_lock_shared(:key)")
_UNLOCK_SHARED = sa.text("SELECT pg_advisory_unlock_shared(:key)")
# Of a pair of numbers the first is the kind, the second one of the kind: these can be listed.
_LIVE = sa.text("SELECT pg_advisory_lock(:kind, :which)")
_OUTLIVE = sa.text("SELECT pg_advisory_lock_shared(:kind, :which)")
# Who waits for a lock doesn't notice that its client is gone, and would stay. Since PostgreSQL 14.
_NOTICE = sa.text(
    "SELECT set_config(name, '5000', false) FROM pg_settings "
    "WHERE name = 'client_connection_check_interval'"
)
_OTHERS = sa.text(
    "SELECT objid::bigint FROM pg_locks JOIN pg_database ON pg_database.oid = database "
    "WHERE locktype = 'advisory' AND objsubid = 2 AND classid = :kind AND mode = 'ExclusiveLock' "
    "AND granted AND datname = current_database() AND pid <> pg_backend_pid()"
)
_NOTIFY = sa.text("SELECT pg_notify(:channel, :text)")
_LOOK = sa.text("SELECT 1")


T = TypeVar("T")

Connection = AsyncConnection | Statements
"""A connection within a transaction, of PostgreSQL's or of a SQLite file's."""


class Neighbours:
    """What a process must agree on with others on the same database."""

    def __init__(self, engine: AsyncEngine | None) -> None:
        """Without an engine of PostgreSQL's there are no others.

        What holds or awaits a lock, or listens, has a connection of its own: of the engine's pool
        it would leave nothing to statements.
        """
        self._alone = engine is None
        self._statements = engine
        self._standing = engine and new_engine(engine.url, poolclass=sa.pool.NullPool)
        self._holder: AsyncConnection | None = None
        self._using = asyncio.Lock()
        # What is asked of the connection that holds locks for somebody who may have given up.
        self._asked: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[int | None]:
        """Wait until no other process is at what has this name, and keep them from it.

        Yields the turn's number, which is above that of any before (:mod:`portlayer.fencing`); None
        where there are no other processes. Within a process the caller sees to its turns itself.
        Raises Unavailable when the database can't be reached, before or while it waits.
        """
        if self._alone:
            yield None
            return
        key = _key(name)
        async with AsyncExitStack() as stack:
            holder, number = await self._take(key)
            if number is not None:
                stack.push_async_callback(self._give_back, holder, key)
            else:
                # Whoever has it may take long: wait on a connection that nobody else needs.
                with reaching():
                    waiting = await stack.enter_async_context(self._connection())
                    await waiting.execute(_WAIT, {"key": key})
                    stack.push_async_callback(_unlock_or_lost, waiting, key)
                    number = int((await waiting.execute(_DRAW)).scalar_one())
            yield number

    @property
    def alone(self) -> bool:
        """Whether there can be no other process."""
        return self._alone

    @asynccontextmanager
    async def presence(self, name: str) -> AsyncIterator[asyncio.Event]:
        """Be present under a name of this process's own; the event tells that that was lost.

        From then on the others take this process for dead. Raises Unavailable.
        """
        lost = asyncio.Event()
        if self._alone:
            yield lost
            return
        async with AsyncExitStack() as stack:
            with reaching():
                connection = await stack.enter_async_context(self._connection())
                raw = await connection.get_raw_connection()
                driver = raw.driver_connection
                assert driver is not None
                driver.add_termination_listener(lambda _: lost.set())
                await connection.execute(_WAIT, {"key": _key(name)})
            look = asyncio.create_task(_set_when_gone(lost, connection), name=f"presence {name}")
            try:
                yield lost
            finally:
                look.cancel()
                await asyncio.wait([look])

    async def is_present(self, name: str) -> bool:
        """Tell whether a process is present under a name. Raises Unavailable."""
        key = {"key": _key(name)}
        with reaching():
            return not await self._is_free(key)

    async def _is_free(self, key: dict[str, int]) -> bool:
        assert self._statements is not None
        async with self._statements.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            free = bool((await connection.execute(_TRY_SHARED, key)).scalar())
            if free:
                await connection.execute(_UNLOCK_SHARED, key)
        return free

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Call back with each text that a process tells on a channel, for ever.

        After an interruption with the empty text, for what was told meanwhile is lost.
        """
        if self._alone:
            await asyncio.Event().wait()
        while True:
            try:
                with reaching():
                    await self._listen(channel, heard)
            except (sa.exc.SQLAlchemyError, VicError) as error:
                log.warning("cannot hear of the other replicas: %s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, channel: str, heard: Callable[[str], None]) -> None:
        ended = asyncio.Event()
        async with self._connection() as connection:
            raw = await connection.get_raw_connection()
            driver = raw.driver_connection
            assert driver is not None
            driver.add_termination_listener(lambda _: ended.set())
            await driver.add_listener(channel, lambda *told: heard(str(told[-1])))
            heard("")
            await _until(ended, connection)

    async def company(self, kind: str, left: Callable[[], None]) -> None:
        """Be one of a kind, for ever, and call back when another one of it is gone.

        Each holds a lock that the others wait for: PostgreSQL gives it to them when the process
        has ended. Called back too once it is one of them, for who left before isn't known.
        """
        if self._alone:
            await asyncio.Event().wait()
        while True:
            try:
                with reaching():
                    await self._keep_company(kind, left)
            except (sa.exc.SQLAlchemyError, VicError) as error:
                log.warning("cannot hear which replicas end: %s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _keep_company(self, kind: str, left: Callable[[], None]) -> None:
        own = {"kind": _key(kind) & 0x7FFFFFFF, "which": secrets.randbelow(1 << 31)}
        news, lost = asyncio.Event(), asyncio.Event()
        watches: dict[int, asyncio.Task[None]] = {}

        def end() -> None:
            lost.set()
            news.set()

        async with self._connection() as connection:
            raw = await connection.get_raw_connection()
            driver = raw.driver_connection
            assert driver is not None
            driver.add_termination_listener(lambda _: end())
            await driver.add_listener(kind, lambda *_: news.set())
            await connection.execute(_LIVE, own)
            await connection.execute(_NOTIFY, {"channel": kind, "text": ""})
            left()
            try:
                while not lost.is_set():
                    news.clear()
                    others = (await connection.execute(_OTHERS, {"kind": own["kind"]})).scalars()
                    for which in set(others) - watches.keys():
                        outliving = self._outlive({**own, "which": which}, left, end)
                        watches[which] = asyncio.create_task(outliving, name=f"outlive {which}")
                    await _until(news, connection)
            finally:
                for watch in watches.values():
                    watch.cancel()
                await asyncio.gather(*watches.values(), return_exceptions=True)

    async def _outlive(
        self, other: dict[str, int], left: Callable[[], None], failed: Callable[[], None]
    ) -> None:
        """Wait for the lock that another one holds, which is to say for its end."""
        try:
            with reaching():
                async with self._connection() as connection:
                    await connection.execute(_NOTICE)
                    await connection.execute(_OUTLIVE, other)
        except (sa.exc.SQLAlchemyError, VicError) as error:
            log.warning("cannot hear of the end of a replica: %s", error)
            failed()
        else:
            left()

    async def close(self) -> None:
        """Let go of all locks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._asked:
                    await asyncio.wait(self._asked)
        await self._drop()

    @property
    def _engine(self) -> AsyncEngine:
        assert self._standing is not None
        return self._standing

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Yield one whose statements are transactions of their own; its end gives locks back."""
        async with self._engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    async def _take(self, key: int) -> tuple[AsyncConnection, int | None]:
        """Take a lock if it is free; returns the connection that has it, and the turn's number.

        Raises Unavailable when the database can't be reached. Who gives up meanwhile doesn't get
        it, but the statement goes on: one that is cut off ends its connection, and with that the
        turns of all others.
        """
        taking = self._ask(self._take_now(key))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(partial(self._return_unwanted, key))
            raise

    def _ask(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return task

    def _return_unwanted(
        self, key: int, taking: asyncio.Task[tuple[AsyncConnection, int | None]]
    ) -> None:
        if taking.cancelled() or taking.exception() is not None:
            return
        holder, number = taking.result()
        if number is not None:
            self._ask(self._give_back(holder, key))

    async def _take_now(self, key: int) -> tuple[AsyncConnection, int | None]:
        async with self._using:
            holder = self._holder
            if holder is not None and not holder.closed and not holder.invalidated:
                try:
                    return holder, await _try(holder, key)
                except (sa.exc.DBAPIError, OSError) as error:
                    # The database was restarted: what this connection had is lost already.
                    log.warning("the connection that holds locks has ended: %s", error)
            await self._drop()
            with reaching():
                return await self._take_by_another(key)

    async def _take_by_another(self, key: int) -> tuple[AsyncConnection, int | None]:
        fresh = await self._engine.connect()
        try:
            holder = await fresh.execution_options(isolation_level="AUTOCOMMIT")
            async with asyncio.timeout(ANSWER_SECONDS):
                await holder.execute(_RAISE)
            number = await _try(holder, key)
        except BaseException:
            await fresh.close()
            raise
        self._holder = holder
        return holder, number

    async def _drop(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            # It says goodbye and waits for an answer, which may never come.
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await holder.close()

    async def _give_back(self, holder: AsyncConnection, key: int) -> None:
        try:
            # A cancellation must not leave it with this process for ever.
            await asyncio.shield(self._ask(self._unlock(holder, key)))
        except (sa.exc.SQLAlchemyError, OSError) as error:
            _tell_lost(error)

    async def _unlock(self, holder: AsyncConnection, key: int) -> None:
        async with self._using:
            if holder is self._holder and not holder.closed:
                await _unlock(holder, key)


async def tell(connection: Connection, channel: str, text: str) -> None:
    """Tell all processes something when a transaction is committed."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_NOTIFY, {"channel": channel, "text": text})


async def _until(event: asyncio.Event, connection: AsyncConnection) -> None:
    """Wait for an event that the connection brings, and see to it that there still is one.

    Raises SQLAlchemyError, and TimeoutError, where the database is gone.
    """
    while not event.is_set():
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await event.wait()
        except TimeoutError:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.execute(_LOOK)


async def _set_when_gone(lost: asyncio.Event, connection: AsyncConnection) -> None:
    try:
        await _until(lost, connection)
    except (sa.exc.SQLAlchemyError, OSError) as error:
        log.warning("the database does not answer: %s", error)
        lost.set()


async def _try(connection: AsyncConnection, key: int) -> int | None:
    # All turns of this process wait meanwhile.
    async with asyncio.timeout(ANSWER_SECONDS):
        number = (await connection.execute(_TRY, {"key": key})).scalar()
    return None if number is None else int(number)


async def _unlock(connection: AsyncConnection, key: int) -> None:
    async with asyncio.timeout(ANSWER_SECONDS):
        await connection.execute(_UNLOCK, {"key": key})


async def _unlock_or_lost(connection: AsyncConnection, key: int) -> None:
    try:
        await _unlock(connection, key)
    except (sa.exc.SQLAlchemyError, OSError) as error:
        _tell_lost(error)


def _tell_lost(error: Exception) -> None:
    # The connection is gone, and the lock with it.
    log.warning("a lock was lost: %s", error)


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)

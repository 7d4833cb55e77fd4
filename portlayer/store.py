"""A facet's own database: SQLite by default, PostgreSQL by URL; brought up to date at start.

Migrations are Alembic's, in the facet's package ``migrations`` (``migrations/versions/*.py``, no
environment file of their own: the one here serves all).
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import sqlalchemy
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from portlayer.errors import Reason, ResourceExhausted, Unavailable
from portlayer.neighbours import Neighbours

# How long a writer waits for another process's transaction on SQLite; those of one process queue.
BUSY_TIMEOUT_MS = 10_000
# Each has a thread. Python runs one of them at a time, so that more only cost memory and switches.
SQLITE_CONNECTIONS = 4

_READING = "vic_reading"


@dataclass
class _Cancellation:
    """Whether the task was cancelled while a statement of its transaction was at work."""

    came: bool = False


_cancellation: ContextVar[_Cancellation | None] = ContextVar("_cancellation", default=None)


class _SteadyConnection(aiosqlite.Connection):
    """A connection on which a statement that has begun is always waited for.

    A statement runs in the connection's own thread, and goes on there when the task that waits for
    it is cancelled. SQLAlchemy would then throw the connection away, and what the thread still does
    with it (taking the write lock, say) would hold up everybody else until the garbage collector
    comes by. So the cancellation waits until the transaction, a matter of milliseconds, is over.
    """

    async def _execute(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        pending = _cancellation.get()
        if pending is None:
            return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        statement = super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        work = asyncio.ensure_future(statement)
        while not work.done():
            try:
                await asyncio.wait({work})
            except asyncio.CancelledError:
                pending.came = True
        return work.result()


# What is looked up first and written then must not change in between. The number is any, and ours;
# locks are each database's own. Source: PostgreSQL 15, 13.3.5 Advisory Locks.
_ONE_WRITER = sqlalchemy.text("SELECT pg_advisory_xact_lock(7663103)")


class Store:
    """An open database.

    What the database can't do for the moment is raised as a domain error: Unavailable when it is
    away or locked, ResourceExhausted (STORE_FULL) when its disk is full. A violated constraint
    stays sqlalchemy's IntegrityError.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.neighbours = Neighbours(engine)
        self._reader = engine.execution_options(**{_READING: True})
        # SQLite has one writer at a time, and lets the others try again at intervals: in the end
        # some of a hundred get nothing within the time-out. Here they stand in line.
        self._writing: AbstractAsyncContextManager[object] = nullcontext()
        if engine.dialect.name == "sqlite":
            self._writing = asyncio.Lock()
        self._transactions = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection within a transaction that commits at the end and rolls back on error.

        On SQLite it takes the write lock at once (BEGIN IMMEDIATE), since a transaction that reads
        first and writes later would fail under concurrency; on PostgreSQL a lock of the database's
        own does the same for all replicas. Transactions don't nest.
        """
        async with self._writing, self._begun(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(_ONE_WRITER)
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection that is only read from: it sees one state, and waits for no writer."""
        async with self._begun(self._reader) as connection:
            yield connection

    async def close(self) -> None:
        """Close all connections, after the transactions in hand.

        A call that was cancelled rolls back after its server has stopped; a connection that came
        back after this would stay open, and its thread would keep the process from ending.
        """
        await self._idle.wait()
        await self.neighbours.close()
        await self._engine.dispose()

    @asynccontextmanager
    async def _begun(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in a transaction; a cancellation comes when that is over."""
        pending = _Cancellation()
        token = _cancellation.set(pending)
        self._transactions += 1
        self._idle.clear()
        try:
            with _database_errors():
                async with engine.begin() as connection:
                    yield connection
        finally:
            _cancellation.reset(token)
            self._transactions -= 1
            if not self._transactions:
                self._idle.set()
        if pending.came:
            raise asyncio.CancelledError


@contextmanager
def _database_errors() -> Iterator[None]:
    """Raise domain errors for what is the database's state, and no fault in a statement."""
    try:
        yield
    except (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError) as error:
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_ERROR:
            # Not the database's state: the statement itself is wrong.
            raise
        if code == sqlite3.SQLITE_FULL:
            message = "no space left on device for the database"
            raise ResourceExhausted(message, Reason.STORE_FULL) from error
        raise Unavailable(f"the database failed: {error.orig}") from error
    except (sqlalchemy.exc.TimeoutError, ConnectionError) as error:
        raise Unavailable(f"the database can't be reached: {error}") from error


async def _open_sqlite(path: str) -> aiosqlite.Connection:
    return await _SteadyConnection(
        partial(sqlite3.connect, path, check_same_thread=False), iter_chunk_size=64
    )


def _prepare_sqlite(engine: AsyncEngine) -> None:
    @sqlalchemy.event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: DBAPIConnection, _record: object) -> None:
        # The driver's own transaction handling would begin too late; see on_begin.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # With WAL, NORMAL loses no consistency on power loss, only the last transactions.
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.close()

    @sqlalchemy.event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: sqlalchemy.Connection) -> None:
        reading = connection.get_execution_options().get(_READING, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _is_current(connection: sqlalchemy.Connection, migrations: Path) -> bool:
    """Tell whether the newest step was applied; a step's file is named ``REVISION_subject.py``."""
    newest = max(path.stem for path in (migrations / "versions").glob("*.py")).partition("_")[0]
    if not sqlalchemy.inspect(connection).has_table("alembic_version"):
        return False
    versions = connection.execute(sqlalchemy.text("select version_num from alembic_version"))
    return newest in set(versions.scalars())


async def _migrate(url: str, migrations: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "portlayer.migrate", str(migrations)),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate(url.encode() + b"\n")
    if process.returncode != 0:
        last = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Unavailable(f"the database can't be brought up to date: {last}")


async def open_store(url: str, migrations: Path) -> Store:
    """Open a database and bring its schema up to date.

    ``migrations`` is the directory that holds ``versions/``. Raises sqlalchemy.exc.SQLAlchemyError
    when the database can't be reached, and Unavailable when a migration fails.
    """
    if url.startswith("sqlite"):
        path = sqlalchemy.make_url(url).database
        if not path:
            raise ValueError(f"{url} names no file")
        engine = create_async_engine(
            url,
            async_creator=partial(_open_sqlite, path),
            pool_size=SQLITE_CONNECTIONS,
            # A connection more than that would be opened and closed for each transaction.
            max_overflow=0,
            # Every transaction here is ended by who began it.
            pool_reset_on_return=None,
        )
        _prepare_sqlite(engine)
    else:
        engine = create_async_engine(url, pool_pre_ping=True)
    try:
        async with engine.begin() as connection:
            current = await connection.run_sync(_is_current, migrations)
        if not current:
            await _migrate(url, migrations)
    except BaseException:
        await engine.dispose()
        raise
    return Store(engine)

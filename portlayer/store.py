"""A facet's own database: SQLite by default, PostgreSQL by URL; brought up to date at start.

Migrations are Alembic's, in the facet's package ``migrations`` (``migrations/versions/*.py``, no
environment file of their own: the one here serves all).
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from portlayer.errors import Reason, ResourceExhausted, Unavailable
from portlayer.neighbours import Neighbours
from portlayer.sqlite import READING, sqlite_engine, uncancelled

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
        self._reader = engine.execution_options(**READING)
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
        self._transactions += 1
        self._idle.clear()
        try:
            with _database_errors(), uncancelled():
                async with engine.begin() as connection:
                    yield connection
        finally:
            self._transactions -= 1
            if not self._transactions:
                self._idle.set()


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
        engine = sqlite_engine(url, path)
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

"""A facet's own database: SQLite by default, PostgreSQL by URL; brought up to date at start.

Migrations are Alembic's, in the facet's package ``migrations`` (``migrations/versions/*.py``, no
environment file of their own: the one here serves all).
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from portlayer import sqlite
from portlayer.errors import Reason, ResourceExhausted, Unavailable
from portlayer.neighbours import CLOSE_SECONDS, Connection, Neighbours
from portlayer.postgres import new_engine
from portlayer.prepared import Query
from portlayer.reaching import domain_error, reaching

# What is looked up first and written then must not change in between. The number is any, and ours;
# locks are each database's own. Source: PostgreSQL 15, 13.3.5 Advisory Locks.
_ONE_WRITER = sqlalchemy.text("SELECT pg_advisory_xact_lock(7663103)")
# Whether any migration was ever applied.
_SQLITE_VERSIONED = sqlalchemy.text(
    "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
)
_POSTGRES_VERSIONED = sqlalchemy.text("SELECT to_regclass('alembic_version') IS NOT NULL")


class Database(Protocol):
    """What a store is on: connections within transactions. SQLAlchemy's errors, and SQLite's."""

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """Yield a connection within a transaction; see Store."""

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """Yield one that is only read from."""

    async def close(self) -> None:
        """Close all connections."""


class Store:
    """An open database.

    What the database can't do for the moment is raised as a domain error: Unavailable when it is
    away or locked, ResourceExhausted (STORE_FULL) when its disk is full. A violated constraint
    stays sqlalchemy's IntegrityError.
    """

    def __init__(self, database: Database, neighbours: Neighbours) -> None:
        self._database = database
        self.neighbours = neighbours
        self._transactions = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Yield a connection within a transaction that commits at the end and rolls back on error.

        On SQLite it takes the write lock at once (BEGIN IMMEDIATE), since a transaction that reads
        first and writes later would fail under concurrency; on PostgreSQL a lock of the database's
        own does the same for all replicas. Transactions don't nest. Results are read within it.
        """
        with self._begun():
            async with self._database.transaction() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Yield a connection that is only read from: it sees one state, and waits for no writer."""
        with self._begun():
            async with self._database.reading() as connection:
                yield connection

    async def read(self, query: Query, values: Mapping[str, Any]) -> Sequence[Any]:
        """Return the rows of one query, for which alone a transaction would cost as much again."""
        with self._begun():
            if isinstance(self._database, sqlite.Database):
                return query.rows(self._database, values)
            async with self._database.reading() as connection:
                return await query.on(connection, values)

    async def close(self) -> None:
        """Close all connections, after the transactions in hand.

        A call that was cancelled rolls back after its server has stopped.
        """
        await self._idle.wait()
        await self.neighbours.close()
        await self._database.close()

    @contextmanager
    def _begun(self) -> Iterator[None]:
        self._transactions += 1
        self._idle.clear()
        try:
            with _database_errors():
                yield
        finally:
            self._transactions -= 1
            if not self._transactions:
                self._idle.set()


class Postgres:
    """A database of PostgreSQL's, by SQLAlchemy's own pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Yield a connection that nobody else writes beside."""
        async with self._begun() as connection:
            await connection.execute(_ONE_WRITER)
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Yield a connection within a transaction."""
        async with self._begun() as connection:
            yield connection

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            with reaching():
                connection = await stack.enter_async_context(self._engine.begin())
            yield connection

    async def close(self) -> None:
        """Close all connections; of a database that doesn't answer, those there is time for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._engine.dispose()


@contextmanager
def _database_errors() -> Iterator[None]:
    """Raise domain errors for what is the database's state, and no fault in a statement."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.OperationalError, ConnectionError) as error:
        # SQLite's own come from the beginnings and ends of transactions.
        cause = getattr(error, "orig", error)
        code = getattr(cause, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_ERROR:
            # Not the database's state: the statement itself is wrong.
            raise
        if code == sqlite3.SQLITE_FULL:
            message = "no space left on device for the database"
            raise ResourceExhausted(message, Reason.STORE_FULL) from error
        found = domain_error(error)
        if found is None and isinstance(error, sqlite3.OperationalError):
            found = Unavailable(f"the database failed: {cause}")
        if found is None:
            raise
        raise found from error


async def _is_current(connection: Connection, migrations: Path) -> bool:
    """Tell whether the newest step was applied; a step's file is named ``REVISION_subject.py``."""
    newest = max(path.stem for path in (migrations / "versions").glob("*.py")).partition("_")[0]
    there = _SQLITE_VERSIONED if connection.dialect.name == "sqlite" else _POSTGRES_VERSIONED
    if not (await connection.execute(there)).scalar():
        return False
    versions = await connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version"))
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

    ``migrations`` is the directory that holds ``versions/``. Raises Unavailable when a migration
    fails or PostgreSQL can't be reached, and SQLite's errors.
    """
    if url.startswith("sqlite"):
        path = sqlalchemy.make_url(url).database
        if not path:
            raise ValueError(f"{url} names no file")
        database: Database = sqlite.Database(path)
        neighbours = Neighbours(None)
    else:
        engine = new_engine(url, pool_pre_ping=True)
        database, neighbours = Postgres(engine), Neighbours(engine)
    try:
        async with database.reading() as connection:
            current = await _is_current(connection, migrations)
        if not current:
            await _migrate(url, migrations)
    except BaseException:
        await database.close()
        raise
    return Store(database, neighbours)

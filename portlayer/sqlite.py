"""SQLite under asyncio: what can't wait for anybody is done at once, in the loop's own thread.

A statement takes some ten microseconds; to hand each to a thread and hear of it costs ten times
that. In WAL mode a reader waits for nobody, and a writer for another process at its beginning
alone, which is the one thing that is done in a thread. So are checkpoints, which wait for the disk.
Source: SQLite, "Write-Ahead Logging", 2.2 Concurrency, 3.3 Performance Considerations.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any, TypeVarTuple, overload

import sqlalchemy
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.selectable import TypedReturnsRows

Columns = TypeVarTuple("Columns")

# How long a writer waits for another process's transaction; those of one process queue.
BUSY_TIMEOUT_MS = 10_000
# Transactions after which the log is written into the database's file: some 2 MB of it.
CHECKPOINT_AFTER = 250


class Statements:
    """A connection within a transaction, as SQLAlchemy's asynchronous ones are used."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self._connection = connection
        self._results: list[sqlalchemy.CursorResult[*tuple[Any, ...]]] = []

    @property
    def dialect(self) -> sqlalchemy.Dialect:
        """The kind of database."""
        return self._connection.dialect

    @overload
    async def execute(
        self, statement: TypedReturnsRows[*Columns], parameters: Any = None, /
    ) -> sqlalchemy.CursorResult[*Columns]: ...

    @overload
    async def execute(
        self, statement: sqlalchemy.Executable, parameters: Any = None, /
    ) -> sqlalchemy.CursorResult[*tuple[Any, ...]]: ...

    async def execute(
        self, statement: sqlalchemy.Executable, parameters: Any = None, /
    ) -> sqlalchemy.CursorResult[*tuple[Any, ...]]:
        """Carry a statement out; its result is read within the transaction."""
        result = self._connection.execute(statement, parameters)
        if result.returns_rows:
            self._results.append(result)
        return result

    def change(self, text: str, rows: Sequence[Sequence[Any]]) -> tuple[int, int]:
        """Carry out a statement that returns nothing with each row's values; see prepared.py.

        Returns how many rows it has changed, and the number of the row that it has inserted where
        ``rows`` is one. Raises SQLite's own errors.
        """
        raw = _raw(self._connection)
        cursor = raw.execute(text, rows[0]) if len(rows) == 1 else raw.executemany(text, rows)
        return cursor.rowcount, cursor.lastrowid or 0

    def read(self, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return a query's rows; see prepared.py. Raises SQLite's own errors."""
        return _raw(self._connection).execute(text, values).fetchall()

    def end(self) -> None:
        """Let no result be read on: it would hold the state of its time, or tell another's."""
        for result in self._results:
            result.close()


class Database:
    """A database file, its connections open and idle between transactions."""

    def __init__(self, path: str) -> None:
        """Open it on first use; where there is no file one is made."""
        self._path = path
        self._engine = sqlalchemy.create_engine(
            "sqlite://", creator=self._connect, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        self._idle: list[sqlalchemy.Connection] = []
        self._writer: sqlalchemy.Connection | None = None
        # SQLite has one writer at a time, and lets the others try again at intervals: in the end
        # some of a hundred get nothing within the time-out. Here they stand in line.
        self._writing = asyncio.Lock()
        self._commits = 0
        self._checkpoint: asyncio.Task[None] | None = None

    def _connect(self) -> sqlite3.Connection:
        # Not only by this thread, which begins some transactions in another.
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        # With WAL, NORMAL loses no consistency on power loss, only the last transactions.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        return connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Statements]:
        """Yield a connection that has the write lock from the beginning (BEGIN IMMEDIATE).

        Commits at the end, and rolls back on error.
        """
        async with self._writing:
            if self._writer is None:
                self._writer = self._engine.connect()
                _raw(self._writer).execute("PRAGMA busy_timeout=0")
            await _begin_writing(_raw(self._writer))
            with _Transaction(self._writer) as statements:
                yield statements
            self._commits += 1
            if self._commits % CHECKPOINT_AFTER == 0:
                self._begin_checkpoint()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Statements]:
        """Yield a connection that sees one state, and waits for no writer."""
        connection = self._idle.pop() if self._idle else self._engine.connect()
        try:
            _raw(connection).execute("BEGIN")
            with _Transaction(connection) as statements:
                yield statements
        finally:
            self._idle.append(connection)

    def read(self, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows of one query, which is a transaction by itself; see prepared.py.

        Raises SQLite's own errors.
        """
        connection = self._idle.pop() if self._idle else self._engine.connect()
        try:
            return _raw(connection).execute(text, values).fetchall()
        finally:
            self._idle.append(connection)

    async def close(self) -> None:
        """Close all connections; none is in use."""
        if self._checkpoint is not None:
            await asyncio.wait({self._checkpoint})
        for connection in (*self._idle, *([self._writer] if self._writer is not None else ())):
            connection.close()
        self._idle.clear()
        self._writer = None
        self._engine.dispose()

    def _begin_checkpoint(self) -> None:
        if self._checkpoint is None or self._checkpoint.done():
            self._checkpoint = asyncio.create_task(self._write_back(), name="checkpoint")

    async def _write_back(self) -> None:
        """Bring the log to its end, with no writer beside: else it would only be begun anew late.

        SQLite writes a log from its beginning again when all of it is in the file.
        """
        async with self._writing:
            await asyncio.to_thread(self._write_log_back)

    def _write_log_back(self) -> None:
        """Copy what the log has into the file, as far as no reader needs it as it is."""
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


class _Transaction:
    """A transaction that has begun: committed at the end, or rolled back."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self._raw = _raw(connection)
        self._statements = Statements(connection)

    def __enter__(self) -> Statements:
        return self._statements

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._statements.end()
        if kind is None:
            try:
                self._raw.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        # After some errors (a full disk) SQLite has done so itself.
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")


def _raw(connection: sqlalchemy.Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


async def _begin_writing(raw: sqlite3.Connection) -> None:
    """Take the write lock; another process that has it is waited for without holding anybody up."""
    try:
        raw.execute("BEGIN IMMEDIATE")
        return
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
    waiting = asyncio.ensure_future(asyncio.to_thread(_wait_to_write, raw))
    cancelled = False
    while not waiting.done():
        try:
            await asyncio.wait({waiting})
        except asyncio.CancelledError:
            # What the thread takes nobody else would give back.
            cancelled = True
    waiting.result()
    if cancelled:
        raw.execute("ROLLBACK")
        raise asyncio.CancelledError


def _wait_to_write(raw: sqlite3.Connection) -> None:
    raw.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    try:
        raw.execute("BEGIN IMMEDIATE")
    finally:
        raw.execute("PRAGMA busy_timeout=0")

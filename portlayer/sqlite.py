"""SQLite under asyncio: what is done at once, and what in a thread.

A statement that can't wait for anybody takes some ten microseconds; to hand it to a thread and
hear of it costs ten times that, for each of the eight steps of the smallest transaction. So only
what may wait for another process, or for the disk, is done in the connection's thread.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiosqlite
import sqlalchemy
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# How long a writer waits for another process's transaction; those of one process queue.
BUSY_TIMEOUT_MS = 10_000
# Each has a thread. Python runs one of them at a time, so that more only cost memory and switches.
CONNECTIONS = 4

_READING = "vic_reading"
READING = {_READING: True}
"""Execution option of an engine whose transactions only read."""

_BEGIN_READING = "BEGIN"
_BEGIN_WRITING = "BEGIN IMMEDIATE"


@dataclass
class _Cancellation:
    """Whether the task was cancelled while a statement of its transaction was at work."""

    came: bool = False


_cancellation: ContextVar[_Cancellation | None] = ContextVar("_cancellation", default=None)


@contextmanager
def uncancelled() -> Iterator[None]:
    """Let a cancellation of the task wait until the transaction within is over.

    A matter of milliseconds; see :class:`SteadyConnection`. Raises asyncio.CancelledError then.
    """
    pending = _Cancellation()
    token = _cancellation.set(pending)
    try:
        yield
    finally:
        _cancellation.reset(token)
    if pending.came:
        raise asyncio.CancelledError


class SteadyConnection(aiosqlite.Connection):
    """A connection whose statements, once begun, are always waited for.

    In the connection's own thread one goes on when the task that waits for it is cancelled.
    SQLAlchemy would then throw the connection away, and what the thread still does with it (taking
    the write lock, say) would hold up everybody else until the garbage collector comes by.
    """

    _wrote = False

    async def _execute(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._may_wait(fn.__name__, args):
            return fn(*args, **kwargs)
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

    def _may_wait(self, name: str, arguments: tuple[Any, ...]) -> bool:
        """Tell whether a call of SQLite's may wait for the write lock, or for the disk.

        Within a transaction that has the lock nothing waits until it commits; what only reads sees
        its own state of the database, and waits for no writer. Source: SQLite, "Write-Ahead
        Logging", 2.2 Concurrency.
        """
        if name == "execute":
            statement: str = arguments[0]
            if statement == _BEGIN_WRITING:
                self._wrote = True
            return statement == _BEGIN_WRITING or statement.startswith("PRAGMA")
        if name in ("commit", "rollback"):
            wrote, self._wrote = self._wrote, False
            return wrote
        return name not in ("cursor", "fetchone", "fetchmany", "fetchall")


def sqlite_engine(url: str, path: str) -> AsyncEngine:
    """Return an engine for the database file ``path``, which ``url`` names to SQLAlchemy."""
    engine = create_async_engine(
        url,
        async_creator=partial(_open, path),
        pool_size=CONNECTIONS,
        # A connection more than that would be opened and closed for each transaction.
        max_overflow=0,
        # Every transaction here is ended by who began it.
        pool_reset_on_return=None,
    )
    sqlalchemy.event.listen(engine.sync_engine, "connect", _prepare)
    sqlalchemy.event.listen(engine.sync_engine, "begin", _begin)
    return engine


async def _open(path: str) -> aiosqlite.Connection:
    return await SteadyConnection(
        partial(sqlite3.connect, path, check_same_thread=False), iter_chunk_size=64
    )


def _prepare(connection: DBAPIConnection, _record: object) -> None:
    # The driver's own transaction handling would begin too late; see _begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # With WAL, NORMAL loses no consistency on power loss, only the last transactions.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.close()


def _begin(connection: sqlalchemy.Connection) -> None:
    reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql(_BEGIN_READING if reading else _BEGIN_WRITING)

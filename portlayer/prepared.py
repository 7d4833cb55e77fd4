"""Statements that are put together once: for what is done at each start of a container.

SQLAlchemy looks through a statement each time that it is carried out, which takes several times as
long as what SQLite then does. On PostgreSQL they are SQLAlchemy's.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.pysqlite import dialect

from portlayer.neighbours import Connection
from portlayer.sqlite import Statements

_DIALECT = dialect()

_Values = list[Callable[[Mapping[str, Any]], Any]]
"""What makes each of a statement's values of a row."""


class Reader(Protocol):
    """A SQLite database, or a transaction on one."""

    def read(self, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return a query's rows. Raises SQLite's own errors."""
        ...


class Prepared:
    """An INSERT, UPDATE or DELETE.

    As with SQLAlchemy a row's names are the statement's own parameters, and columns that are to
    have a value: all rows of a call have the same.
    """

    def __init__(self, statement: sa.Insert | sa.Update | sa.Delete) -> None:
        self._statement = statement
        # By the names that rows have, of which there are as many as places that call.
        self._made: dict[tuple[str, ...], tuple[str, _Values]] = {}

    async def on(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Carry it out with each row's values; return how many rows that changed, where one is.

        Raises SQLAlchemy's errors.
        """
        if not rows:
            return 0
        if isinstance(connection, Statements):
            return self._change(connection, rows)[0]
        return (await connection.execute(self._statement, rows)).rowcount

    async def number(self, connection: Connection, row: Mapping[str, Any]) -> int:
        """Insert a row; return the number that the database gave it, which is its primary key."""
        if isinstance(connection, Statements):
            return self._change(connection, [row])[1]
        key: Any = (await connection.execute(self._statement, row)).inserted_primary_key
        return int(key[0])

    def _change(self, statements: Statements, rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        names = tuple(rows[0])
        made = self._made.get(names)
        if made is None:
            made = self._made[names] = _made(self._statement, names)
        text, values = made
        with _sqlalchemy_errors(text, rows):
            return statements.change(text, [[value(row) for value in values] for row in rows])


class Query:
    """A SELECT, whose parameters are single values; rows have their columns as attributes."""

    def __init__(self, statement: sa.Select[*tuple[Any, ...]]) -> None:
        self._statement = statement

    async def on(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """Return its rows in a transaction. Raises SQLAlchemy's errors."""
        if isinstance(connection, Statements):
            return self.rows(connection, values)
        return (await connection.execute(self._statement, values)).all()

    def rows(self, reader: Reader, values: Mapping[str, Any]) -> Sequence[Any]:
        """Return its rows of a SQLite database. Raises SQLAlchemy's errors."""
        text, bound = self._made
        with _sqlalchemy_errors(text, values):
            rows = reader.read(text, [value(values) for value in bound])
        return [self._row(row) for row in rows]

    @cached_property
    def _made(self) -> tuple[str, _Values]:
        return _made(self._statement)

    @cached_property
    def _row(self) -> Callable[[tuple[Any, ...]], Any]:
        """Return what makes a row of SQLite's values."""
        columns = list(self._statement.selected_columns)
        # Columns without a name of their own are had by their place.
        names = [getattr(column, "name", "") for column in columns]
        kind: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc] # not known before
        decoders = [
            (place, decode)
            for place, column in enumerate(columns)
            if (decode := column.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None))
        ]
        make: Callable[[Sequence[Any]], Any] = kind._make

        def decoded(row: tuple[Any, ...]) -> Any:
            values = list(row)
            for place, decode in decoders:
                values[place] = decode(values[place])
            return make(values)

        return decoded if decoders else make


@contextmanager
def _sqlalchemy_errors(text: str, values: Any) -> Iterator[None]:
    """Raise SQLAlchemy's errors for SQLite's, as its own connections do."""
    try:
        yield
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(
            *(text, values, error, sqlite3.Error), dialect=_DIALECT
        ) from error


def _made(statement: sa.Executable, names: Sequence[str] | None = None) -> tuple[str, _Values]:
    """Return a statement's text for SQLite, and what makes each of its values.

    ``names``: what rows have of an INSERT's or UPDATE's columns, beside other parameters.
    """
    assert isinstance(statement, sa.ClauseElement)
    keys = None if names is None else list(names)
    compiled = statement.compile(dialect=_DIALECT, column_keys=keys)
    assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
    # A list of values would be put into the text at each call; one of literals is in it.
    assert not compiled.post_compile_params, str(compiled)
    return str(compiled), [_value(compiled.binds[name]) for name in compiled.positiontup or ()]


def _value(bind: sa.BindParameter[Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Return what makes a value as SQLite's driver takes it."""
    encode = bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
    key, constant = bind.key, bind.value
    if not bind.required:
        fixed = constant if encode is None else encode(constant)
        return lambda row: fixed
    if encode is None:
        return lambda row: row[key]
    return lambda row: encode(row[key])

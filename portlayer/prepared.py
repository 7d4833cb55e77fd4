"""Statements that change rows, put together once: for what is done at each start of a container.

SQLAlchemy looks through a statement each time that it is carried out, which takes several times as
long as what SQLite then does.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.pysqlite import dialect

from portlayer.neighbours import Connection
from portlayer.sqlite import Statements

_DIALECT = dialect()


class Prepared:
    """An INSERT, UPDATE or DELETE; an INSERT gives each column of its table."""

    def __init__(self, statement: sa.Insert | sa.Update | sa.Delete) -> None:
        self._statement = statement

    async def on(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Carry it out with each row's values. Raises SQLAlchemy's errors."""
        if not isinstance(connection, Statements):
            await connection.execute(self._statement, rows)
            return
        text, values = self._made
        try:
            connection.change(text, [[value(row) for value in values] for row in rows])
        except sqlite3.Error as error:
            raise sa.exc.DBAPIError.instance(
                *(text, list(rows), error, sqlite3.Error), dialect=_DIALECT
            ) from error

    @cached_property
    def _made(self) -> tuple[str, list[Callable[[Mapping[str, Any]], Any]]]:
        """The text for SQLite, and what makes each of its values of a row."""
        compiled = self._statement.compile(dialect=_DIALECT)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
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

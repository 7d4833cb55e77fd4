"""Prepared statements do what SQLAlchemy would have done, errors included."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from portlayer.errors import Unavailable
from portlayer.neighbours import Connection, Neighbours
from portlayer.prepared import Prepared
from portlayer.sqlite import Database
from portlayer.store import Store

_things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.String(8), primary_key=True),
    sa.Column("words", sa.JSON),
    sa.Column("more", sa.JSON(none_as_null=True)),
    sa.Column("yes", sa.Boolean),
    sa.Column("number", sa.Integer),
    sa.Column("at", sa.DateTime(timezone=True)),
)
_ADD = Prepared(sa.insert(_things))
_RENUMBER = Prepared(
    sa.update(_things)
    .where(_things.c.id == sa.bindparam("which"), _things.c.yes == sa.true())
    .where(_things.c.at > datetime(2020, 1, 1, tzinfo=UTC))
    .values(number=sa.bindparam("now"), more={"fixed": 1})
)
_REMOVE = Prepared(sa.delete(_things).where(_things.c.id == sa.bindparam("gone")))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(Database(str(tmp_path / "test.db")), Neighbours(None))
    async with opened.transaction() as connection:
        await connection.execute(sa.schema.CreateTable(_things))
    yield opened
    await opened.close()


def row(name: str, **values: Any) -> dict[str, Any]:
    """Return a row that has something of each type."""
    whole = {"words": ["é", {"a": None}], "more": None, "yes": True, "number": 7}
    return {"id": name, **whole, "at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), **values}


async def all_of(store: Store) -> list[dict[str, Any]]:
    async with store.reading() as connection:
        found = await connection.execute(sa.select(_things).order_by(_things.c.id))
        return [dict(one) for one in found.mappings()]


async def test_rows_are_written_as_by_sqlalchemy(store: Store) -> None:
    rows = [row("a"), row("b", words=None, more=[1], yes=False, number=None)]
    async with store.transaction() as connection:
        await _ADD.on(connection, rows)
    written = await all_of(store)
    async with store.transaction() as connection:
        await _REMOVE.on(connection, [{"gone": "a"}, {"gone": "b"}])
    assert await all_of(store) == []
    async with store.transaction() as connection:
        await connection.execute(sa.insert(_things), rows)
    assert await all_of(store) == written
    assert [one["id"] for one in written] == ["a", "b"]


async def test_what_a_statement_says_itself_goes_with_each_row(store: Store) -> None:
    async with store.transaction() as connection:
        await _ADD.on(connection, [row("a"), row("b"), row("c", yes=False)])
        await _RENUMBER.on(connection, [{"which": name, "now": 9} for name in "ac"])
    found = [(one["number"], one["more"]) for one in await all_of(store)]
    assert found == [(9, {"fixed": 1}), (7, None), (7, None)]


async def test_errors_are_sqlalchemy_s_and_nothing_is_left(store: Store) -> None:
    with pytest.raises(sa.exc.IntegrityError) as refusal:
        async with store.transaction() as connection:
            await _ADD.on(connection, [row("a"), row("a")])
    assert "things.id" in str(refusal.value.orig)
    assert await all_of(store) == []
    with pytest.raises(KeyError):
        async with store.transaction() as connection:
            await _ADD.on(connection, [{"id": "a"}])


async def test_a_failing_database_is_unavailable(store: Store) -> None:
    with pytest.raises(Unavailable):
        async with store.transaction() as connection:
            await connection.execute(sa.text("PRAGMA query_only=ON"))
            await _ADD.on(connection, [row("a")])


async def test_another_database_gets_the_statement() -> None:
    class Other:
        def __init__(self) -> None:
            self.done: list[tuple[object, object]] = []

        async def execute(self, statement: object, rows: object) -> None:
            self.done.append((statement, rows))

    other = Other()
    statement = sa.delete(_things).where(_things.c.id == sa.bindparam("gone"))
    await Prepared(statement).on(cast(Connection, other), [{"gone": "a"}])
    assert other.done == [(statement, [{"gone": "a"}])]

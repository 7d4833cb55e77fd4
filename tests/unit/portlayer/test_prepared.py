"""Prepared statements and queries do what SQLAlchemy would have done, errors included."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from portlayer.errors import Unavailable
from portlayer.neighbours import Connection, Neighbours
from portlayer.prepared import Prepared, Query
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
            await _ADD.on(connection, [row("a"), {"id": "b"}])
    assert await all_of(store) == []
    with pytest.raises(sa.exc.OperationalError, match="no such table"):
        await store.read(Query(sa.select(sa.table("nowhere", sa.column("a")))), {})


async def test_a_failing_database_is_unavailable(store: Store) -> None:
    with pytest.raises(Unavailable):
        async with store.transaction() as connection:
            await connection.execute(sa.text("PRAGMA query_only=ON"))
            await _ADD.on(connection, [row("a")])


async def test_columns_that_a_row_lacks_stay_as_they_are(store: Store) -> None:
    change = Prepared(sa.update(_things).where(_things.c.id == sa.bindparam("which")))
    async with store.transaction() as connection:
        await _ADD.on(connection, [{"id": "a", "number": 1}, {"id": "b", "number": 2}])
        assert await change.on(connection, [{"which": "a", "words": [1], "number": 3}]) == 1
        assert await change.on(connection, [{"which": "b", "number": 4}]) == 1
        assert await change.on(connection, [{"which": "c", "number": 5}]) == 0
        assert await change.on(connection, []) == 0
    found = [(one["number"], one["words"], one["yes"]) for one in await all_of(store)]
    assert found == [(3, [1], None), (4, None, None)]


async def test_a_new_row_s_number_is_told(store: Store) -> None:
    numbered = sa.Table(
        "numbered",
        sa.MetaData(),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("what", sa.JSON),
    )
    add = Prepared(numbered.insert())
    async with store.transaction() as connection:
        await connection.execute(sa.schema.CreateTable(numbered))
        numbers = [await add.number(connection, {"what": what}) for what in ("a", "b")]
    found = await store.read(Query(sa.select(numbered).order_by(numbered.c.number)), {})
    assert [tuple(one) for one in found] == list(zip(numbers, ("a", "b"), strict=True))


_OF_NUMBER = Query(
    sa.select(_things)
    .where(_things.c.number == sa.bindparam("number"))
    .where(_things.c.id.in_([sa.literal("a"), sa.literal("b")]))
    .order_by(_things.c.id)
    .limit(sa.bindparam("most"))
)
_COUNT = Query(sa.select(sa.select(sa.func.count()).select_from(_things).scalar_subquery()))


async def test_rows_are_read_as_by_sqlalchemy(store: Store) -> None:
    async with store.transaction() as connection:
        rows = [row("a"), row("b", words=None, more=[1], yes=False), row("c"), row("d", number=8)]
        await _ADD.on(connection, rows)
        in_it = await _OF_NUMBER.on(connection, {"number": 7, "most": 9})
    found = await store.read(_OF_NUMBER, {"number": 7, "most": 9})
    assert [one._asdict() for one in found] == (await all_of(store))[:2]
    assert found == in_it
    assert [one.id for one in await store.read(_OF_NUMBER, {"number": 7, "most": 1})] == ["a"]
    assert [one.id for one in await store.read(_OF_NUMBER, {"number": 9, "most": 1})] == []
    assert [tuple(one) for one in await store.read(_COUNT, {})] == [(4,)]


async def test_a_query_alone_sees_what_is_committed(store: Store) -> None:
    async with store.transaction() as connection:
        await _ADD.on(connection, [row("a")])
        assert await store.read(_OF_NUMBER, {"number": 7, "most": 9}) == []
        assert len(await _OF_NUMBER.on(connection, {"number": 7, "most": 9})) == 1
    assert len(await store.read(_OF_NUMBER, {"number": 7, "most": 9})) == 1


async def test_another_database_gets_the_statement() -> None:
    class Done:
        rowcount = 1
        inserted_primary_key = (5,)

        def all(self) -> list[str]:
            return ["row"]

    class Other:
        def __init__(self) -> None:
            self.done: list[tuple[object, object]] = []

        async def execute(self, statement: object, rows: object) -> Done:
            self.done.append((statement, rows))
            return Done()

    other = Other()
    connection = cast(Connection, other)
    statement = sa.delete(_things).where(_things.c.id == sa.bindparam("gone"))
    assert await Prepared(statement).on(connection, [{"gone": "a"}]) == 1
    assert await Prepared(statement).on(connection, []) == 0
    insert, select = sa.insert(_things), sa.select(_things)
    assert await Prepared(insert).number(connection, {"id": "a"}) == 5
    assert await Query(select).on(connection, {}) == ["row"]
    assert other.done == [(statement, [{"gone": "a"}]), (insert, {"id": "a"}), (select, {})]

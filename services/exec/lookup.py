"""Looking containers up in the facet's database."""

from collections.abc import AsyncGenerator, Collection
from typing import Any

import sqlalchemy as sa

from portlayer.errors import InvalidArgument, NotFound, Reason
from portlayer.prepared import Query
from portlayer.store import Store
from services.exec.record import Record
from services.exec.schema import CONTAINERS, RECORD, record_of
from services.exec.states import State

# Records read from the database at a time by who may not want all.
READ_AT_ONCE = 250
# Before the newest container: a time that none was made at, and what comes after every ID.
_BEGINNING = (2**63 - 1, "g")


class Lookup:
    """The containers as they are read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def resolve(self, reference: str) -> Record:
        """Return the container of an ID, a name or an unambiguous prefix of an ID.

        Raises NotFound (CONTAINER_NOT_FOUND) and InvalidArgument (AMBIGUOUS_REFERENCE).
        """
        return record_of(await self.find(reference))

    async def find(self, reference: str) -> Any:
        """Return the row of ``RECORD`` of a container, as :meth:`resolve` does its record."""
        name = reference.removeprefix("/")
        wanted = {"reference": reference, "called": name}
        rows = await self._store.read(_BY_REFERENCE, wanted)
        if not rows and reference and all(c in "0123456789abcdef" for c in reference):
            # "g" comes after all digits: a range, which the key's index serves.
            wanted = {"least": reference, "most": reference + "g"}
            rows = await self._store.read(_BY_PREFIX, wanted)
        if not rows:
            raise NotFound(f"No such container: {reference}", Reason.CONTAINER_NOT_FOUND)
        by_id = [row for row in rows if row.id == reference]
        if len(rows) > 1 and not by_id:
            message = f"multiple IDs found with provided prefix: {reference}"
            raise InvalidArgument(message, Reason.AMBIGUOUS_REFERENCE)
        return by_id[0] if by_id else rows[0]

    async def get(self, container_id: str) -> Record | None:
        """Return the container of a full ID, or None."""
        rows = await self._store.read(_BY_ID, {"reference": container_id})
        return record_of(rows[0]) if rows else None

    async def select(self, states: Collection[State] = ()) -> list[Record]:
        """Return all containers, newest first; with states only those in one of them."""
        wanted = {"states": _numbers(states)}
        async with self._store.reading() as connection:
            return [record_of(row) for row in await connection.execute(_IN_STATES, wanted)]

    async def newest_first(
        self, states: Collection[State] = (), *, after: tuple[int, str] | None = None
    ) -> AsyncGenerator[sa.Row[Any], None]:
        """Yield containers' rows, newest first; with ``after`` only those after that position."""
        created_ns, container_id = after or _BEGINNING
        numbers = _numbers(states)
        while True:
            wanted = {"states": numbers, "created_ns": created_ns, "reference": container_id}
            async with self._store.reading() as connection:
                rows = (await connection.execute(_OLDER, wanted)).all()
            for row in rows:
                yield row
            if len(rows) < READ_AT_ONCE:
                return
            created_ns, container_id = rows[-1].created_ns, rows[-1].id

    async def reserved_ids(self) -> set[str]:
        """Return the IDs whose Create has not completed."""
        query = sa.select(CONTAINERS.c.id).where(CONTAINERS.c.ready.is_(False))
        async with self._store.reading() as connection:
            return set((await connection.execute(query)).scalars())

    async def known(self, container_id: str) -> bool:
        """Tell whether there is a record of a full ID, reserved or complete."""
        return bool(await self._store.read(_KNOWN, {"reference": container_id}))

    async def running_boots(self) -> set[str]:
        """Return the boots of the containers that have a VM."""
        states = [state.value for state in State if state.has_vm]
        query = sa.select(CONTAINERS.c.boot_id).where(CONTAINERS.c.state.in_(states))
        async with self._store.reading() as connection:
            return set((await connection.execute(query)).scalars())

    async def counts(self) -> dict[State, int]:
        """Return how many containers are in each state."""
        async with self._store.reading() as connection:
            return {State(state): count for state, count in await connection.execute(_COUNTS)}


def _numbers(states: Collection[State]) -> list[int]:
    """Return states as the database has them; without any, all of them."""
    return [state.value for state in states or State]


def _visible() -> sa.Select[Any]:
    return sa.select(*RECORD).where(CONTAINERS.c.ready.is_(True))


# To put such a statement together takes longer than to read.
_BY_ID = Query(_visible().where(CONTAINERS.c.id == sa.bindparam("reference")))
_BY_REFERENCE = Query(
    _visible().where(
        sa.or_(
            CONTAINERS.c.id == sa.bindparam("reference"),
            CONTAINERS.c.name == sa.bindparam("called"),
        )
    )
)
_BY_PREFIX = Query(
    _visible().where(CONTAINERS.c.id.between(sa.bindparam("least"), sa.bindparam("most"))).limit(2)
)
_KNOWN = Query(sa.select(CONTAINERS.c.id).where(CONTAINERS.c.id == sa.bindparam("reference")))
_IN_STATES = (
    _visible()
    .where(CONTAINERS.c.state.in_(sa.bindparam("states", expanding=True)))
    .order_by(CONTAINERS.c.created_ns.desc())
)
_OLDER = (
    _visible()
    .where(
        CONTAINERS.c.state.in_(sa.bindparam("states", expanding=True)),
        sa.tuple_(CONTAINERS.c.created_ns, CONTAINERS.c.id)
        < sa.tuple_(
            sa.bindparam("created_ns", type_=sa.BigInteger),
            sa.bindparam("reference", type_=sa.String),
        ),
    )
    .order_by(CONTAINERS.c.created_ns.desc(), CONTAINERS.c.id.desc())
    .limit(READ_AT_ONCE)
)
_COUNTS = (
    sa.select(CONTAINERS.c.state, sa.func.count())
    .where(CONTAINERS.c.ready.is_(True))
    .group_by(CONTAINERS.c.state)
)

"""What the facet remembers of the suite as a whole: facts, and positions in others' streams."""

import sqlalchemy as sa

from portlayer.neighbours import tell
from portlayer.prepared import Prepared, Query
from portlayer.store import Store
from services.exec.schema import FACTS, POSITIONS

FACTS_CHANNEL = "vic_exec_facts"

_FACT = Query(sa.select(FACTS.c.value).where(FACTS.c.name == sa.bindparam("called")))
_POSITION = POSITIONS.c.source == sa.bindparam("of")
_READ_POSITION = Query(sa.select(POSITIONS.c.sequence).where(_POSITION))
_MOVE = Prepared(POSITIONS.update().where(_POSITION))
_BEGIN = Prepared(POSITIONS.insert())


class Facts:
    """Facts by name, and positions by source."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def fact(self, name: str) -> str | None:
        """Return what is known under a name of the suite as a whole."""
        rows = await self._store.read(_FACT, {"called": name})
        return rows[0].value if rows else None

    async def set_fact(self, name: str, value: str) -> None:
        """Remember it, and tell the other replicas that it is new."""
        async with self._store.transaction() as connection:
            result = await connection.execute(
                FACTS.update().where(FACTS.c.name == name).values(value=value)
            )
            if not result.rowcount:
                await connection.execute(FACTS.insert().values(name=name, value=value))
            await tell(connection, FACTS_CHANNEL, name)

    async def position(self, source: str) -> int:
        """Return how far another service's stream was taken in."""
        rows = await self._store.read(_READ_POSITION, {"of": source})
        return rows[0].sequence if rows else 0

    async def set_position(self, source: str, sequence: int) -> None:
        """Remember how far another service's stream was taken in."""
        async with self._store.transaction() as connection:
            if not await _MOVE.on(connection, [{"of": source, "sequence": sequence}]):
                await _BEGIN.on(connection, [{"source": source, "sequence": sequence}])

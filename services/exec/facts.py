"""What the facet remembers of the suite as a whole: facts, and positions in others' streams."""

import sqlalchemy as sa

from portlayer.neighbours import tell
from portlayer.store import Store
from services.exec.schema import FACTS, POSITIONS

FACTS_CHANNEL = "vic_exec_facts"

_FACT = sa.select(FACTS.c.value).where(FACTS.c.name == sa.bindparam("called"))


class Facts:
    """Facts by name, and positions by source."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def fact(self, name: str) -> str | None:
        """Return what is known under a name of the suite as a whole."""
        async with self._store.reading() as connection:
            return (await connection.execute(_FACT, {"called": name})).scalar()

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
        query = sa.select(POSITIONS.c.sequence).where(POSITIONS.c.source == source)
        async with self._store.reading() as connection:
            return int((await connection.execute(query)).scalar() or 0)

    async def set_position(self, source: str, sequence: int) -> None:
        """Remember how far another service's stream was taken in."""
        async with self._store.transaction() as connection:
            result = await connection.execute(
                POSITIONS.update().where(POSITIONS.c.source == source).values(sequence=sequence)
            )
            if not result.rowcount:
                await connection.execute(
                    POSITIONS.insert().values(source=source, sequence=sequence)
                )

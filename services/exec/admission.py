"""Admission: the limits of the VCH, and what is let in within them."""

import json
from collections.abc import Callable
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from portlayer.store import Store
from services.exec.facts import Facts
from services.exec.limits import Limits, Size
from services.exec.record import Record
from services.exec.schema import CONTAINERS, FACTS, record_of
from services.exec.states import State

# Name of the fact that holds them.
LIMITS = "limits"


class Admission:
    """Keeps the limits, and lets in what they allow."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def limits(self) -> Limits:
        """Return the limits of the VCH."""
        async with self._store.reading() as connection:
            return await limits_now(connection)

    async def set_limits(self, limits: Limits) -> None:
        """Write the limits of the VCH."""
        await Facts(self._store).set_fact(LIMITS, json.dumps(asdict(limits)))

    async def admit(self, record: Record, wanted: Size, size_of: Callable[[Record], Size]) -> None:
        """Write that a container starts. Raises ResourceExhausted (LIMIT_EXCEEDED), leaving it.

        ``wanted`` is what its VM will be given, ``size_of`` tells what a VM has that runs.

        Looking at what runs and writing are one step, lest two starts take the same room.
        """
        if await self.limits() == Limits():
            return
        running = [state.value for state in State if state.has_vm]
        others = (
            sa.select(CONTAINERS)
            .where(CONTAINERS.c.ready.is_(True))
            .where(CONTAINERS.c.state.in_(running), CONTAINERS.c.id != record.id)
        )
        async with self._store.transaction() as connection:
            limits = await limits_now(connection)
            sizes = [size_of(record_of(row)) for row in await connection.execute(others)]
            limits.admit_vm(wanted, sizes)
            await connection.execute(
                CONTAINERS.update()
                .where(CONTAINERS.c.id == record.id)
                .values(state=State.STARTING.value)
            )


async def limits_now(connection: AsyncConnection) -> Limits:
    """Return the limits as a transaction sees them."""
    query = sa.select(FACTS.c.value).where(FACTS.c.name == LIMITS)
    value = (await connection.execute(query)).scalar()
    return Limits(**json.loads(value)) if value else Limits()

"""Admission: the limits of the VCH, and what is let in within them."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from vic.exec.v1 import container_pb2

from portlayer.neighbours import Connection
from portlayer.prepared import Prepared, Query
from portlayer.store import Store
from services.exec.drivers import Hypervisor
from services.exec.facts import Facts
from services.exec.limits import Limits, Pool, Size
from services.exec.record import Record
from services.exec.schema import CONTAINERS, FACTS, RECORD, record_of
from services.exec.states import State

# Name of the fact that holds them.
LIMITS = "limits"
# A hundred starts at once ask the platform once what others have reserved.
POOL_SECONDS = 2.0


STORED_LIMITS = sa.select(FACTS.c.value).where(FACTS.c.name == LIMITS)
"""The limits as they are stored; see `limits_of`."""
_LIMITS = Query(STORED_LIMITS)
# The other containers that have a VM.
_OTHERS = Query(
    sa.select(*RECORD).where(
        CONTAINERS.c.ready.is_(True),
        CONTAINERS.c.state.in_([sa.literal(state.value) for state in State if state.has_vm]),
        CONTAINERS.c.id != sa.bindparam("its_id"),
    )
)
_STARTING = Prepared(
    CONTAINERS.update()
    .where(CONTAINERS.c.id == sa.bindparam("its_id"))
    .values(state=State.STARTING.value)
)


class Admission:
    """Keeps the limits, and lets in what they allow."""

    def __init__(self, store: Store, hypervisor: Hypervisor, disk_bytes: int) -> None:
        """``disk_bytes`` is the size of a container's disk."""
        self._store = store
        self._hypervisor = hypervisor
        self.disk_bytes = disk_bytes
        # What is known of the platform, and until when on the monotonic clock that is new enough.
        self._pool = Pool(0)
        self._pool_until = 0.0

    async def limits(self) -> Limits:
        """Return the limits of the VCH."""
        return _limits(await self._store.read(_LIMITS, {}))

    async def begin(self, limits: Limits) -> None:
        """Keep these limits where the VCH was never told any. Raises as ``set_limits`` does."""
        if limits != Limits() and await Facts(self._store).fact(LIMITS) is None:
            await self.set_limits(limits)

    async def set_limits(self, limits: Limits) -> None:
        """Write the limits of the VCH. Raises InvalidArgument for those that can't be kept."""
        pool = await self.pool()
        least = self._hypervisor.size(container_pb2.Resources(memory_bytes=1))
        limits.check(least, pool.memory_bytes, self.disk_bytes)
        await Facts(self._store).set_fact(LIMITS, json.dumps(asdict(limits)))

    async def check_possible(self, wanted: Size) -> None:
        """Return when a VM could run at all. Raises ResourceExhausted (LIMIT_EXCEEDED)."""
        (await self.limits()).admit_vm(wanted, await self.pool())

    async def admit(self, record: Record, wanted: Size, size_of: Callable[[Record], Size]) -> None:
        """Write that a container starts. Raises ResourceExhausted (LIMIT_EXCEEDED), leaving it.

        ``wanted`` is what its VM will be given, ``size_of`` tells what a VM has that runs.

        Looking at what runs and writing are one step, lest two starts take the same room.
        """
        pool = await self.pool()
        one = {"its_id": record.id}
        async with self._store.transaction() as connection:
            limits = await limits_now(connection)
            sizes = [size_of(record_of(row)) for row in await _OTHERS.on(connection, one)]
            limits.admit_vm(wanted, pool, sizes)
            await _STARTING.on(connection, [one])

    async def pool(self) -> Pool:
        """Return what there is for all VMs. What others have reserved is known within seconds."""
        now = time.monotonic()
        if now >= self._pool_until:
            info = await self._hypervisor.info()
            self._pool = Pool(info.memory_bytes, info.reserved_by_others_bytes)
            self._pool_until = now + POOL_SECONDS
        return self._pool


async def limits_now(connection: Connection) -> Limits:
    """Return the limits as a transaction sees them."""
    return _limits(await _LIMITS.on(connection, {}))


def _limits(rows: Sequence[Any]) -> Limits:
    return limits_of(rows[0].value if rows else None)


def limits_of(stored: str | None) -> Limits:
    """Return the limits that are stored so; None where there were never any."""
    return Limits(**json.loads(stored)) if stored else Limits()

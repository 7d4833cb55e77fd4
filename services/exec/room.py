"""Room for work that is nearly all processor time: as much at a time as the processors can serve.

What waits for its place has nothing of it yet, no VM and no time-out that runs.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.exec.drivers import Hypervisor

# Sixty starts at once on two cores have so little of them each that no clone is loaded in time, and
# all are booted, at twenty times the cost. The others' turn comes sooner so.
LEAST_AT_ONCE = 8
AT_ONCE_A_CPU = 4


class Room:
    """Places for one kind of work, by the processors of the platform."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self._places: asyncio.Semaphore | None = None

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises VicError where the platform can't be asked."""
        if self._places is None:
            cpus = (await self._hypervisor.info()).cpus
            count = max(LEAST_AT_ONCE, cpus * AT_ONCE_A_CPU)
            self._places = self._places or asyncio.Semaphore(count)
        async with self._places:
            yield

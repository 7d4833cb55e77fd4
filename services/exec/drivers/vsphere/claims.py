"""Boots that a replica of exec is about to let run, whose VMs the others leave alone meanwhile."""

import asyncio
from contextlib import AsyncExitStack

from portlayer.neighbours import Neighbours

# Boots of others' that are waited for at once.
MOST_WAITING = 4


class Claims:
    """This process's boots, and what it asks of others'.

    A VM that is off has ended, or is still to run: vCenter can't tell, and only who makes it knows.
    """

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours
        self._held: dict[str, AsyncExitStack] = {}
        # Whoever waits has a connection of its own, and a hundred may be started elsewhere at once;
        # one that takes long doesn't hold up all others.
        self._waiting = asyncio.Semaphore(MOST_WAITING)

    async def claim(self, boot_id: str) -> None:
        """Keep a boot from being taken for one that has ended. Idempotent. Raises Unavailable."""
        if boot_id in self._held or self._neighbours.alone:
            return
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._neighbours.turn(boot_id))
            self._held[boot_id] = stack.pop_all()

    async def release(self, boot_id: str) -> None:
        """Let others take a boot for what they see of it. Idempotent."""
        held = self._held.pop(boot_id, None)
        if held is not None:
            await held.aclose()

    async def close(self) -> None:
        """Release all."""
        for boot_id in list(self._held):
            await self.release(boot_id)

    async def is_claimed(self, boot_id: str) -> bool:
        """Tell whether a replica that lives is about to let a boot run. Raises Unavailable."""
        return not self._neighbours.alone and await self._neighbours.is_present(boot_id)

    async def released(self, boot_id: str) -> None:
        """Return when nobody claims a boot any more. Raises Unavailable."""
        async with self._waiting, self._neighbours.turn(boot_id):
            return

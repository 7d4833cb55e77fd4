"""Waiting for a state that others change."""

import asyncio
from collections.abc import Callable


class Pulse:
    """Wakes everybody who waits, each time that something changed.

    Who changes state calls :meth:`beat` after it, within the same step of the event loop; who waits
    names the state that it waits for. Nothing is missed, since no other task runs between a look
    at the state and the wait.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Tell that the state changed."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Return when a condition holds; at once when it holds now."""
        while not holds():
            await self._event.wait()

"""Doing several things until the first of them is done."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from portlayer.errors import Unavailable


async def until_first(*parts: Coroutine[Any, Any, None]) -> None:
    """Run coroutines until one returns, and cancel the others.

    Raises a group with what one of them raised.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part) for part in parts]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


class Closing:
    """Ends the streams that would otherwise go on for as long as their other side likes."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End them all."""
        self._closing.set()

    async def watch(self) -> None:
        """Raise Unavailable when the service stops."""
        await self._closing.wait()
        raise Unavailable("the service is stopping")

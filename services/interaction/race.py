"""Doing several things at once, to the end of the first or of all.

No TaskGroups: Python 3.11's forget that they were cancelled when that happens while a child fails,
and what waited for their end goes on as if nobody had asked it to stop.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from portlayer.errors import Unavailable


async def until_first(*parts: Coroutine[Any, Any, None]) -> None:
    """Run coroutines until one returns or fails, and cancel the others.

    Raises what one of them raised.
    """
    await _run(parts, asyncio.FIRST_COMPLETED)


async def all_of(*parts: Coroutine[Any, Any, Any]) -> Sequence[Any]:
    """Run coroutines until all have returned, and return what they did, in their order.

    Where one fails the others are cancelled. Raises what one of them raised.
    """
    tasks = await _run(parts, asyncio.FIRST_EXCEPTION)
    return [task.result() for task in tasks]


async def _run(
    parts: Sequence[Coroutine[Any, Any, Any]], until: str
) -> Sequence["asyncio.Task[Any]"]:
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=until)
    finally:
        await _end(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
    return tasks


async def _end(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    """Cancel tasks and see them end, also when cancelled meanwhile."""
    interrupted = False
    for task in tasks:
        task.cancel()
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError:
            interrupted = True
    if interrupted:
        raise asyncio.CancelledError


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

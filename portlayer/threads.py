"""Work on files in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread and wait for its end, even when cancelled meanwhile.

    A thread can't be stopped; leaving it alone would let it write to files that its caller has
    closed or deleted by then.
    """
    loop = asyncio.get_running_loop()
    return await uncancelled(loop.run_in_executor(None, partial(function, *args, **kwargs)))


async def uncancelled(future: asyncio.Future[T]) -> T:
    """Wait for a thread's work even when cancelled meanwhile, then raise what is due."""
    try:
        await ended(future)
    except asyncio.CancelledError:
        future.cancelled() or future.exception()  # seen; the cancellation goes before it
        raise
    return future.result()


async def ended(future: asyncio.Future[T]) -> None:
    """Wait for the end of something, whatever it is, even when cancelled meanwhile.

    Raises:
        CancelledError: it was, after the end.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled

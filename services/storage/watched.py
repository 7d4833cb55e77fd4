"""Work that tells how it goes, as one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from services.storage.imagec.progress import Progress, ProgressLines

T = TypeVar("T")


async def watched(
    work: Callable[[ProgressLines], Awaitable[T]],
) -> AsyncGenerator[Progress | T, None]:
    """Yield the lines that the work reports and its result last; raise its error.

    Closing the generator cancels the work and waits for its end.
    """
    lines = ProgressLines()

    async def run() -> T:
        try:
            return await work(lines)
        finally:
            lines.end()

    task = asyncio.create_task(run())
    try:
        async for line in lines:
            yield line
        yield await task
    finally:
        task.cancel()
        await asyncio.wait([task])

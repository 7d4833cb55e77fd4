"""What a build tells its client: lines of JSON, as they come."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from gateway.call import json_line
from gateway.errors import ApiError, describe
from gateway.translate.progress import error_line
from portlayer.errors import VicError

log = logging.getLogger(__name__)

_AHEAD = 64
"""Lines that may wait for a slow client."""

_HELD_BYTES = 1 << 20
"""Of what a quiet build's steps said last, which is told where one fails."""


class StepFailed(Exception):
    """A command ended with another code than 0."""

    def __init__(self, command: str, code: int) -> None:
        super().__init__(f"The command '{command}' returned a non-zero code: {code}")
        self.code = code


class Output:
    """Where the steps tell what they do."""

    def __init__(self, *, quiet: bool) -> None:
        """Of a quiet build nothing is told but its end, and where it fails how it came to that."""
        self._quiet = quiet
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._unread = False
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)

    async def text(self, text: str) -> None:
        """Some text of the builder's own, or of a command."""
        await self.line({"stream": text})

    async def line(self, line: dict[str, Any]) -> None:
        """A line of another kind."""
        told = json_line(line)
        if not self._quiet:
            await self._put(told)
            return
        self._held.append(told)
        self._held_bytes += len(told)
        while self._held_bytes > _HELD_BYTES:
            self._held_bytes -= len(self._held.popleft())

    async def last(self, text: str) -> None:
        """What a quiet build tells as well."""
        await self._put(json_line({"stream": text}))

    async def _put(self, line: bytes | None) -> None:
        # What the end of the work tells where nobody is left has no place to wait in.
        if not self._unread:
            await self._lines.put(line)

    async def told(self, work: Callable[[], Awaitable[None]]) -> AsyncGenerator[bytes, None]:
        """Do the work, and give its lines. Closing this cancels it and waits for its end.

        What fails before a line was told is raised; afterwards it is the last line.
        """

        async def run() -> None:
            try:
                await work()
            finally:
                await self._put(None)

        task = asyncio.create_task(run())
        begun = False
        try:
            while (line := await self._lines.get()) is not None:
                begun = True
                yield line
            try:
                await task
            except (ApiError, VicError, StepFailed) as error:
                if not begun and not self._held and not isinstance(error, StepFailed):
                    raise
                for line in self._held:
                    yield line
                yield json_line(_failure(error))
            except Exception:
                if not begun and not self._held:
                    raise
                log.exception("a build failed")
                yield json_line(error_line("internal error"))
        finally:
            self._unread = True
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # seen


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, StepFailed):
        line = error_line(str(error))
        line["errorDetail"]["code"] = error.code
        return line
    message = error.message if isinstance(error, ApiError) else ""
    return error_line(describe(error, {}).message if isinstance(error, VicError) else message)

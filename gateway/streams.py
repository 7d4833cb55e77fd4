"""Answers that go on: their head goes out at once, and they end when the client does."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.errors import bad_parameter
from portlayer.errors import VicError

Message = TypeVar("Message")


async def until_first(*coroutines: Coroutine[None, None, None]) -> None:
    """Run all until one ends, then cancel the others and see them end.

    Raises what the first to fail raised. No TaskGroup: Python 3.11's forgets that it was cancelled
    when that happens while a child fails.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _cancelled(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel tasks and wait for their ends, also when cancelled meanwhile."""
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


class StreamResponse(Response):
    """Sends pieces as they come. The head is sent before the first piece exists.

    When the client disconnects the generator is closed at once, which ends whatever it reads from.
    """

    def __init__(self, pieces: AsyncGenerator[bytes, None], media_type: str) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await until_first(self._send(send), disconnected(receive))
        finally:
            await self._pieces.aclose()

    async def _send(self, send: Send) -> None:
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def disconnected(receive: Receive) -> None:
    """Wait until the client has gone; what it still sends is left out."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(wanted: Coroutine[None, None, Message], receive: Receive) -> Message:
    """Return what a client waits for before it gets a head, or end that when the client has gone.

    Raises ApiError then, which nobody reads.
    """
    found: list[Message] = []

    async def wait() -> None:
        found.append(await wanted)

    await until_first(wait(), disconnected(receive))
    if not found:
        raise bad_parameter("the client went away before there was an answer")
    return found[0]


async def told(
    first: Message | None, messages: AsyncGenerator[Message, None]
) -> AsyncGenerator[Message | VicError, None]:
    """What a facet says, its first message taken already; its error last, as one more message."""
    async with aclosing(messages):
        message = first
        try:
            while message is not None:
                yield message
                message = await anext(messages, None)
        except VicError as error:
            yield error

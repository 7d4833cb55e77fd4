"""A client on a process's streams, over a connection of its own: what attach and exec share."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from vic.interaction.v1.interaction_pb2 import AttachResponse, Output, StartExecResponse

from gateway.streams import until_first
from gateway.translate.detach import DetachKeys
from gateway.translate.framing import frame

Request = TypeVar("Request")


class Connection(Protocol):
    """What a client is reached by: a hijacked connection, or a WebSocket on one."""

    gone: asyncio.Event

    async def read(self) -> bytes:
        """Some input; empty at its end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send output, at the client's pace."""
        ...


Answers = AsyncGenerator[AttachResponse, None] | AsyncGenerator[StartExecResponse, None]

# How long a process may take over what a client sent before it went away or detached.
_LEFT_OVER_INPUT_SECONDS = 10.0


class ProcessClient(Generic[Request]):
    """Carries a client's input to the facet, and the facet's output to the client.

    ``request`` makes a message of ``start`` or of a piece of ``stdin``; ``takes_input`` is whether
    the process is to get the client's input; ``keys`` are those by which it detaches; ``raw`` is
    whether the client gets output without frames.
    """

    def __init__(
        self,
        request: Callable[..., Request],
        *,
        raw: bool,
        takes_input: bool,
        keys: DetachKeys | None,
    ) -> None:
        self.raw = raw
        self._request = request
        self.takes_input = takes_input
        self._keys = keys
        self._connection: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        # That input is safe only the facet knows: gRPC takes it long before it has sent it.
        self._handed_over = asyncio.Event()
        self._detached = asyncio.Event()

    @property
    def detached(self) -> bool:
        """Whether the client has typed the keys by which it detaches."""
        return self._detached.is_set()

    async def requests(
        self, start: object, allowed: Awaitable[None] | None = None
    ) -> AsyncIterator[Request]:
        """What the facet reads: the start, then input; its end is the client's half-close.

        Detaching is an end as well: with a terminal, the facet leaves the process's input open.
        The start waits until it is ``allowed``; what that raises ends the call.
        """
        if allowed is not None:
            await allowed
        yield self._request(start=start)
        if not self.takes_input:
            return
        connection = await self._connection
        while data := await connection.read():
            detached = False
            if self._keys is not None:
                data, detached = self._keys.scan(data)
            if data:
                yield self._request(stdin=data)
            if detached:
                self._detached.set()
                return

    async def carry(self, connection: Connection, answers: Answers) -> None:
        """Carry bytes both ways until the output ends, the client goes or detaches.

        Raises what the facet ends the stream with.
        """
        self._connection.set_result(connection)
        try:
            await until_first(
                self._output(connection, answers),
                self._until_gone(connection),
                self._until_detached(),
            )
        finally:
            await answers.aclose()

    def form(self, output: Output) -> bytes:
        """A piece of output as the client takes it."""
        return output.data if self.raw else frame(output.stream, output.data)

    async def _output(self, connection: Connection, answers: Answers) -> None:
        """Write the output; once the client has gone it is read all the same, and dropped."""
        async for answer in answers:
            if answer.HasField("output"):
                await connection.write(self.form(answer.output))
            elif answer.HasField("input_ended"):
                self._handed_over.set()

    async def _until_gone(self, connection: Connection) -> None:
        """Until nobody reads the output any more and the process has what the client had sent."""
        await connection.gone.wait()
        if self.takes_input:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEFT_OVER_INPUT_SECONDS):
                    await self._handed_over.wait()

    async def _until_detached(self) -> None:
        """Until a client that has detached should long be let go; the facet does that itself."""
        await self._detached.wait()
        await asyncio.sleep(_LEFT_OVER_INPUT_SECONDS)

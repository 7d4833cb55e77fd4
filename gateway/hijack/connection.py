"""A connection that HTTP has let go of."""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress

from gateway.hijack.hangup import watching_for_hangup
from gateway.hijack.taken import taken

Handler = Callable[["HijackedConnection"], Coroutine[None, None, None]]

# How long a peer that was told that no more output comes is given to close as well. Its input is
# read meanwhile: a close with unread input makes the kernel send a reset, which overtakes output.
_LINGER_SECONDS = 2.0

# How long output waits for a peer that has not read the head yet. One on a busy machine may have to
# wait seconds for a CPU; too little loses output to some clients, too much costs nobody anything.
_HEAD_SECONDS = 10.0

# How much of the peer's input asyncio buffers before it stops reading the socket (twice this).
READ_LIMIT = 128 * 1024

# What a lost connection's socket is emptied of; the kernel buffers no more of TCP by default.
_LEFT_AT_MOST = 8 * 1024 * 1024

# Output the kernel hasn't taken yet, above which writers wait.
WRITE_HIGH_WATER = 512 * 1024

logger = logging.getLogger(__name__)


class HijackedStreams(asyncio.StreamReaderProtocol):
    """Streams that give all of the peer's input before its end, however the connection was lost.

    asyncio's own forget it: what was read already hides behind the error of a peer that went with
    output unread, and what the kernel still holds is closed unseen when a write fails.
    """

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._input = reader
        self._input_ended = False
        self._carrier: asyncio.BaseTransport | None = None
        self.lost: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._carrier = transport
        super().connection_made(transport)

    def eof_received(self) -> bool | None:
        """Take in the peer's half-close."""
        self._input_ended = True
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: input is at its end, whatever the reason; writers learn it from ``drain``."""
        if not self._input_ended:
            self._take_what_is_left()
        super().connection_lost(None)
        self.lost()

    def _take_what_is_left(self) -> None:
        assert self._carrier is not None
        if self._carrier.get_extra_info("sslcontext") is not None:
            return  # it couldn't be deciphered any more
        descriptor = self._carrier.get_extra_info("socket").fileno()
        with suppress(OSError):  # there is nothing more, or the reset is met again
            for _ in range(_LEFT_AT_MOST // READ_LIMIT):
                data = os.read(descriptor, READ_LIMIT)
                if not data:
                    return
                self._input.feed_data(data)


class HijackedConnection:
    """What a hijack's handler reads and writes: raw bytes both ways, with half-close.

    ``read`` gives ``b""`` once the peer has closed its write side; that says nothing about whether
    it still reads. ``gone`` is set when it has gone for good: nobody will read what is written,
    but what it sent before may still be waiting to be read.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        closed: Callable[["HijackedConnection"], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._closed = closed
        self._handling: asyncio.Task[None] | None = None
        self._ending = False
        self._head_taken = False
        self.gone = asyncio.Event()

    async def read(self, limit: int = 64 * 1024) -> bytes:
        """Up to ``limit`` bytes of the peer's input; empty at its end, also if it was cut off."""
        return await self._reader.read(limit)

    async def write(self, data: bytes) -> None:
        """Send, and wait while the peer is slower than we are. Does nothing once it has gone."""
        if not self._head_taken:
            await taken(self._writer.get_extra_info("socket"), _HEAD_SECONDS)
            self._head_taken = True
        if self.gone.is_set():
            return
        self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError:
            self.gone.set()

    async def run(self, head: bytes, handler: Handler) -> None:
        """Write the response's head, let ``handler`` have the connection, then close it.

        When the peer goes away the handler is not cancelled: it may have input left to deliver.
        It is for the handler to watch ``gone``.
        """
        sock = self._writer.get_extra_info("socket")
        with ExitStack() as watching:
            try:
                # It takes a descriptor, of which there may be none left.
                watching.enter_context(watching_for_hangup(sock.fileno(), self._hung_up))
                self._writer.write(head)
                self._handling = asyncio.create_task(handler(self))
                if self._ending:
                    self._handling.cancel()
                await self._handling
            except asyncio.CancelledError:
                if not self._ending:
                    self._writer.transport.abort()
                    raise
            except Exception:
                logger.exception("A hijacked connection failed")
            finally:
                if self._handling is not None:
                    self._handling.cancel()
                await self._close()
                self._closed(self)

    def shutdown(self) -> None:
        """End the handler; uvicorn calls this on every connection when it stops."""
        self._ending = True
        if self._handling is None:
            return
        if self._handling.done():
            self._writer.transport.abort()
        self._handling.cancel()

    def _hung_up(self) -> None:
        self.gone.set()
        # A writer that waits for a peer that reads no more would wait for ever.
        if self._writer.transport.get_write_buffer_size() > 0:
            self._writer.transport.abort()

    async def _close(self) -> None:
        try:
            if self._writer.can_write_eof() and not self.gone.is_set() and not self._ending:
                await self._finish()
        except ConnectionError:
            self.gone.set()  # it went while we said goodbye, which is just as well
        finally:
            self._writer.close()

    async def _finish(self) -> None:
        """Let the peer take the last bytes at its own pace, say that no more come, linger."""
        self._writer.transport.set_write_buffer_limits(high=0)
        await self._writer.drain()
        self._writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while await self._reader.read(READ_LIMIT):
                    pass

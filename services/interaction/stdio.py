"""One stream of a tether that carries the standard streams of a process."""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from vic.tether.v1 import tether_pb2

from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    Reason,
    ResourceExhausted,
    Unavailable,
)
from services.interaction.output import MAX_CHUNK, Chunk, Stream
from services.interaction.pace import Pace
from services.interaction.pulse import Pulse
from services.interaction.streams import ProcessStreams
from services.interaction.timestamps import to_ns

log = logging.getLogger("vic.interaction.stdio")

Read = Callable[[], Awaitable[tether_pb2.StdioRequest | None]]
"""Returns the tether's next message, or None after its half-close."""
Write = Callable[[tether_pb2.StdioResponse], Awaitable[None]]

# Read ahead of what is being stored, so that both go on at once and small chunks are stored
# together. A chunk costs some memory of its own, however small.
_AHEAD: Final = MAX_CHUNK
_CHUNK_COST: Final = 256

# An acknowledgement is due when the tether could drop so much, when output ends, or after a while:
# a guest without KVM pays a millisecond of CPU for each. A quarter of what the tether keeps, so
# that a fast one never waits for it.
_ACKNOWLEDGE_BYTES: Final = 2 * MAX_CHUNK
_ACKNOWLEDGE_SECONDS: Final = 0.1

# With so much input on its way, what comes is collected into whole messages until some of it was
# taken: a client's pieces are 32 KiB, and to such a guest a message costs as much as its bytes.
# What a person types is never so much, and waits for nothing.
_INPUT_AT_ONCE: Final = 64 * 1024

_STREAMS: Final[dict[int, Stream]] = {stream.value: stream for stream in Stream}


class StdioConnection:
    """Takes output in and acknowledges it, and sends input, on one stream."""

    def __init__(self, streams: ProcessStreams, pace: Pace, read: Read, write: Write) -> None:
        self._streams = streams
        self._pace = pace
        self._read = read
        self._write = write
        self._inbox: list[Chunk] = []
        self._size = 0
        # Nothing more comes on this stream; nothing more comes at all.
        self._closed = False
        self._ended = False
        self._stored = False
        self._changed = Pulse()
        # What was sent on this stream.
        self._acknowledged = 0
        self._unacknowledged_bytes = 0
        self._overdue = True
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._end_sent = False

    async def run(self, stdin_offset: int) -> None:
        """Serve the stream until the tether half-closes it, or a newer one takes over.

        Raises a group with FailedPrecondition when a newer one does, InvalidArgument when a message
        is wrong, ResourceExhausted (STORE_FULL) or Unavailable when output can't be stored.
        """
        streams = self._streams
        generation = streams.connect()
        try:
            await self._catch_up()
            streams.stdin.resume(stdin_offset)
            self._sent = stdin_offset
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(generation))
                receiving = group.create_task(self._receive())
                hanging_up = group.create_task(self._hang_up(receiving))
                sending = group.create_task(self._send())
                await self._store()
                self._stored = True
                streams.changed.beat()
                await sending
                watching.cancel()
                hanging_up.cancel()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            streams.disconnect()

    async def _watch(self, generation: int) -> None:
        streams = self._streams
        await streams.carried.wait_for(lambda: streams.generation != generation)
        raise FailedPrecondition("a newer stream of this process has replaced this one")

    async def _hang_up(self, receiving: asyncio.Task[None]) -> None:
        """Stop reading when the VM is gone: what it sent last may never be complete."""
        await self._streams.carried.wait_for(lambda: self._streams.hung_up)
        receiving.cancel()
        self._closed = True
        self._changed.beat()

    async def _receive(self) -> None:
        while (message := await self._read()) is not None:
            await self._pace.message()
            match message.WhichOneof("message"):
                case "output":
                    chunk = self._chunk(message.output)
                    self._inbox.append(chunk)
                    self._size += len(chunk.data) + _CHUNK_COST
                    self._changed.beat()
                    if self._size >= _AHEAD:
                        await self._changed.wait_for(lambda: self._size < _AHEAD)
                case "end":
                    self._ended = True
                    self._changed.beat()
                case "stdin_acknowledged":
                    self._take_acknowledgement(message.stdin_acknowledged)
                case _:
                    raise InvalidArgument("this message has no place here")
        self._closed = True
        self._changed.beat()

    def _chunk(self, output: tether_pb2.OutputChunk) -> Chunk:
        if self._ended:
            raise InvalidArgument("output after its end")
        # Read once: each look at the field copies it.
        data = output.data
        if len(data) > MAX_CHUNK:
            raise InvalidArgument(f"more than {MAX_CHUNK} bytes of output in one message")
        stream = _STREAMS.get(output.stream)
        if stream is None or not output.sequence:
            raise InvalidArgument("a chunk needs a stream and a number")
        return Chunk(stream, output.sequence, to_ns(output.time), data)

    def _take_acknowledgement(self, message: tether_pb2.StdinAcknowledged) -> None:
        stdin = self._streams.stdin
        stdin.acknowledge(message.offset)
        if message.closed:
            stdin.close()

    async def _store(self) -> None:
        streams = self._streams
        while True:
            await self._changed.wait_for(lambda: bool(self._inbox) or self._ended or self._closed)
            chunks, self._inbox, self._size = self._inbox, [], 0
            self._changed.beat()
            if chunks:
                await self._take_in(chunks)
                self._note_stored(chunks)
                await streams.writable()
            elif self._ended and not streams.ended:
                streams.finish()
            elif self._closed:
                return
            else:
                await self._changed.wait_for(lambda: bool(self._inbox) or self._closed)

    async def _catch_up(self) -> None:
        try:
            await self._streams.catch_up()
        except OSError as error:
            log.error("cannot read a log", exc_info=error)
            raise Unavailable("the log cannot be read") from error

    async def _take_in(self, chunks: list[Chunk]) -> None:
        try:
            await self._streams.take_in(chunks)
        except OSError as error:
            log.error("cannot store output", exc_info=error)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ResourceExhausted("no space for the log", Reason.STORE_FULL) from error
            raise Unavailable("the log cannot be written") from error

    def _note_stored(self, chunks: list[Chunk]) -> None:
        self._unacknowledged_bytes += sum(len(chunk.data) for chunk in chunks)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_ACKNOWLEDGE_SECONDS, self._be_overdue)
        self._streams.changed.beat()

    def _be_overdue(self) -> None:
        self._timer = None
        self._overdue = True
        self._streams.changed.beat()

    def _has_to_acknowledge(self) -> bool:
        return self._streams.stored > self._acknowledged and (
            self._unacknowledged_bytes >= _ACKNOWLEDGE_BYTES
            or self._overdue
            or self._ended
            or self._closed
        )

    async def _send(self) -> None:
        """Send acknowledgements first, then input; return when all output is acknowledged."""
        streams = self._streams
        while True:
            await streams.changed.wait_for(self._has_to_send)
            if self._has_to_acknowledge():
                self._acknowledged = streams.stored
                self._unacknowledged_bytes = 0
                self._overdue = False
                acknowledged = tether_pb2.OutputAcknowledged(sequence=self._acknowledged)
                await self._write(tether_pb2.StdioResponse(output_acknowledged=acknowledged))
            elif self._has_input() and (piece := streams.stdin.piece(self._next_input())):
                chunk = tether_pb2.StdinChunk(offset=self._next_input(), data=piece)
                self._sent = chunk.offset + len(piece)
                await self._write(tether_pb2.StdioResponse(stdin=chunk))
            elif self._has_to_end():
                self._end_sent = True
                end = tether_pb2.StdinEnd(offset=self._next_input())
                await self._write(tether_pb2.StdioResponse(stdin_end=end))
            else:
                return

    def _next_input(self) -> int:
        """Return the offset of the input that is to be sent next."""
        return max(self._sent, self._streams.stdin.start)

    def _has_to_send(self) -> bool:
        return self._has_to_acknowledge() or self._has_input() or self._has_to_end() or self._stored

    def _has_input(self) -> bool:
        """Return whether there is input that is not to wait for more."""
        stdin = self._streams.stdin
        offset = self._next_input()
        return stdin.reaches_beyond(offset) and (
            stdin.ended
            or offset - stdin.start < _INPUT_AT_ONCE
            or stdin.reaches_beyond(offset + MAX_CHUNK - 1)
        )

    def _has_to_end(self) -> bool:
        stdin = self._streams.stdin
        return stdin.ended and not stdin.closed and not self._end_sent

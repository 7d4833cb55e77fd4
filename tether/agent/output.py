"""Output of a process: read from its pipes, numbered, kept until it was acknowledged."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import time
from collections import deque
from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp
from vic.tether.v1.process_pb2 import STD_STREAM_STDERR, STD_STREAM_STDOUT, StdStream
from vic.tether.v1.tether_pb2 import OutputChunk

from tether.agent.wire import output_request

# What is kept at most; then the pipe fills, and the process waits (mission: 4 MiB).
WINDOW_BYTES = 4 * 1024 * 1024
# An emulated guest pays for each message, and for each turn that the process and the agent take.
CHUNK_BYTES = 512 * 1024
# Chunks ahead of the stream: one to send while the next one is read. More would only make chunks
# smaller than they could be, since a pipe that isn't read collects.
_READ_AHEAD = 2
# The kernel hands on a line that is written to a terminal in pieces, its end apart. The rest of a
# piece that is no whole line is waited for so long: much for the kernel, nothing for an eye.
_GATHER_SECONDS = 0.005
# As much as a terminal holds at once: who reads so much is behind, and need not wait for more.
_GATHER_BYTES = 4095
# As much as a pipe holds at most, unless root made it larger (pipe(7)). A process that has ended
# left no more in it; who holds it still and goes on writing is not read for ever.
_PIPE_BYTES = 1024 * 1024
_NANO = 1_000_000_000
_STREAMS: dict[str, StdStream] = {
    "stdout": STD_STREAM_STDOUT,
    "stderr": STD_STREAM_STDERR,
    "terminal": STD_STREAM_STDOUT,
}


class _Source:
    """One descriptor that output is read from."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.descriptor = descriptor
        self.stream = _STREAMS[name]
        self.terminal = name == "terminal"
        self.reading = False
        # Set once its process has ended: what may still be read of it.
        self.left: int | None = None
        # A terminal's output that waits for the rest of its line, and until when.
        self.gathered = b""
        self.timer: asyncio.TimerHandle | None = None


class OutputBuffer:
    """Reads a process's output streams while there is room, and hands chunks on in order."""

    def __init__(self, streams: dict[str, int], on_settled: Callable[[], None]) -> None:
        """Read the output descriptors among ``streams``, by name; this object closes them.

        ``on_settled`` is called once, when all output has been read and acknowledged.
        """
        self._loop = asyncio.get_running_loop()
        self._sources = [
            _Source(name, descriptor) for name, descriptor in streams.items() if name in _STREAMS
        ]
        self._on_settled = on_settled
        # Chunks that were not acknowledged, with the size of each; those from _sent on are unsent.
        self._kept: deque[tuple[int, int, bytes]] = deque()
        self._kept_bytes = 0
        self._sent = 0
        self._streaming = False
        # Whether the stream has enough to send for now.
        self._ahead = False
        self._next_sequence = 1
        self._changed = asyncio.Event()
        self._settled = False
        for source in self._sources:
            os.set_blocking(source.descriptor, False)
        self._regulate()

    @property
    def ended(self) -> bool:
        """Whether nobody holds a writing end any more."""
        return not self._sources

    @property
    def settled(self) -> bool:
        """Whether all output was read and acknowledged, or given up."""
        return self._settled

    @property
    def end_sequence(self) -> int:
        """The number that the next chunk would have."""
        return self._next_sequence

    def rewind(self) -> None:
        """A new stream begins: send again from the first chunk that was not acknowledged."""
        self._sent = 0
        self._streaming = True
        self._regulate()
        self._changed.set()

    def suspend(self) -> None:
        """No stream at the moment: read on, as far as the window allows."""
        self._streaming = False
        self._regulate()

    async def first(self) -> None:
        """Return when there is output, or there will be none."""
        while not self._kept and not self.ended:
            self._changed.clear()
            await self._changed.wait()

    async def next(self) -> bytes | None:
        """The next request to send, or None when all of the output was sent."""
        while self._sent == len(self._kept):
            if self.ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        request = self._kept[self._sent][2]
        self._sent += 1
        self._regulate()
        return request

    def acknowledge(self, sequence: int) -> None:
        """Everything up to and with this chunk is stored."""
        while self._kept and self._kept[0][0] <= sequence:
            self._kept_bytes -= self._kept.popleft()[1]
            self._sent = max(0, self._sent - 1)
        self._regulate()
        self._check_settled()

    def abandon(self) -> None:
        """Nobody will ever ask for the output again: forget it, and read no more."""
        for source in list(self._sources):
            source.gathered = b""
            self._finish(source)
        self._kept.clear()
        self._kept_bytes = self._sent = 0
        self._check_settled()

    def end_soon(self, seconds: float) -> None:
        """The process has ended: don't wait longer than this for others who hold its pipes.

        What is in them by then is read all the same, when there is room for it.
        """
        self._loop.call_later(seconds, self._end_now)

    def _end_now(self) -> None:
        for source in list(self._sources):
            source.left = _PIPE_BYTES
            self._finish_if_empty(source)

    def _finish_if_empty(self, source: _Source) -> None:
        """End a source whose process has ended, once there is nothing more to be read."""
        if source.left is not None and (source.left <= 0 or not _readable(source.descriptor)):
            self._finish(source)

    def _regulate(self) -> None:
        room = self._kept_bytes < WINDOW_BYTES
        # To read on only once all was sent costs half of the system calls and of the interpreter's
        # work that it takes to begin and to stop with each chunk.
        unsent = len(self._kept) - self._sent
        self._ahead = self._streaming and unsent >= (1 if self._ahead else _READ_AHEAD)
        for source in self._sources:
            wanted = room and not self._ahead
            if wanted and not source.reading:
                self._loop.add_reader(source.descriptor, self._read, source)
            elif source.reading and not wanted:
                self._loop.remove_reader(source.descriptor)
            source.reading = wanted

    def _read(self, source: _Source) -> None:
        try:
            data = os.read(source.descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal's way to say that nobody is left
                raise
            data = b""
        if not data:
            self._finish(source)
            return
        if source.terminal:
            self._gather(source, data)
        else:
            self._keep(source, data)
        if source.left is not None:
            source.left -= len(data)
            self._finish_if_empty(source)

    def _gather(self, source: _Source, data: bytes) -> None:
        """Keep what a terminal shows in whole lines, as far as they come soon."""
        source.gathered += data
        if data.endswith(b"\n") or len(source.gathered) >= _GATHER_BYTES:
            self._keep_gathered(source)
        elif source.timer is None:
            source.timer = self._loop.call_later(_GATHER_SECONDS, self._keep_gathered, source)

    def _keep_gathered(self, source: _Source) -> None:
        if source.timer is not None:
            source.timer.cancel()
            source.timer = None
        data, source.gathered = source.gathered, b""
        if data:
            self._keep(source, data)

    def _keep(self, source: _Source, data: bytes) -> None:
        now = time.time_ns()
        chunk = OutputChunk(
            stream=source.stream,
            sequence=self._next_sequence,
            time=Timestamp(seconds=now // _NANO, nanos=now % _NANO),
        )
        self._kept.append((self._next_sequence, len(data), output_request(chunk, data)))
        self._kept_bytes += len(data)
        self._next_sequence += 1
        self._regulate()
        self._changed.set()

    def _finish(self, source: _Source) -> None:
        if source not in self._sources:
            return
        self._sources.remove(source)
        if source.reading:
            self._loop.remove_reader(source.descriptor)
        os.close(source.descriptor)
        self._keep_gathered(source)
        self._changed.set()
        self._check_settled()

    def _check_settled(self) -> None:
        if self.ended and not self._kept and not self._settled:
            self._settled = True
            self._on_settled()


def _readable(descriptor: int) -> bool:
    """Tell whether there is something to read, be it the end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))

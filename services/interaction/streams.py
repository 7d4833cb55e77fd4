"""Standard streams of one process: where its output goes, and where its input comes from."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from services.interaction.logstore import ContainerLog
from services.interaction.output import Chunk, Stream
from services.interaction.pulse import Pulse
from services.interaction.stdin import StdinBuffer

log = logging.getLogger("vic.interaction.streams")

# What a client that reads slowly may leave unread before the process has to wait.
CLIENT_LIMIT: Final = 1024 * 1024


class OutputQueue:
    """What one attached client has not read yet."""

    def __init__(self, wanted: frozenset[Stream], progress: Pulse) -> None:
        self._wanted = wanted
        # Beats when there is room again.
        self._progress = progress
        self._changed = Pulse()
        self._chunks: list[Chunk] = []
        self._size = 0
        self._ended = False

    @property
    def full(self) -> bool:
        """Whether the process has to wait for this client."""
        return self._size >= CLIENT_LIMIT

    def put(self, chunks: Sequence[Chunk]) -> None:
        """Add output; there is always room for one batch more."""
        for chunk in chunks:
            if chunk.stream in self._wanted:
                self._chunks.append(chunk)
                self._size += len(chunk.data)
        self._changed.beat()

    def end(self) -> None:
        """Tell that nothing more comes."""
        self._ended = True
        self._changed.beat()

    async def take(self) -> Sequence[Chunk]:
        """Return all that there is; wait when there is nothing; return nothing at the end."""
        await self._changed.wait_for(lambda: bool(self._chunks) or self._ended)
        was_full = self.full
        chunks, self._chunks, self._size = self._chunks, [], 0
        if was_full:
            self._progress.beat()
        return chunks


class ProcessStreams:
    """The streams of one process of one boot, for as long as it lives.

    Output is stored, then given to all attached clients; both in one step, so that a client that
    reads the log and goes on with live output finds no gap and nothing twice. ``changed`` beats
    when anything here changed.
    """

    def __init__(self) -> None:
        self._log: ContainerLog | None = None
        self._boot_id = ""
        self._hung_up = False
        self._queues: set[OutputQueue] = set()
        self._turn = asyncio.Lock()
        self.changed = Pulse()
        self.carried = Pulse()
        """Beats when a stream of the tether has to end; apart, since output changes often."""
        self.stdin = StdinBuffer(self.changed)
        self.stored = 0
        """Number of the last chunk that is stored."""
        self.ended = False
        """Whether all output there will ever be is stored."""
        self.connections = 0
        """Streams of the tether that carry this process's output; more than one only briefly."""
        self.generation = 0
        """Grows with each such stream: an older one has to end."""

    def begin(self, boot_id: str, log: ContainerLog | None) -> None:
        """Tell under which boot the process runs, and where its output is stored, if at all."""
        self._boot_id = boot_id
        self._log = log

    @property
    def hung_up(self) -> bool:
        """Whether the VM is gone, so that nothing more is to be read from its tether."""
        return self._hung_up

    def connect(self) -> int:
        """Begin a stream of the tether, which has to end; return its generation."""
        self.generation += 1
        self.connections += 1
        self.carried.beat()
        return self.generation

    async def catch_up(self) -> None:
        """Find out what of the process's output is stored. Raises OSError."""
        if self._log is not None and not self.stored:
            self.stored = max(self.stored, await self._log.last_sequence(self._boot_id))

    def disconnect(self) -> None:
        """End a stream of the tether."""
        self.connections -= 1
        if self._hung_up and not self.connections:
            self.finish()
        self.changed.beat()

    def hang_up(self) -> None:
        """Tell that the VM is gone: what was received is stored, and that was all."""
        self._hung_up = True
        if not self.connections:
            self.finish()
        self.carried.beat()

    async def take_in(self, chunks: Sequence[Chunk]) -> None:
        """Store what is new among chunks and give it to the clients.

        Raises OSError when it can't be stored: then no client has seen it either. What has begun
        ends also when the caller is cancelled.
        """
        await asyncio.shield(self._take_in(chunks))

    async def _take_in(self, chunks: Sequence[Chunk]) -> None:
        async with self._turn:
            fresh = self._fresh(chunks)
            while fresh:
                count = len(fresh)
                if self._log is not None:
                    count = await self._log.append(self._boot_id, fresh)
                done, fresh = fresh[:count], fresh[count:]
                self.stored = done[-1].sequence
                for queue in self._queues:
                    queue.put(done)
                self.changed.beat()

    def _fresh(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """Return what is not stored yet: a tether sends again what was not acknowledged."""
        fresh = []
        last = self.stored
        for chunk in chunks:
            if chunk.sequence <= last:
                continue
            if last and chunk.sequence != last + 1:
                log.warning("output is missing", extra={"after": last, "next": chunk.sequence})
            last = chunk.sequence
            fresh.append(chunk)
        return fresh

    async def writable(self) -> None:
        """Return when no attached client is behind."""
        if any(queue.full for queue in self._queues):
            await self.changed.wait_for(lambda: not any(queue.full for queue in self._queues))

    def finish(self) -> None:
        """Tell everybody that all output was taken in."""
        self.ended = True
        for queue in self._queues:
            queue.end()
        self.changed.beat()

    def subscribe(self, wanted: frozenset[Stream]) -> OutputQueue:
        """Add a client; it gets what is taken in from now on."""
        queue = OutputQueue(wanted, self.changed)
        self._queues.add(queue)
        if self.ended:
            queue.end()
        return queue

    def unsubscribe(self, queue: OutputQueue) -> None:
        """Drop a client and what it has not read."""
        self._queues.discard(queue)
        self.changed.beat()

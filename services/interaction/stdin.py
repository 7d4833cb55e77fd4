"""Standard input of one process: merged from all clients, kept until the process has taken it."""

import asyncio
import logging
from typing import Final

from services.interaction.output import MAX_CHUNK
from services.interaction.pulse import Pulse

log = logging.getLogger("vic.interaction.stdin")

# Bytes on their way to the process; beyond it clients are not read.
LIMIT: Final = 1024 * 1024


class StdinBuffer:
    """Bytes between the clients and the process's pipe, numbered from the first one.

    What the tether has not acknowledged is kept, for it may have to be sent again on another
    stream. ``changed`` beats whenever there is something new for whoever sends it.
    """

    def __init__(self, changed: Pulse) -> None:
        self._changed = changed
        self._data = bytearray()
        self._start = 0
        self._resumed = False
        self._turn = asyncio.Lock()
        self.ended = False
        """Whether no more input comes."""
        self.closed = False
        """Whether the process wants no more input; what is written then is dropped."""

    @property
    def start(self) -> int:
        """Offset of the first byte that is kept."""
        return self._start

    @property
    def end(self) -> int:
        """Offset after the last byte there is."""
        return self._start + len(self._data)

    async def write(self, data: bytes) -> None:
        """Add a client's bytes, in one piece, when there is room; drop them after the end."""
        async with self._turn:
            await self._changed.wait_for(
                lambda: len(self._data) < LIMIT or self.closed or self.ended
            )
            if self.closed or self.ended:
                return
            self._data += data
        self._changed.beat()

    def finish(self) -> None:
        """Let the input end after what was written."""
        self.ended = True
        self._changed.beat()

    def close(self) -> None:
        """Drop everything: the process has closed its end, or has ended."""
        self.closed = True
        self._data.clear()
        self._changed.beat()

    def resume(self, offset: int) -> None:
        """Take in where a tether's new stream goes on: it has received all before it.

        The first stream after a restart of this service may begin anywhere. What was written since
        comes after what the tether got in the service's former life.
        """
        if not self._resumed:
            self._resumed = True
            self._start = offset
        elif offset > self.end:
            self._jump(offset)
        self._changed.beat()

    def acknowledge(self, offset: int) -> None:
        """Forget what the process has taken."""
        if offset > self.end:
            self._jump(offset)
        elif offset > self._start:
            del self._data[: offset - self._start]
            self._start = offset
        self._changed.beat()

    def _jump(self, offset: int) -> None:
        """Follow a tether that has taken more than it was sent; only its own input suffers."""
        log.warning("a tether has taken input that it was not sent", extra={"offset": offset})
        self._data.clear()
        self._start = offset

    def reaches_beyond(self, offset: int) -> bool:
        """Return whether there is anything to send at an offset."""
        return not self.closed and offset < self.end

    def piece(self, offset: int) -> bytes:
        """Return what comes at an offset, as much as fits into one message; or nothing."""
        first = offset - self._start
        if self.closed or first >= len(self._data):
            return b""
        with memoryview(self._data) as view:
            return bytes(view[first : first + MAX_CHUNK])

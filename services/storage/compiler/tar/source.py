"""Buffered reading of a stream, with a limit on what it may give."""

from __future__ import annotations

from collections.abc import Callable

from services.storage.compiler.contract import Readable
from services.storage.compiler.errors import LayerInvalid, LayerTooLarge

OWN_BUFFER = 1 << 18
"""Bytes read at once into a buffer of ours: they stay in a core's cache until they are copied."""

CHUNK = 2 << 20
"""Bytes asked for at once where the stream brings its own buffers."""

CUT_SHORT = "the layer's tar is cut short: unexpected EOF"

_Fill = Callable[[memoryview], int | None]


class ByteSource:
    """Takes bytes off a stream in pieces of any size."""

    def __init__(self, stream: Readable, limit: int) -> None:
        """`limit` is how many bytes the stream may give before it is refused."""
        self._stream = stream
        self._fill: _Fill | None = getattr(stream, "readinto", None)
        self._own = memoryview(bytearray(OWN_BUFFER if self._fill else 0))
        self._view = self._own[:0]
        self._at = 0
        self._end = 0
        self._limit = limit
        self.bytes_read = 0

    def _count(self, got: int) -> int:
        self.bytes_read += got
        if self.bytes_read > self._limit:
            raise LayerTooLarge(f"the layer holds more than {self._limit} bytes")
        return got

    def _refill(self) -> int:
        """Read on, once all that was there is taken; how many bytes there are now."""
        self._at = 0
        if self._fill is None:
            self._view = memoryview(self._stream.read(CHUNK))
            self._end = self._count(len(self._view))
        else:
            self._view = self._own
            self._end = self._count(self._fill(self._own) or 0)
        return self._end

    def take(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end of the stream."""
        at = self._at
        end = at + count
        if end <= self._end:
            self._at = end
            return self._view[at:end].tobytes()
        parts = [self._view[at : self._end].tobytes()]
        missing = count - len(parts[0])
        while missing and self._refill():
            self._at = min(missing, self._end)
            parts.append(self._view[: self._at].tobytes())
            missing -= self._at
        return b"".join(parts)

    def read_into(self, target: memoryview) -> None:
        """Fill `target`.

        Raises:
            LayerInvalid: the stream ends before that.
        """
        at = self._at
        end = at + len(target)
        if end <= self._end:
            target[:] = self._view[at:end]
            self._at = end
            return
        have = self._end - at
        target[:have] = self._view[at : self._end]
        target = target[have:]
        self._at = self._end = 0
        # Large payloads go from the stream to where they belong without a stop in the buffer.
        while self._fill is not None and len(target) >= OWN_BUFFER:
            got = self._count(self._fill(target) or 0)
            if not got:
                raise LayerInvalid(CUT_SHORT)
            target = target[got:]
        while len(target):
            if not self._refill():
                raise LayerInvalid(CUT_SHORT)
            self._at = min(len(target), self._end)
            target[: self._at] = self._view[: self._at]
            target = target[self._at :]

    def skip(self, count: int) -> None:
        """Pass over bytes.

        Raises:
            LayerInvalid: the stream ends before that.
        """
        while count > self._end - self._at:
            count -= self._end - self._at
            if not self._refill():
                raise LayerInvalid(CUT_SHORT)
        self._at += count

    def drain(self) -> None:
        """Read to the end of the stream: its digest is that of all its bytes."""
        while self._refill():
            pass

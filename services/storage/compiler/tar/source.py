"""Buffered reading of a stream, with a limit on what it may give."""

from __future__ import annotations

from services.storage.compiler.contract import Readable
from services.storage.compiler.errors import LayerInvalid, LayerTooLarge
from services.storage.compiler.tar.header import BLOCK

CHUNK = 2 << 20
"""Bytes asked for at once."""

_MOST_VIEWS = 8
"""Of one piece of a payload: a stream that gives a few bytes at a time has them joined."""

CUT_SHORT = "the layer's tar is cut short: unexpected EOF"


class ByteSource:
    """Takes bytes off a stream in pieces of any size."""

    def __init__(self, stream: Readable, limit: int) -> None:
        """`limit` is how many bytes the stream may give before it is refused."""
        self._stream = stream
        self._data = b""
        self._at = 0
        self._end = 0
        self._limit = limit
        self.bytes_read = 0

    def _refill(self) -> int:
        """Read on, once all that was there is taken; how many bytes there are now."""
        self._data = self._stream.read(CHUNK)
        self._at = 0
        self._end = len(self._data)
        self.bytes_read += self._end
        if self.bytes_read > self._limit:
            raise LayerTooLarge(f"the layer holds more than {self._limit} bytes")
        return self._end

    def take(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end of the stream."""
        at = self._at
        end = at + count
        if end <= self._end:
            self._at = end
            return self._data[at:end]
        parts = [self._data[at:]]
        missing = count - len(parts[0])
        self._at = self._end
        while missing and self._refill():
            self._at = min(missing, self._end)
            parts.append(self._data[: self._at])
            missing -= self._at
        return b"".join(parts)

    def block(self, skipped: int) -> bytes:
        """Pass over bytes, and take a block; it is shorter only at the end of the stream.

        Raises:
            LayerInvalid: the stream ends before that.
        """
        at = self._at + skipped
        end = at + BLOCK
        if end <= self._end:
            self._at = end
            return self._data[at:end]
        self.skip(skipped)
        return self.take(BLOCK)

    def views(self, count: int) -> list[memoryview]:
        """The next `count` bytes where they are.

        Raises:
            LayerInvalid: the stream ends before that.
        """
        at = self._at
        end = at + count
        if end <= self._end:
            self._at = end
            return [memoryview(self._data)[at:end]]
        found: list[memoryview] = []
        while count:
            if self._at == self._end and not self._refill():
                raise LayerInvalid(CUT_SHORT)
            at = self._at
            self._at = min(at + count, self._end)
            found.append(memoryview(self._data)[at : self._at])
            count -= self._at - at
        return found if len(found) <= _MOST_VIEWS else [memoryview(b"".join(found))]

    def read_into(self, target: memoryview) -> None:
        """Fill `target`.

        Raises:
            LayerInvalid: the stream ends before that.
        """
        at = self._at
        end = at + len(target)
        if end <= self._end:
            target[:] = memoryview(self._data)[at:end]
            self._at = end
            return
        at = 0
        for view in self.views(len(target)):
            target[at : at + len(view)] = view
            at += len(view)

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

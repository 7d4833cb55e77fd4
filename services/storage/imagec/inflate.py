"""Layers as they come (gzip, zstd, plain) read as plain tar, within limits."""

from __future__ import annotations

import bz2
import hashlib
import io
import lzma
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import IO, Protocol, Self

import zstandard
from isal import igzip, isal_zlib

from services.storage.imagec.errors import InvalidLayer

CHUNK = 2 << 20
"""Bytes of tar handled at once: each time the compiler and who inflates take turns."""

_AHEAD = 4
"""Chunks inflated before they are asked for."""

_ZSTD_WINDOW = 128 << 20
"""Bytes: the largest window that the zstd tool itself opens without being told to."""

_DAMAGED = "the layer's compressed stream is damaged"

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = tuple(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))
_BZIP2 = b"BZh"
_XZ = b"\xfd7zXZ\x00"
_XZ_MEMORY = 256 << 20
"""Bytes: what the xz tool's strongest preset needs to inflate is a quarter of it."""

MAGIC = 6
"""Bytes that tell the kinds apart."""

# isal's stubs call this class an instance.
_IsalError: type[Exception] = isal_zlib.IsalError  # type: ignore[assignment]


class Compression(Enum):
    """Kinds of compression, by the names of their tools."""

    PLAIN = "plain"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


def compression_of(head: bytes) -> Compression:
    """The kind that a stream's first bytes tell."""
    if head.startswith(_GZIP):
        return Compression.GZIP
    if head.startswith((_ZSTD, *_ZSTD_SKIPPABLE)):
        return Compression.ZSTD
    if head.startswith(_BZIP2):
        return Compression.BZIP2
    return Compression.XZ if head.startswith(_XZ) else Compression.PLAIN


@dataclass(frozen=True)
class InflateLimits:
    """What a layer may grow to."""

    bytes: int = 64 << 30
    ratio: int = 200
    """Inflated to compressed bytes, applied beyond `ratio_from`; gzip itself ends at 1,032."""

    ratio_from: int = 1 << 30
    """Inflated bytes below which the ratio doesn't matter: small files of zeros are common."""


class Source(Protocol):
    """Compressed bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, empty at the end."""


class _Counted(io.RawIOBase):
    """The source with its beginning put back, counting what is read."""

    def __init__(self, source: Source, head: bytes) -> None:
        super().__init__()
        self._source = source
        self._head = head
        self.consumed = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._source.read(size)
        self.consumed += len(data)
        return data


class _Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


_DECOMPRESSORS: dict[Compression, Callable[[], _Decompressor]] = {
    Compression.BZIP2: bz2.BZ2Decompressor,
    Compression.XZ: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
}


class _Streams:
    """One compressed stream after another, as bzip2 and xz write them side by side."""

    def __init__(self, source: Source, make: Callable[[], _Decompressor]) -> None:
        self._source = source
        self._make = make
        self._current = make()

    def read(self, size: int = -1, /) -> bytes:
        while True:
            try:
                data = self._next(size)
            except OSError as error:
                if error.errno is not None:
                    raise
                raise InvalidLayer(f"the compressed stream is damaged: {error}") from error
            if data is not None:
                return data

    def _next(self, size: int) -> bytes | None:
        """Some bytes, empty at the end; None when more must be put in first."""
        given = b""
        if self._current.eof:
            given = self._current.unused_data or self._source.read(CHUNK)
            if not given.strip(b"\0"):  # xz pads
                return b"" if not given else None
            self._current = self._make()
        elif self._current.needs_input:
            given = self._source.read(CHUNK)
            if not given:
                raise EOFError
        return self._current.decompress(given, size) or None


class Inflater:
    """Reads a layer's tar out of its blob; the kind of compression is told by the first bytes.

    Raises InvalidLayer while reading when the stream is cut or damaged, has something behind its
    end, or grows beyond its limits.
    """

    def __init__(self, source: Source, limits: InflateLimits, *, archive: bool = False) -> None:
        """An `archive` may be of the kinds too that registries don't have."""
        head = b""
        while len(head) < MAGIC and (more := source.read(MAGIC - len(head))):
            head += more
        self._limits = limits
        self._compressed = _Counted(source, head)
        self.size = 0
        self._plain = self._open(compression_of(head), archive=archive)

    def _open(self, kind: Compression, *, archive: bool) -> Source | IO[bytes]:
        if kind is Compression.GZIP:
            plain: IO[bytes] = igzip.open(self._compressed, "rb")  # type: ignore[no-untyped-call]
            return plain
        if kind is Compression.ZSTD:
            decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
            source = io.BufferedReader(self._compressed, CHUNK)
            return decompressor.stream_reader(source, read_across_frames=True)
        if kind is Compression.PLAIN:
            return self._compressed
        if not archive:
            raise InvalidLayer(f"unsupported layer compression: {kind.value}")
        return _Streams(self._compressed, _DECOMPRESSORS[kind])

    @property
    def consumed(self) -> int:
        """Compressed bytes read so far."""
        return self._compressed.consumed

    def read(self, size: int = CHUNK, /) -> bytes:
        """At most `size` bytes of tar, empty at the end."""
        try:
            data = self._plain.read(size)
        except EOFError as error:
            raise InvalidLayer("the layer's compressed stream is cut: unexpected EOF") from error
        except igzip.BadGzipFile as error:
            # The library shows bytes; the words are those of Go's package, and so dockerd's.
            raise InvalidLayer(f"{_DAMAGED}: gzip: invalid header or checksum") from error
        except (_IsalError, zstandard.ZstdError, lzma.LZMAError) as error:
            raise InvalidLayer(f"{_DAMAGED}: {error}") from error
        self.size += len(data)
        self._check()
        return data

    def _check(self) -> None:
        limits = self._limits
        if self.size > limits.bytes:
            raise InvalidLayer(f"the layer inflates to more than {limits.bytes} bytes")
        if self.size > limits.ratio_from and self.size > limits.ratio * max(self.consumed, 1):
            raise InvalidLayer(f"the layer inflates to more than {limits.ratio} times its size")


class ReadAhead:
    """Inflates and hashes in a thread of its own, a bounded stretch ahead of its reader.

    Inflating and hashing release the interpreter's lock, so that a second core takes them over.
    """

    def __init__(self, inflater: Inflater) -> None:
        self._inflater = inflater
        self._hash = hashlib.sha256()
        self._chunks: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._current = b""
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="inflate", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._chunks.get_nowait()  # it may stand before a full queue
            except queue.Empty:
                self._thread.join(0.05)

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                data = self._inflater.read(CHUNK)
                self._hash.update(data)
                self._chunks.put(data)
                if not data:
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the reader's thread
            self._chunks.put(error)

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes of tar, empty at the end."""
        if not self._current and not self._ended:
            item = self._chunks.get()
            if isinstance(item, BaseException):
                self._ended = True
                raise item
            self._ended = not item
            self._current = item
        # Who asks for a chunk at a time gets it as it is: the whole of a string is itself.
        data, self._current = self._current[:size], self._current[size:]
        return data

    def finish(self) -> str:
        """Read what is left; the digest of all of it, which is the layer's diff ID."""
        while self.read(CHUNK):
            pass
        return "sha256:" + self._hash.hexdigest()

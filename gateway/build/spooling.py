"""What a client uploads, put aside in files without a name and inflated, within limits."""

import bz2
import gzip
import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import AsyncIterable, Callable, Iterator
from pathlib import Path
from typing import IO

import zstandard

from gateway.build.trees import Tree, index
from gateway.errors import ApiError, bad_parameter
from portlayer.threads import in_thread

MAX_BYTES = 16 * 1024**3
"""Of a tar, compressed or not."""

FREE_BYTES = 256 * 1024**2
"""What an upload leaves free on the disk, for whoever else writes there."""

_PIECE = 1 << 20
_XZ_MEMORY = 256 << 20
_ZSTD_WINDOW = 128 << 20

Reader = Callable[[IO[bytes]], Iterator[bytes]]


async def spooled(pieces: AsyncIterable[bytes], directory: Path | None, what: str) -> Tree:
    """The tree of a tar that comes in pieces, compressed or not; close it in the end.

    Raises:
        ApiError: 400 for what is no tar; 413 or 507 with figures for one that is too large.
    """
    file = await put_aside(pieces, directory, what)
    try:
        return await in_thread(tree_of, file, directory, what)
    except BaseException:
        file.close()
        raise


async def put_aside(pieces: AsyncIterable[bytes], directory: Path | None, what: str) -> IO[bytes]:
    """Put what comes in pieces into a file without a name.

    Raises:
        ApiError: 413 or 507 with figures for what is too large.
    """
    file: IO[bytes] = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - given on
    try:
        room = _Room(file, what)
        pending = bytearray()
        async for piece in pieces:
            pending += piece
            if len(pending) >= _PIECE:
                await in_thread(room.write, bytes(pending))
                pending.clear()
        await in_thread(room.write, bytes(pending))
    except BaseException:
        file.close()
        raise
    return file


class _Room:
    """A file that is written within limits."""

    def __init__(self, file: IO[bytes], what: str) -> None:
        self._file = file
        self._what = what
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises an ApiError with figures."""
        self._size += len(piece)
        if self._size > MAX_BYTES:
            raise ApiError(413, f"{self._what} has more than {MAX_BYTES} bytes")
        disk = os.fstatvfs(self._file.fileno())
        free = disk.f_bavail * disk.f_frsize
        if free < FREE_BYTES + len(piece):
            raise ApiError(
                507,
                f"no room for {self._what}: {self._size} bytes have come, {free} are free, of "
                f"which {FREE_BYTES} stay so",
            )
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]


def tree_of(file: IO[bytes], directory: Path | None, what: str) -> Tree:
    """The tree of a tar that was put aside, compressed or not; the file is the tree's, or closed.

    Raises:
        ApiError: as spooled does; the file is the caller's still.
    """
    reader = reader_of(os.pread(file.fileno(), 6, 0))
    if reader is None:
        return index(file, what)
    plain: IO[bytes] = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - given on
    try:
        file.seek(0)
        room = _Room(plain, what)
        for piece in inflated(reader, file, what):
            room.write(piece)
        tree = index(plain, what)
    except BaseException:
        plain.close()
        raise
    file.close()
    return tree


def inflated(reader: Reader, file: IO[bytes], what: str) -> Iterator[bytes]:
    """What a compressed file holds. Raises a 400 for a damaged one."""
    try:
        yield from reader(file)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as why:
        raise bad_parameter(f"{what} can't be inflated: {why}") from why


def _gzip(file: IO[bytes]) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as plain:
        while piece := plain.read(_PIECE):
            yield piece


def _bzip2(file: IO[bytes]) -> Iterator[bytes]:
    with bz2.BZ2File(file) as plain:
        while piece := plain.read(_PIECE):
            yield piece


def _zstd(file: IO[bytes]) -> Iterator[bytes]:
    inflater = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    with inflater.stream_reader(file, read_across_frames=True, closefd=False) as plain:
        while piece := plain.read(_PIECE):
            yield piece


def _xz(file: IO[bytes]) -> Iterator[bytes]:
    data = file.read(_PIECE)
    while data:
        inflater = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        while not inflater.eof:
            if piece := inflater.decompress(data, _PIECE):
                yield piece
            data = file.read(_PIECE) if inflater.needs_input and not inflater.eof else b""
            if inflater.needs_input and not data and not inflater.eof:
                raise EOFError("it ends in the middle")
        data = (inflater.unused_data or file.read(_PIECE)).lstrip(b"\0")


_READERS: tuple[tuple[bytes, Reader], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"BZh", _bzip2),
    (b"\xfd7zXZ\0", _xz),
    (b"\x28\xb5\x2f\xfd", _zstd),
)


def reader_of(head: bytes) -> Reader | None:
    """How a file that begins so is inflated; None where it isn't compressed."""
    return next((reader for magic, reader in _READERS if head.startswith(magic)), None)


def archive_in(tree: Tree, path: str, directory: Path | None) -> Tree | None:
    """The tree of an archive that is a file of another tree; None where it is no archive.

    It is a tree of its own, to be closed by who asked.
    """
    entry = tree.find(path)
    if entry is None or not entry.is_file or not entry.size:
        return None
    file: IO[bytes] = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - given on
    try:
        room = _Room(file, f"the archive {path[:200]}")
        for piece in tree.pieces(entry):
            room.write(piece)
        if not _is_archive(file):
            file.close()
            return None
        return tree_of(file, directory, f"the archive {path[:200]}")
    except BaseException:
        file.close()
        raise


def _is_archive(file: IO[bytes]) -> bool:
    """Whether a file is a tar, compressed or not, by its first header."""
    reader = reader_of(os.pread(file.fileno(), 6, 0))
    file.seek(0)
    head = b""
    try:
        for piece in reader(file) if reader else iter([os.pread(file.fileno(), 512, 0)]):
            head += piece
            if len(head) >= 512:
                break
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return False
    except (zstandard.ZstdError, tarfile.TarError):
        return False
    return True

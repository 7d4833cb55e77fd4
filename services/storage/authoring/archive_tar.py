"""The tar that images are saved in: headers and padding around streamed contents."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

from portlayer.threads import in_thread

CHUNK = 512 << 10
"""Bytes handled at once."""

END = bytes(2 * tarfile.BLOCKSIZE)
"""What a tar ends with."""


def directory_header(name: str) -> bytes:
    """A directory's header."""
    info = tarfile.TarInfo(f"{name}/")
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info.tobuf(tarfile.PAX_FORMAT)


def file_header(name: str, size: int) -> bytes:
    """A file's header. Owner and time are zero: the same images always make the same tar."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(size: int) -> bytes:
    """What follows a file's content."""
    return bytes(-size % tarfile.BLOCKSIZE)


def member(name: str, content: bytes) -> bytes:
    """A small file whole."""
    return file_header(name, len(content)) + content + padding(len(content))


async def streamed_member(name: str, path: Path, size: int) -> AsyncIterator[bytes]:
    """A file of the store, piece by piece. Raises OSError."""
    yield file_header(name, size)
    file = await in_thread(path.open, "rb", buffering=0)
    try:
        while data := await in_thread(file.read, CHUNK):
            yield data
    finally:
        file.close()
    if rest := padding(size):
        yield rest

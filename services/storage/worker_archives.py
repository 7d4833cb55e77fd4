"""What a worker does with archives that didn't come from a registry.

`take` makes a blob of a tar; `unpack` takes an archive of images apart, whose members become
files named by number: whatever they are called, nothing of it is a path here.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

from isal import isal_zlib

from services.storage.compiler import Limits
from services.storage.compiler.tar.stream import Kind, Member, TarStream
from services.storage.files import to_json
from services.storage.imagec.errors import InvalidLayer
from services.storage.imagec.inflate import (
    CHUNK,
    MAGIC,
    Compression,
    InflateLimits,
    Inflater,
    ReadAhead,
    compression_of,
)

MEMBERS = "members.json"
"""Name of the list that `unpack` leaves beside the files."""

BLOCK = 512
"""Bytes of a tar's block; one of zeros is a tar's end."""

_GZIP_BITS = 31
_LEVEL = 1
_KEPT = (Compression.GZIP, Compression.ZSTD)
"""Kinds that a registry takes: their bytes are the blob. All else is compressed anew."""

Answer = Callable[[dict[str, Any]], None]


def new_file(path: Path) -> BinaryIO:
    """Open a file that isn't there yet. Raises OSError."""
    return path.open("xb", buffering=0)


class _Output:
    """A new file, hashed as it is written."""

    def __init__(self, path: Path) -> None:
        self._file = new_file(path)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self.size += len(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]

    def finish(self) -> str:
        """Have it on the disk; its digest."""
        os.fsync(self._file.fileno())
        self._file.close()
        return "sha256:" + self._hash.hexdigest()


class _Copying:
    """A source whose bytes are written down as they are read, from its very beginning."""

    def __init__(self, source: IO[bytes], head: bytes, out: _Output | None) -> None:
        self._source = source
        self._head = head
        self._out = out

    def read(self, size: int = -1, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._source.read(CHUNK if size < 0 else size)
        if self._out is not None and data:
            self._out.write(data)
        return data


def _open(path: str, answer: Answer) -> IO[bytes]:
    """Open a file, or a pipe that somebody writes to, who is told so."""
    source = open(path, "rb", buffering=0)  # noqa: SIM115 - lives as long as the job
    if stat.S_ISFIFO(os.fstat(source.fileno()).st_mode):
        answer({"opened": True})
    return source


def take(job: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Make a blob of a tar, compressed or not. Raises InvalidLayer, OSError."""
    with _open(job["source"], answer) as source:
        head = b""
        while len(head) < MAGIC and (more := source.read(MAGIC - len(head))):
            head += more
        kind = compression_of(head)
        out = _Output(Path(job["out"]))
        kept = kind in _KEPT
        copying = _Copying(source, head, out if kept else None)
        limits = InflateLimits(bytes=job["max_bytes"], ratio=job["max_ratio"])
        inflater = Inflater(copying, limits, archive=True)
        with ReadAhead(inflater) as ahead:
            first = b""
            while len(first) < BLOCK and (more := ahead.read(BLOCK - len(first))):
                first += more
            if not kept:
                _compress(first, ahead, out)
            diff_id = ahead.finish()
    return {
        "diff_id": diff_id,
        "size": inflater.size,
        "empty": not any(first),
        "blob": out.finish(),
        "blob_size": out.size,
        "compression": (kind if kept else Compression.GZIP).value,
    }


def _compress(first: bytes, tar: ReadAhead, out: _Output) -> None:
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP_BITS)
    out.write(packer.compress(first))
    while data := tar.read(CHUNK):
        out.write(packer.compress(data))
    out.write(packer.flush())


def unpack(job: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Take an archive apart into files. Raises CompilerError, InvalidLayer, OSError."""
    directory = Path(job["out"])
    limits = InflateLimits(bytes=job["max_bytes"], ratio=job["max_ratio"])
    found: dict[str, Any] = {}
    with (
        _open(job["source"], answer) as source,
        ReadAhead(Inflater(_Copying(source, b"", None), limits, archive=True)) as ahead,
    ):
        members = TarStream(ahead, Limits(bytes=job["max_bytes"], entries=job["max_entries"]))
        while (member := members.next()) is not None:
            name = posixpath.normpath(member.name.decode("utf-8", "replace"))
            if member.kind is Kind.FILE:
                found[name] = _unpacked(members, member, directory / str(members.members))
            elif member.kind in (Kind.SYMLINK, Kind.HARD_LINK):
                # Old archives share layers so. What the target isn't a member's name leads nowhere.
                target = member.link.decode("utf-8", "replace")
                near = posixpath.dirname(name) if member.kind is Kind.SYMLINK else ""
                found[name] = {"link": posixpath.normpath(posixpath.join(near, target))}
        ahead.finish()  # who sends shall get rid of all of it
    (directory / MEMBERS).write_bytes(to_json(found))
    return {}


def _unpacked(members: TarStream, member: Member, path: Path) -> dict[str, Any]:
    if member.fragments is not None:
        raise InvalidLayer("the archive has a sparse member")
    out = _Output(path)
    block = memoryview(bytearray(min(member.size, CHUNK)))
    left = member.size
    while left:
        piece = block[: min(left, CHUNK)]
        members.read_into(piece)
        out.write(piece)
        left -= len(piece)
    return {"file": path.name, "size": out.size, "digest": out.finish()}

"""A part of an image's root file system: where a path leads, and what is there as a tar.

It is read from the layers' disks themselves: no VM is needed for it.
"""

from __future__ import annotations

import stat
import tarfile
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path

from portlayer.errors import InvalidArgument
from portlayer.threads import in_thread
from services.storage.authoring.archive_tar import END, padding
from services.storage.compiler.errors import NotFound
from services.storage.compiler.reader import FileSystem, Stat

MAX_PATH = 4095
PIECE = 256 << 10
"""The most bytes of a piece."""

_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}
"""A tar has no sockets."""

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Place:
    """Where a path leads."""

    path: str
    """Absolute, without links as far as something is there."""

    missing: int
    """How many of its last components aren't there."""

    mode: int
    """As stat(2) has it; zero where nothing is there."""


async def read_tree(
    disk: Path, path: str, *, stat_only: bool
) -> AsyncGenerator[Place | bytes, None]:
    """Tell where a path leads; then the tar of what is there, unless only the first is wanted.

    Raises:
        InvalidArgument: the path can't be one, or leads through a file.
    """
    wanted = path.encode("utf-8", "surrogateescape")
    if not path.startswith("/") or len(wanted) > MAX_PATH or b"\0" in wanted:
        raise InvalidArgument("a path in an image must be absolute, without NUL, and not too long")
    system = await in_thread(FileSystem.open, disk)
    try:
        try:
            where, missing, found = await in_thread(system.resolve, wanted)
        except NotFound as error:
            raise InvalidArgument(str(error)) from error
        yield Place(where.decode("utf-8", "surrogateescape"), missing, found.mode if found else 0)
        if found is None or stat_only:
            return
        pieces = _pieces(tree_tar(system, where))
        while piece := await in_thread(next, pieces, b""):
            yield piece
    finally:
        system.close()


def tree_tar(system: FileSystem, top: bytes) -> Iterator[bytes]:
    """What is at a path without links, as a tar."""
    first_names: dict[int, bytes] = {}
    prefix = top.strip(b"/") + b"/" if top.strip(b"/") else b""
    for path, found in system.walk(top):
        name = path[len(prefix) :]
        if path == top.strip(b"/"):
            name = b"." if stat.S_ISDIR(found.mode) else path.rpartition(b"/")[2]
        header = _header(system, path, name, found)
        if header is None:
            continue
        if not stat.S_ISDIR(found.mode) and found.links > 1:
            if found.number in first_names:
                header.type, header.size = tarfile.LNKTYPE, 0
                header.linkname = _text(first_names[found.number])
            first_names.setdefault(found.number, name)
        yield header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if header.type == tarfile.REGTYPE:
            yield from system.stream(found.number)
            yield padding(found.size)
    yield END


def _header(system: FileSystem, path: bytes, name: bytes, found: Stat) -> tarfile.TarInfo | None:
    kind = _TYPES.get(stat.S_IFMT(found.mode))
    if kind is None:
        return None
    header = tarfile.TarInfo(_text(name))
    header.type, header.mode = kind, stat.S_IMODE(found.mode)
    header.uid, header.gid = found.uid, found.gid
    header.mtime = found.mtime // _NANOSECONDS
    header.size = found.size if kind == tarfile.REGTYPE else 0
    if kind == tarfile.SYMTYPE:
        header.linkname = _text(system.link_target(path))
    if found.device is not None:
        header.devmajor, header.devminor = found.device
    header.pax_headers = {
        f"SCHILY.xattr.{_text(attribute)}": _text(value)
        for attribute, value in system.xattrs(path).items()
    }
    if rest := found.mtime % _NANOSECONDS:
        header.pax_headers["mtime"] = f"{found.mtime // _NANOSECONDS}.{rest:09}"
    return header


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _pieces(stream: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are neither large nor tiny."""
    pending = bytearray()
    for part in stream:
        pending += part
        while len(pending) >= PIECE:
            yield bytes(pending[:PIECE])
            del pending[:PIECE]
    if pending:
        yield bytes(pending)

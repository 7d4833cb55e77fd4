"""Reading the files of a disk without mounting it: look-ups, verification, sizes.

What is read is what the disk's blocks say. A disk that a guest has open, or that was powered
off, may hold newer changes in its journal alone: `FileSystem.needs_recovery` tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from services.storage.compiler.contract import BlockSource
from services.storage.compiler.errors import CompilerError, DiskCorrupt, NotFound
from services.storage.compiler.ext4.inode import TYPE_DIRECTORY, TYPE_FILE, TYPE_LINK, Inode
from services.storage.compiler.ext4.superblock import BLOCK, ROOT_INODE
from services.storage.compiler.ext4.volume import Volume
from services.storage.vmdk import Chain, VmdkError

_MAX_HOPS = 40
_KEPT_DIRECTORIES = 64


@dataclass(frozen=True, slots=True)
class Stat:
    """What stat(2) would say. Times are nanoseconds since 1970."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    atime: int
    mtime: int
    ctime: int
    allocated: int
    """Bytes taken on the disk."""
    device: tuple[int, int] | None
    """Major and minor number, for a device."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a file system is: bytes, and numbers of inodes."""

    size: int
    """Bytes for files: the whole less metadata and journal."""
    free: int
    inodes: int
    free_inodes: int


class _Checked:
    """A chain whose faults are this package's errors."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.size = chain.size

    def read(self, offset: int, length: int) -> bytes:
        try:
            return self._chain.read(offset, length)
        except VmdkError as error:
            raise DiskCorrupt(str(error)) from error


class FileSystem:
    """The tree on a disk. Paths are bytes, relative to the root, with or without a leading `/`.

    Links in a path are followed inside the tree; the last component only where a method says so.
    """

    def __init__(self, source: BlockSource) -> None:
        """Read a disk that the caller keeps open.

        Raises:
            DiskCorrupt: it holds no file system that can be read here.
        """
        self._volume = Volume(source)
        self._chain: Chain | None = None
        self._directories: dict[int, dict[bytes, int]] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the disk that a VMDK and its parents make up; close it with `close` or `with`.

        Raises:
            OSError: the file can't be opened.
            DiskCorrupt: a broken chain, or no file system in it.
        """
        try:
            chain = Chain(path)
        except VmdkError as error:
            raise DiskCorrupt(str(error)) from error
        try:
            found = cls(_Checked(chain))
        except BaseException:  # ^C too: the chain has no other owner yet
            chain.close()
            raise
        found._chain = chain
        return found

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
        """Close the files that `open` opened."""
        if self._chain is not None:
            self._chain.close()

    @property
    def needs_recovery(self) -> bool:
        """Whether the journal holds changes that aren't seen here."""
        return self._volume.superblock.needs_recovery

    @property
    def uuid(self) -> bytes:
        """The file system's identity, 16 bytes."""
        return self._volume.superblock.uuid

    def usage(self) -> Usage:
        """How full it is, as statvfs(3) would say."""
        superblock = self._volume.superblock
        return Usage(
            size=(superblock.blocks - superblock.overhead) * BLOCK,
            free=superblock.free_blocks * BLOCK,
            inodes=superblock.inodes,
            free_inodes=superblock.free_inodes,
        )

    def stat(self, path: bytes, *, follow: bool = False) -> Stat:
        """Describe a file.

        Raises:
            NotFound: there is none.
        """
        number = self._find(path, follow=follow)
        return _stat(number, self._volume.inode(number))

    def resolve(self, path: bytes) -> tuple[bytes, int, Stat | None]:
        """Where a path leads, all links followed: an absolute path without links.

        Of what is beyond the last directory that there is, the names are taken as they are; how
        many these are comes second, and what is there last.

        Raises:
            NotFound: it leads through a file, or round in circles.
        """
        trail: list[tuple[bytes, int]] = []
        pending = path.split(b"/")[::-1]
        hops = 0
        while pending:
            part = pending.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                del trail[-1:]
                continue
            above = trail[-1][1] if trail else ROOT_INODE
            child = self._children(above, path).get(part, 0) if above else 0
            if child and (inode := self._volume.inode(child)).kind == TYPE_LINK:
                hops += 1
                if hops > _MAX_HOPS:
                    raise NotFound("too many links on the way")
                target = self._volume.link_target(inode)
                if target[:1] == b"/":
                    trail.clear()
                pending += target.split(b"/")[::-1]
            else:
                trail.append((part, child))
        number = trail[-1][1] if trail else ROOT_INODE
        found = _stat(number, self._volume.inode(number)) if number else None
        missing = sum(not child for _, child in trail)
        return b"/" + b"/".join(name for name, _ in trail), missing, found

    def names(self, path: bytes) -> list[bytes]:
        """The names in a directory, in the order of the disk; a link to one is followed.

        Raises:
            NotFound: there is no such directory.
        """
        return list(self._children(self._find(path, follow=True), path))

    def read(self, path: bytes, *, limit: int) -> bytes:
        """A file's content; a link to it is followed.

        Raises:
            NotFound: there is no such file, or it isn't a regular one.
            CompilerError: it is larger than `limit` bytes.
        """
        number = self._find(path, follow=True)
        inode = self._volume.inode(number)
        if inode.kind != TYPE_FILE:
            raise NotFound(f"{path.decode('utf-8', 'backslashreplace')} isn't a regular file")
        if inode.size > limit:
            raise CompilerError(f"a file of {inode.size} bytes, more than {limit}")
        return self._volume.content(inode)

    def stream(self, number: int) -> Iterator[bytes]:
        """The content of a regular file by its inode's number, in pieces of at most 1 MiB."""
        inode = self._volume.inode(number)
        if inode.kind != TYPE_FILE:
            raise NotFound(f"inode {number} isn't a regular file")
        return self._volume.pieces(inode, 0, inode.size)

    def link_target(self, path: bytes) -> bytes:
        """What a symbolic link says.

        Raises:
            NotFound: there is none.
        """
        inode = self._volume.inode(self._find(path, follow=False))
        if inode.kind != TYPE_LINK:
            raise NotFound(f"{path.decode('utf-8', 'backslashreplace')} isn't a link")
        return self._volume.link_target(inode)

    def xattrs(self, path: bytes) -> dict[bytes, bytes]:
        """A file's extended attributes by full name.

        Raises:
            NotFound: there is no such file.
        """
        return self._volume.xattrs(self._volume.inode(self._find(path, follow=False)))

    def walk(self, path: bytes = b"") -> Iterator[tuple[bytes, Stat]]:
        """A file and all below it, each directory before its content; paths without leading `/`.

        Raises:
            NotFound: there is no such file.
            DiskCorrupt: a directory that is met twice, or another fault on the way.
        """
        top = path.strip(b"/")
        pending = [(top, self._find(top, follow=False))]
        seen: set[int] = set()
        while pending:
            at, number = pending.pop()
            inode = self._volume.inode(number)
            yield at, _stat(number, inode)
            if inode.kind == TYPE_DIRECTORY:
                if number in seen:
                    raise DiskCorrupt(f"directory {number} has two names")
                seen.add(number)
                children = self._children(number, at)
                prefix = at + b"/" if at else b""
                pending += [(prefix + name, child) for name, child in reversed(children.items())]

    def _children(self, number: int, path: bytes) -> dict[bytes, int]:
        """Inodes by name in a directory; the last few directories are kept."""
        found = self._directories.get(number)
        if found is None:
            inode = self._volume.inode(number)
            if inode.kind != TYPE_DIRECTORY:
                raise NotFound(f"{path.decode('utf-8', 'backslashreplace')} isn't a directory")
            entries = self._volume.entries(inode)
            found = {name: child for name, child, _ in entries if name not in (b".", b"..")}
            if len(self._directories) >= _KEPT_DIRECTORIES:
                self._directories.clear()
            self._directories[number] = found
        return found

    def _find(self, path: bytes, *, follow: bool) -> int:
        """The inode at a path."""
        trail = [ROOT_INODE]
        pending = path.split(b"/")[::-1]
        hops = 0
        while pending:
            part = pending.pop()
            if not part or part == b".":
                continue
            if part == b"..":
                if len(trail) > 1:
                    trail.pop()
                continue
            children = self._children(trail[-1], path)
            if part not in children:
                shown = path.decode("utf-8", "backslashreplace")
                raise NotFound(f"there is no {shown!r} in the disk")
            inode = self._volume.inode(children[part])
            if inode.kind == TYPE_LINK and (follow or any(pending)):
                hops += 1
                if hops > _MAX_HOPS:
                    raise NotFound("too many links on the way")
                target = self._volume.link_target(inode)
                if target[:1] == b"/":
                    del trail[1:]
                pending += target.split(b"/")[::-1]
            else:
                trail.append(children[part])
        return trail[-1]


def _stat(number: int, inode: Inode) -> Stat:
    kind = inode.mode & 0o170000
    return Stat(
        number=number,
        mode=inode.mode,
        uid=inode.uid,
        gid=inode.gid,
        size=inode.size,
        links=inode.links,
        atime=inode.atime,
        mtime=inode.mtime,
        ctime=inode.ctime,
        allocated=inode.sectors * 512,
        device=inode.device if kind in (0o020000, 0o060000) else None,
    )

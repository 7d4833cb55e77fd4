"""Writes the ``newc`` cpio archives that Linux unpacks as its initial RAM file system.

Format: ``Documentation/driver-api/early-userspace/buffer-format.rst`` of the kernel. Entries come
out sorted by path, owned by root and with one fixed time, so that equal input gives equal bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

# 2023-06-10, the day Debian 12 came out: any fixed moment would do, one in the future would not.
FIXED_MTIME = 1_686_355_200

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file, directory, symbolic link or device of the archive."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


@dataclass
class Archive:
    """A file tree in memory that is written as one cpio archive.

    Parents of an added path come into being by themselves, with mode 0755.
    """

    entries: dict[str, Entry] = field(default_factory=dict)

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory."""
        self._put(path, Entry(stat.S_IFDIR | mode))

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._put(path, Entry(stat.S_IFREG | mode, data))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link to ``target``."""
        self._put(path, Entry(stat.S_IFLNK | 0o777, target.encode()))

    def character_device(self, path: str, major: int, minor: int, mode: int) -> None:
        """Add a character device: bytes in the archive, so nothing here needs mknod."""
        self._put(path, Entry(stat.S_IFCHR | mode, device=(major, minor)))

    def _put(self, path: str, entry: Entry) -> None:
        path = path.strip("/")
        if not path or any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError(f"{path!r} is no path of an archive")
        parent = path.rpartition("/")[0]
        if parent and parent not in self.entries:
            self.directory(parent)
        self.entries[path] = entry

    def size(self) -> int:
        """Bytes of file contents: guest memory that the unpacked tree takes, but for rounding."""
        return sum(len(entry.data) for entry in self.entries.values())

    def chunks(self) -> Iterator[bytes]:
        """The archive, piece by piece."""
        for inode, (path, entry) in enumerate(sorted(self.entries.items()), start=1):
            yield from _record(inode, path, entry)
        yield from _record(0, _TRAILER, Entry(0))

    def pack(self) -> bytes:
        """The whole archive as bytes."""
        return b"".join(self.chunks())


def _record(inode: int, path: str, entry: Entry) -> Iterator[bytes]:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    mtime = FIXED_MTIME if inode else 0
    numbers = (inode, entry.mode, 0, 0, links, mtime, len(entry.data), 0, 0, *entry.device)
    header = b"070701" + b"".join(b"%08X" % number for number in (*numbers, len(name), 0))
    yield header + name + _padding(len(header) + len(name))
    yield entry.data + _padding(len(entry.data))


def _padding(length: int) -> bytes:
    return b"\0" * (-length % 4)

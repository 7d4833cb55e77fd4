"""Directory blocks."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from services.storage.compiler.errors import DiskCorrupt
from services.storage.compiler.ext4.inode import TYPE_DIRECTORY
from services.storage.compiler.ext4.superblock import BLOCK

MAX_NAME = 255
LEAST_ENTRY = 12
"""Bytes that any name takes."""

_ENTRY = struct.Struct("<IHBB")


def pack_entry(inode: int, kind: int) -> int:
    """A directory entry's value in memory: one integer, since there can be very many."""
    return inode << 3 | kind


def own_entries(inode: int, parent: int) -> list[bytes]:
    """`.` and `..`, 12 bytes each."""
    return [
        _ENTRY.pack(inode, 12, 1, TYPE_DIRECTORY) + b".\0\0\0",
        _ENTRY.pack(parent, 12, 2, TYPE_DIRECTORY) + b"..\0\0",
    ]


def least_bytes(names: Iterable[bytes]) -> int:
    """How many bytes a directory's entries take, less what their blocks leave over."""
    return 24 + sum(8 + len(name) + 3 & ~3 for name in names)


def build_linear(inode: int, parent: int, entries: Iterable[tuple[bytes, int]]) -> bytes:
    """Whole blocks with the entries in their order, after `.` and `..`."""
    blocks: list[bytes] = []
    pack = _ENTRY.pack
    parts = own_entries(inode, parent)
    used = 24
    for name, entry in entries:
        length = 8 + len(name) + 3 & ~3
        if used + length > BLOCK:
            blocks.append(close_block(parts, used))
            parts = []
            used = 0
        parts.append(
            pack(entry >> 3, length, len(name), entry & 7) + name + bytes(length - 8 - len(name))
        )
        used += length
    blocks.append(close_block(parts, used))
    return b"".join(blocks)


def pack_child(name: bytes, entry: int) -> bytes:
    """One entry, as long as it has to be."""
    length = 8 + len(name) + 3 & ~3
    head = _ENTRY.pack(entry >> 3, length, len(name), entry & 7)
    return (head + name).ljust(length, b"\0")


def close_block(parts: list[bytes], used: int) -> bytes:
    """Join a block's entries; the last one reaches to the block's end."""
    last = parts[-1]
    length = len(last) + BLOCK - used
    parts[-1] = last[:4] + length.to_bytes(2, "little") + last[6:]
    return b"".join(parts).ljust(BLOCK, b"\0")


def parse(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Names, inodes and types in whole blocks, `.` and `..` included.

    Blocks of an index look like blocks without entries and are passed over by themselves.

    Raises:
        DiskCorrupt: an entry that reaches out of its block, or a name that can't be.
    """
    unpack = _ENTRY.unpack_from
    for base in range(0, len(data), BLOCK):
        at = base
        end = base + BLOCK
        while at < end:
            if end - at < 8:
                raise DiskCorrupt("a directory entry that is cut")
            inode, length, size, kind = unpack(data, at)
            if length < 8 or length % 4 or at + length > end or size > length - 8:
                raise DiskCorrupt("a broken directory entry")
            if inode:
                name = data[at + 8 : at + 8 + size]
                if not name or b"/" in name or b"\0" in name:
                    raise DiskCorrupt(f"a directory holds the name {name!r}")
                yield name, inode, kind
            at += length

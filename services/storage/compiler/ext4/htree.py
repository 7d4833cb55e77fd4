"""Directories with an index by hash, in which a name is found without reading all blocks.

Source: the Linux kernel's Documentation/filesystems/ext4/directory.rst, "Hash Tree Directories".
The first block holds `.`, `..` and the root of the index; where one level doesn't suffice, blocks
of nodes follow; then the leaves, whose entries lie in ranges of their hashes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO

from services.storage.compiler.errors import DiskFull
from services.storage.compiler.ext4.directory import close_block, own_entries, pack_child
from services.storage.compiler.ext4.superblock import BLOCK

_LEGACY = 0
"""The hash that is quickest to compute. Kernels and e2fsck take it from each directory's root;
what a guest makes by itself uses the superblock's choice."""

_ROOT_LIMIT = (BLOCK - 32) // 8
_NODE_LIMIT = (BLOCK - 8) // 8
_ROOT_INFO = struct.Struct("<IBBBB")
_COUNT = struct.Struct("<HHI")
_ENTRY = struct.Struct("<II")
_NODE_HEAD = struct.pack("<IHBB", 0, BLOCK, 0, 0)
_MULTIPLES = tuple(byte * 7152373 for byte in range(256))
_LAST_HASH = 0xFFFFFFFE
"""Means the end of a directory, so that no name may have it."""


def legacy_hash(name: bytes) -> int:
    """ext4's first hash, over unsigned characters; its last bit is always clear."""
    first, second = 0x12A3FE2D, 0x37ABE8F9
    multiples = _MULTIPLES
    for byte in name:
        mixed = second + (first ^ multiples[byte]) & 0xFFFFFFFF
        if mixed & 0x80000000:
            mixed -= 0x7FFFFFFF
        second = first
        first = mixed
    found = first << 1 & 0xFFFFFFFF
    return found if found != _LAST_HASH else _LAST_HASH - 2


def in_order(children: Mapping[bytes, int]) -> Iterator[tuple[bytes, int]]:
    """Entries in the order of hash and name, which is that of an index."""
    # Without a pair for each of many names.
    names = sorted(children)
    names.sort(key=legacy_hash)
    return ((name, children[name]) for name in names)


def build(
    inode: int, parent: int, ordered: Iterable[tuple[bytes, int]], leaves: IO[bytes]
) -> bytes:
    """Write an indexed directory's blocks of entries to a file.

    Args:
        inode: the directory's.
        parent: the inode of the one it is in.
        ordered: the entries as `in_order` has them.
        leaves: an empty file for the blocks.

    Returns:
        The blocks that come before those.

    Raises:
        DiskFull: more entries than two levels of index hold, some twenty millions.
    """
    starts = _write_leaves(ordered, leaves)
    count = len(starts)
    if count <= _ROOT_LIMIT:
        return _root(inode, parent, 0, starts, range(1, 1 + count))
    nodes = -(-count // _NODE_LIMIT)
    if nodes > _ROOT_LIMIT:
        raise DiskFull("a directory with more entries than ext4 can index")
    level = []
    for at in range(0, count, _NODE_LIMIT):
        part = starts[at : at + _NODE_LIMIT]
        first = 1 + nodes + at
        entries = _entries(_NODE_LIMIT, part, range(first, first + len(part)))
        level.append((_NODE_HEAD + entries).ljust(BLOCK, b"\0"))
    root = _root(inode, parent, 1, starts[::_NODE_LIMIT], range(1, 1 + nodes))
    return b"".join([root, *level])


def _write_leaves(ordered: Iterable[tuple[bytes, int]], leaves: IO[bytes]) -> list[int]:
    """Write blocks of entries; the least hash in each."""
    starts = [0]
    parts: list[bytes] = []
    used = 0
    last = b""
    for name, entry in ordered:
        packed = pack_child(name, entry)
        if used + len(packed) > BLOCK:
            leaves.write(close_block(parts, used))
            # The last bit says that names of this hash begin in the block before.
            value = legacy_hash(name)
            starts.append(value | (value == legacy_hash(last)))
            parts = []
            used = 0
        parts.append(packed)
        used += len(packed)
        last = name
    leaves.write(close_block(parts, used))
    return starts


def _root(
    inode: int, parent: int, levels: int, starts: Sequence[int], blocks: Sequence[int]
) -> bytes:
    own, above = own_entries(inode, parent)
    # The second entry covers the rest of the block for those who don't know of indexes.
    above = above[:4] + (BLOCK - 12).to_bytes(2, "little") + above[6:]
    info = _ROOT_INFO.pack(0, _LEGACY, _ROOT_INFO.size, levels, 0)
    return (own + above + info + _entries(_ROOT_LIMIT, starts, blocks)).ljust(BLOCK, b"\0")


def _entries(limit: int, starts: Sequence[int], blocks: Sequence[int]) -> bytes:
    """An index's entries; the first one's hash gives way to the count, for it is the least."""
    packed = [_COUNT.pack(limit, len(blocks), blocks[0])]
    packed += [_ENTRY.pack(h, b) for h, b in zip(starts[1:], blocks[1:], strict=True)]
    return b"".join(packed)

"""Extent trees: which blocks of the disk hold a file's blocks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from services.storage.compiler.errors import DiskCorrupt
from services.storage.compiler.ext4.superblock import BLOCK

MAX_EXTENT = 32768
"""Blocks in one extent."""
MAX_LOGICAL = 0xFFFFFFFF
"""File blocks are numbered with 32 bits, and the last number isn't used."""
ROOT_BYTES = 60

_MAGIC = 0xF30A
_HEADER = struct.Struct("<HHHHI")
_EXTENT = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIHH")
_IN_ROOT = (ROOT_BYTES - 12) // 12
_IN_BLOCK = (BLOCK - 12) // 12
_MAX_DEPTH = 5
_ONE = struct.Struct("<HHHHIIHHI")

EMPTY_ROOT = _HEADER.pack(_MAGIC, 0, _IN_ROOT, 0, 0).ljust(ROOT_BYTES, b"\0")


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of file blocks that lie side by side on the disk."""

    logical: int
    start: int
    count: int
    written: bool = True
    """False: reserved, reads as zeros."""


def single_root(start: int, count: int) -> bytes:
    """The tree of a file that is one run from its first block on: nearly every file."""
    return _ONE.pack(_MAGIC, 1, _IN_ROOT, 0, 0, 0, count, 0, start).ljust(ROOT_BYTES, b"\0")


def build(
    extents: Sequence[Extent], allocate: Callable[[], int], write: Callable[[int, bytes], None]
) -> tuple[bytes, list[int]]:
    """Make the tree for extents that are sorted by file block.

    Args:
        extents: each at most `MAX_EXTENT` long.
        allocate: gives a block for a node that doesn't fit into the inode.
        write: puts such a node onto the disk.

    Returns:
        The 60 bytes of the root, and the blocks of all nodes.
    """
    items = [(e.logical, _EXTENT.pack(e.logical, e.count, 0, e.start)) for e in extents]
    depth = 0
    nodes: list[int] = []
    while len(items) > _IN_ROOT:
        parents = []
        for at in range(0, len(items), _IN_BLOCK):
            part = items[at : at + _IN_BLOCK]
            block = allocate()
            nodes.append(block)
            head = _HEADER.pack(_MAGIC, len(part), _IN_BLOCK, depth, 0)
            write(block, (head + b"".join(raw for _, raw in part)).ljust(BLOCK, b"\0"))
            parents.append((part[0][0], _INDEX.pack(part[0][0], block, 0, 0)))
        items = parents
        depth += 1
    head = _HEADER.pack(_MAGIC, len(items), _IN_ROOT, depth, 0)
    return (head + b"".join(raw for _, raw in items)).ljust(ROOT_BYTES, b"\0"), nodes


def parse(root: bytes, read: Callable[[int], bytes], blocks: int) -> tuple[list[Extent], list[int]]:
    """All extents of a tree in order, and the blocks of its nodes.

    Args:
        root: the inode's 60 bytes.
        read: reads one block of the disk.
        blocks: how many blocks the disk has.

    Raises:
        DiskCorrupt: a broken tree.
    """
    extents: list[Extent] = []
    nodes: list[int] = []
    _parse_node(root, _MAX_DEPTH, None, read, blocks, extents, nodes)
    end = 0
    for extent in extents:
        if extent.logical < end or not extent.count:
            raise DiskCorrupt("extents overlap")
        end = extent.logical + extent.count
        if not 0 < extent.start <= blocks - extent.count:
            raise DiskCorrupt(f"an extent points to block {extent.start}")
    return extents, nodes


def _parse_node(
    node: bytes,
    limit: int,
    expected: int | None,
    read: Callable[[int], bytes],
    blocks: int,
    extents: list[Extent],
    nodes: list[int],
) -> None:
    magic, count, _, depth, _ = _HEADER.unpack_from(node)
    room = (len(node) - 12) // 12
    if magic != _MAGIC or count > room or depth > limit or (expected not in (None, depth)):
        raise DiskCorrupt("a broken extent tree")
    if depth == 0:
        extents.extend(_leaves(node, count))
        return
    for at in range(12, 12 + 12 * count, 12):
        _, low, high, _ = _INDEX.unpack_from(node, at)
        if high or not 0 < low < blocks:
            raise DiskCorrupt(f"an extent tree points to block {low}")
        nodes.append(low)
        if len(nodes) > blocks:
            raise DiskCorrupt("an extent tree that loops")
        _parse_node(read(low), limit - 1, depth - 1, read, blocks, extents, nodes)


def _leaves(node: bytes, count: int) -> Iterator[Extent]:
    for at in range(12, 12 + 12 * count, 12):
        logical, length, high, low = _EXTENT.unpack_from(node, at)
        if high:
            raise DiskCorrupt("an extent beyond 32-bit blocks")
        if length > MAX_EXTENT:
            yield Extent(logical, low, length - MAX_EXTENT, written=False)
        else:
            yield Extent(logical, low, length)

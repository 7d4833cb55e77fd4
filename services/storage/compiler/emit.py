"""The end of a compilation: directories, inodes, bitmaps, descriptors and superblock."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable
from operator import itemgetter
from typing import IO

from services.storage.compiler.content import joined
from services.storage.compiler.directories import ENTRY, Directory
from services.storage.compiler.ext4 import directory, htree
from services.storage.compiler.ext4.inode import FLAG_INDEX, MAX_LINKS, TYPE_DIRECTORY
from services.storage.compiler.ext4.superblock import (
    BLOCK,
    DESCRIPTOR_BYTES,
    SUPERBLOCK_OFFSET,
)
from services.storage.compiler.many_names import ManyNames
from services.storage.compiler.tree import Tree

_LINEAR_BLOCKS = 2
"""Directories up to this many blocks are searched from front to back faster than by an index."""

_SPOOLED = 4 << 20
"""Bytes of a directory's blocks that stay in memory."""


def finish(tree: Tree) -> None:
    """Write everything but the files' data; after it the delta is complete.

    Raises:
        DiskFull: no room for the directories.
    """
    for found in tree.directories.ascending():
        if found.changed:
            _write_directory(tree, found)
    groups = tree.volume.groups
    block_bitmaps = tree.blocks.finish()
    inode_bitmaps = tree.numbers.finish()
    metadata: dict[int, bytes | bytearray] = {}
    if tree.inodes.touched or block_bitmaps or inode_bitmaps:
        metadata.update((groups[n].block_bitmap, data) for n, data in block_bitmaps.items())
        metadata.update((groups[n].inode_bitmap, data) for n, data in inode_bitmaps.items())
        metadata.update(_descriptors(tree, block_bitmaps.keys() | inode_bitmaps.keys()))
    blocks = heapq.merge(tree.inodes.changed(), sorted(metadata.items()), key=itemgetter(0))
    for block, content in blocks:
        tree.output.put(block, content)
    tree.output.finish()


def _write_directory(tree: Tree, found: Directory) -> None:
    """Write a directory anew, next to the layer's other blocks.

    Its old blocks would lie in as many grains of the parent, which would have to be copied.
    """
    inode = tree.inodes.get(found.number)
    tree.free_data(inode)
    data = _linear(found)
    if data:
        inode.flags &= ~FLAG_INDEX
        inode.size = len(data)
        runs = tree.blocks.take(len(data) // BLOCK)
        rest = memoryview(data)
        for start, count in runs:
            tree.output.put(start, rest[: count * BLOCK])
            rest = rest[count * BLOCK :]
    else:
        inode.flags |= FLAG_INDEX
        with tempfile.SpooledTemporaryFile(_SPOOLED, dir=tree.spare) as leaves:
            data = _indexed(found, leaves)
            inode.size = len(data) + leaves.tell()
            runs = tree.blocks.take(inode.size // BLOCK)
            leaves.seek(0)
            tree.output.stream(runs, inode.size, _one_after_another(data, leaves))
    inode.block, nodes = tree.build_extents(joined(0, runs))
    blocks = inode.size // BLOCK + nodes + (1 if inode.xattr_block else 0)
    inode.sectors = blocks * (BLOCK // 512)
    links = 2 + sum(1 for _, entry in found.entries() if entry & 7 == TYPE_DIRECTORY)
    # One means "too many to count" (dir_nlink).
    inode.links = links if links < MAX_LINKS else 1
    tree.inodes.put(found.number, inode)


def _linear(found: Directory) -> bytes:
    """A directory's blocks if they are few, with the names in the order they came; else nothing."""
    names = found.names
    limit = _LINEAR_BLOCKS * BLOCK
    if len(names) > limit // directory.LEAST_ENTRY:
        return b""
    entries = dict(found.entries() if isinstance(names, dict) else names.oldest_first())
    if directory.least_bytes(entries) > limit:
        return b""
    data = directory.build_linear(
        found.number, found.parent, ((name, entry & ENTRY) for name, entry in entries.items())
    )
    return data if len(data) <= limit else b""


def _indexed(found: Directory, leaves: IO[bytes]) -> bytes:
    """Write a directory's entries into a file; its index."""
    names = found.names
    if isinstance(names, ManyNames):
        ordered = names.in_order(htree.legacy_hash)
    else:
        ordered = htree.in_order(names)
    entries = ((name, entry & ENTRY) for name, entry in ordered)
    return htree.build(found.number, found.parent, entries, leaves)


def _one_after_another(front: bytes, back: IO[bytes]) -> Callable[[memoryview], None]:
    rest = memoryview(front)

    def fill(view: memoryview) -> None:
        nonlocal rest
        taken = min(len(rest), len(view))
        view[:taken] = rest[:taken]
        rest = rest[taken:]
        view[taken:] = back.read(len(view) - taken)

    return fill


def _descriptors(tree: Tree, touched: set[int]) -> list[tuple[int, bytearray]]:
    """The blocks of superblock and group descriptors."""
    volume = tree.volume
    superblock = volume.superblock
    size = superblock.descriptor_blocks * BLOCK
    table = bytearray(volume.source.read(BLOCK, size))
    for number in touched:
        at = number * DESCRIPTOR_BYTES
        packed = volume.groups[number].pack(number, superblock.uuid)
        table[at : at + DESCRIPTOR_BYTES] = packed
    superblock.set_free(
        sum(group.free_blocks for group in volume.groups),
        sum(group.free_inodes for group in volume.groups),
    )
    first = bytearray(volume.read_block(0))
    first[SUPERBLOCK_OFFSET : SUPERBLOCK_OFFSET + len(superblock.raw)] = superblock.raw
    return [(0, first)] + [
        (1 + at // BLOCK, table[at : at + BLOCK]) for at in range(0, size, BLOCK)
    ]

"""The end of a compilation: directories, inodes, bitmaps, descriptors and superblock."""

from __future__ import annotations

import heapq
from operator import itemgetter

from services.storage.compiler.directories import Directory
from services.storage.compiler.ext4 import directory, htree
from services.storage.compiler.ext4.extents import Extent
from services.storage.compiler.ext4.inode import FLAG_INDEX, MAX_LINKS, TYPE_DIRECTORY
from services.storage.compiler.ext4.superblock import (
    BLOCK,
    DESCRIPTOR_BYTES,
    SUPERBLOCK_OFFSET,
)
from services.storage.compiler.tree import Tree

_LINEAR_BLOCKS = 2
"""Directories up to this many blocks are searched from front to back faster than by an index."""


def finish(tree: Tree) -> None:
    """Write everything but the files' data; after it the delta is complete.

    Raises:
        DiskFull: no room for the directories.
    """
    changed = [d for d in tree.directories.values() if d.changed]
    for found in sorted(changed, key=lambda d: d.number):
        _write_directory(tree, found)
        tree.shelf.done(found)
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
    tree.output.flush()


def _write_directory(tree: Tree, found: Directory) -> None:
    """Write a directory anew, next to the layer's other blocks.

    Its old blocks would lie in as many grains of the parent, which would have to be copied.
    """
    inode = tree.inodes.get(found.number)
    tree.free_data(inode)
    names = found.children
    data = b""
    if directory.least_bytes(names) <= _LINEAR_BLOCKS * BLOCK:
        data = directory.build_linear(found.number, found.parent.number, names)
    if 0 < len(data) <= _LINEAR_BLOCKS * BLOCK:
        inode.flags &= ~FLAG_INDEX
    else:
        data = htree.build(found.number, found.parent.number, names)
        inode.flags |= FLAG_INDEX
    count = len(data) // BLOCK
    runs = tree.blocks.take(count)
    at = logical = 0
    extents: list[Extent] = []
    view = memoryview(data)
    for start, length in runs:
        tree.output.put(start, view[at : at + length * BLOCK])
        extents.append(Extent(logical, start, length))
        at += length * BLOCK
        logical += length
    inode.block, nodes = tree.build_extents(extents)
    inode.size = len(data)
    inode.sectors = (count + nodes + (1 if inode.xattr_block else 0)) * (BLOCK // 512)
    links = 2 + sum(1 for entry in names.values() if entry & 7 == TYPE_DIRECTORY)
    # One means "too many to count" (dir_nlink).
    inode.links = links if links < MAX_LINKS else 1
    tree.inodes.put(found.number, inode)


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

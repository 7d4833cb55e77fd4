"""The inode table's blocks that a layer changes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from services.storage.compiler.errors import DiskCorrupt
from services.storage.compiler.ext4.inode import LINKS_OFFSET, Inode
from services.storage.compiler.ext4.superblock import BLOCK, INODE_BYTES, INODES_PER_BLOCK
from services.storage.compiler.ext4.volume import Volume
from services.storage.compiler.spare import SpareBlocks

KEPT_BLOCKS = 4096
"""Blocks in memory, of 16 inodes each; the others are set aside until they are written."""

_LINKS = struct.Struct("<H")
_CLEAR = bytes(INODE_BYTES)


class InodeTable:
    """Inodes by number, kept as the blocks they will be written as."""

    def __init__(self, volume: Volume, spare: Path | None = None) -> None:
        """Show the volume's inodes as they are; `spare` is a directory for what is set aside."""
        self._volume = volume
        self._per_group = volume.superblock.inodes_per_group
        self._count = volume.superblock.inodes
        self._blocks: dict[int, bytearray] = {}
        self._aside: set[int] = set()
        self._spare = SpareBlocks(volume.superblock.blocks, spare)
        self._last = bytearray()
        """The block asked for last, in which the next inode lies as a rule."""
        self._last_first = -INODES_PER_BLOCK
        """The number of its first inode."""

    def place(self, number: int) -> tuple[bytearray, int]:
        """The block that holds an inode, to be changed, and where it lies in there.

        Raises:
            DiskCorrupt: there is no such inode.
        """
        index = number - self._last_first
        if 0 <= index < INODES_PER_BLOCK:
            return self._last, index * INODE_BYTES
        if not 0 < number <= self._count:
            raise DiskCorrupt(f"there is no inode {number}")
        group, index = divmod(number - 1, self._per_group)
        block = self._volume.groups[group].inode_table + index // INODES_PER_BLOCK
        data = self._blocks.get(block)
        if data is None:
            data = self._load(block)
        index %= INODES_PER_BLOCK
        self._last, self._last_first = data, number - index
        return data, index * INODE_BYTES

    def _load(self, block: int) -> bytearray:
        if len(self._blocks) >= KEPT_BLOCKS:
            for old in list(islice(self._blocks, KEPT_BLOCKS // 2)):
                self._spare.put(old, self._blocks.pop(old))
                self._aside.add(old)
        if block in self._aside:
            self._aside.remove(block)
            data = bytearray(self._spare.get(block))
        else:
            data = bytearray(self._volume.read_block(block))
        self._blocks[block] = data
        return data

    def get(self, number: int) -> Inode:
        """An inode as it is now."""
        offset = self._volume.inode_offset(number)
        block, at = divmod(offset, BLOCK)
        data: bytes | bytearray | None = self._blocks.get(block)
        if data is None:
            if block not in self._aside:
                return self._volume.inode(number)
            data = self._spare.get(block)
        return Inode.parse(bytes(data[at : at + INODE_BYTES]))

    def put(self, number: int, inode: Inode) -> None:
        """Set an inode."""
        data, at = self.place(number)
        data[at : at + INODE_BYTES] = inode.pack()

    def clear(self, number: int) -> None:
        """Make an inode as if it had never been used."""
        data, at = self.place(number)
        data[at : at + INODE_BYTES] = _CLEAR

    def add_links(self, number: int, change: int) -> int:
        """Count names of a file; how many it has then.

        Raises:
            DiskCorrupt: a file that already has none.
        """
        data, at = self.place(number)
        links: int = _LINKS.unpack_from(data, at + LINKS_OFFSET)[0] + change
        if not 0 <= links <= 0xFFFF:
            raise DiskCorrupt(f"inode {number} has a wrong count of names")
        _LINKS.pack_into(data, at + LINKS_OFFSET, links)
        return links

    @property
    def touched(self) -> bool:
        """Whether there are blocks to write."""
        return bool(self._blocks or self._aside)

    def changed(self) -> Iterator[tuple[int, bytes | bytearray]]:
        """All blocks that were touched, in order."""
        for block in sorted(self._blocks.keys() | self._aside):
            data = self._blocks.get(block) or self._spare.get(block)
            assert len(data) == BLOCK
            yield block, data

"""A file system on a disk, for reading: the common ground of the compiler and the reader."""

from __future__ import annotations

from collections.abc import Iterator

from services.storage.compiler.contract import BlockSource
from services.storage.compiler.errors import DiskCorrupt
from services.storage.compiler.ext4 import directory, extents, xattr
from services.storage.compiler.ext4.extents import Extent
from services.storage.compiler.ext4.inode import (
    FAST_SYMLINK,
    FLAG_EXTENTS,
    TYPE_LINK,
    Inode,
)
from services.storage.compiler.ext4.superblock import (
    BLOCK,
    DESCRIPTOR_BYTES,
    INODE_BYTES,
    SUPERBLOCK_BYTES,
    SUPERBLOCK_OFFSET,
    Group,
    Superblock,
)

MAX_DIRECTORY = 1 << 30
"""Bytes of directory that are read; two levels of index hold that much."""


class Volume:
    """The superblock, the group descriptors, and inodes and their content on demand."""

    def __init__(self, source: BlockSource) -> None:
        """Read superblock and descriptors.

        Raises:
            DiskCorrupt: no sound ext4 of the kind that is read here.
        """
        self.source = source
        raw = source.read(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES)
        self.superblock = Superblock.parse(raw, source.size)
        table = source.read(BLOCK, self.superblock.groups * DESCRIPTOR_BYTES)
        self.groups = [
            Group.parse(table[at : at + DESCRIPTOR_BYTES])
            for at in range(0, len(table), DESCRIPTOR_BYTES)
        ]
        blocks = self.superblock.blocks
        table_blocks = self.superblock.inodes_per_group * INODE_BYTES // BLOCK
        for group in self.groups:
            ends = (
                group.block_bitmap + 1,
                group.inode_bitmap + 1,
                group.inode_table + table_blocks,
            )
            if min(group.block_bitmap, group.inode_bitmap, group.inode_table) < 1:
                raise DiskCorrupt("a group descriptor points to the superblock")
            if max(ends) > blocks or group.unused_inodes > self.superblock.inodes_per_group:
                raise DiskCorrupt("a group descriptor points outside the file system")

    def read_block(self, block: int) -> bytes:
        """One block of the disk."""
        return self.source.read(block * BLOCK, BLOCK)

    def inode_offset(self, number: int) -> int:
        """Where on the disk an inode lies.

        Raises:
            DiskCorrupt: there is no such inode.
        """
        if not 0 < number <= self.superblock.inodes:
            raise DiskCorrupt(f"there is no inode {number}")
        group, index = divmod(number - 1, self.superblock.inodes_per_group)
        return self.groups[group].inode_table * BLOCK + index * INODE_BYTES

    def inode(self, number: int) -> Inode:
        """Read an inode."""
        return Inode.parse(self.source.read(self.inode_offset(number), INODE_BYTES))

    def extents(self, inode: Inode) -> tuple[list[Extent], list[int]]:
        """A file's extents, and the blocks of its extent tree."""
        if not inode.flags & FLAG_EXTENTS:
            raise DiskCorrupt("a file without extents")
        return extents.parse(inode.block, self.read_block, self.superblock.blocks)

    def pieces(self, inode: Inode, offset: int, length: int) -> Iterator[bytes]:
        """The bytes of a file from an offset on, in pieces of up to 1 MiB."""
        found, _ = self.extents(inode)
        end = min(offset + length, inode.size)
        for extent in found:
            if not extent.written:
                continue
            first = extent.logical * BLOCK
            last = first + extent.count * BLOCK
            if last <= offset:
                continue
            if first >= end:
                break
            if first > offset:
                yield from _zeros(first - offset)
                offset = first
            until = min(last, end)
            disk = extent.start * BLOCK - first
            while offset < until:
                step = min(until - offset, 1 << 20)
                yield self.source.read(disk + offset, step)
                offset += step
        if offset < end:
            yield from _zeros(end - offset)

    def content(self, inode: Inode) -> bytes:
        """All bytes of a file; for what is known to be small."""
        return b"".join(self.pieces(inode, 0, inode.size))

    def entries(self, inode: Inode) -> Iterator[tuple[bytes, int, int]]:
        """Names, inodes and types in a directory, `.` and `..` included."""
        if inode.size > MAX_DIRECTORY or inode.size % BLOCK:
            raise DiskCorrupt(f"a directory of {inode.size} bytes")
        for piece in self.pieces(inode, 0, inode.size):
            yield from directory.parse(piece)

    def link_target(self, inode: Inode) -> bytes:
        """What a symbolic link points to."""
        if inode.kind != TYPE_LINK or inode.size >= BLOCK:
            raise DiskCorrupt("not a symbolic link")
        if inode.size < FAST_SYMLINK:
            return inode.block[: inode.size]
        return self.content(inode)

    def xattrs(self, inode: Inode) -> dict[bytes, bytes]:
        """The extended attributes of a file."""
        block = self.read_block(inode.xattr_block) if inode.xattr_block else None
        return xattr.parse(inode.in_inode_xattrs, block)


def _zeros(length: int) -> Iterator[bytes]:
    while length:
        step = min(length, 1 << 20)
        yield bytes(step)
        length -= step

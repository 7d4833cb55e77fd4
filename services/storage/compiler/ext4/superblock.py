"""The superblock and the group descriptors."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from services.storage.compiler.errors import DiskCorrupt

BLOCK = 4096
SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_BYTES = 1024
BLOCKS_PER_GROUP = 8 * BLOCK
INODE_BYTES = 256
INODES_PER_BLOCK = BLOCK // INODE_BYTES
DESCRIPTOR_BYTES = 32
ROOT_INODE = 2
JOURNAL_INODE = 8
FIRST_INODE = 11

COMPAT = 0x4 | 0x8 | 0x20
"""has_journal, ext_attr, dir_index."""
INCOMPAT = 0x2 | 0x40 | 0x200
"""filetype, extents, flex_bg."""
RO_COMPAT = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40
"""sparse_super, large_file, huge_file, gdt_csum, dir_nlink, extra_isize."""
INCOMPAT_RECOVER = 0x4
"""The journal holds transactions that aren't in place yet."""

INODE_UNINIT = 0x1
BLOCK_UNINIT = 0x2
INODE_ZEROED = 0x4

_MAGIC = 0xEF53
_GROUP = struct.Struct("<IIIHHHHIHHHH")


def _crc16_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xA001 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC16 = _crc16_table()


def crc16(crc: int, data: bytes) -> int:
    """CRC-16 (polynomial 0x8005, reflected), as the group descriptors carry it."""
    for byte in data:
        crc = (crc >> 8) ^ _CRC16[(crc ^ byte) & 0xFF]
    return crc


@dataclass(slots=True)
class Group:
    """One block group's descriptor; the figures change as blocks and inodes are taken."""

    block_bitmap: int
    inode_bitmap: int
    inode_table: int
    free_blocks: int
    free_inodes: int
    used_directories: int
    flags: int
    unused_inodes: int
    """Inodes at the end of the table that were never used, so that nobody has to read them."""

    @classmethod
    def parse(cls, data: bytes) -> Group:
        """Read 32 bytes of descriptor."""
        bb, ib, table, fb, fi, dirs, flags, _, _, _, unused, _ = _GROUP.unpack(data)
        return cls(bb, ib, table, fb, fi, dirs, flags, unused)

    def pack(self, number: int, uuid: bytes) -> bytes:
        """The 32 bytes, with their checksum."""
        packed = _GROUP.pack(
            self.block_bitmap,
            self.inode_bitmap,
            self.inode_table,
            self.free_blocks,
            self.free_inodes,
            self.used_directories,
            self.flags,
            0,
            0,
            0,
            self.unused_inodes,
            0,
        )[:30]
        crc = crc16(crc16(0xFFFF, uuid), number.to_bytes(4, "little") + packed)
        return packed + crc.to_bytes(2, "little")


@dataclass(slots=True)
class Superblock:
    """The fields that are used, over the raw bytes that keep all others as they were."""

    raw: bytearray

    @classmethod
    def parse(cls, data: bytes, disk_size: int) -> Superblock:
        """Read and check 1024 bytes.

        Raises:
            DiskCorrupt: not ext4, or with a geometry that this package doesn't read.
        """
        block = cls(bytearray(data))
        if len(data) != SUPERBLOCK_BYTES or block._u16(0x38) != _MAGIC:
            raise DiskCorrupt("the disk holds no ext4 file system")
        if (1024 << block._u32(0x18) if block._u32(0x18) < 7 else 0) != BLOCK:
            raise DiskCorrupt("the file system's blocks aren't 4 KiB")
        unknown = block._u32(0x60) & ~(INCOMPAT | INCOMPAT_RECOVER)
        if unknown:
            raise DiskCorrupt(f"the file system has features {unknown:#x} that aren't read here")
        if block._u16(0x58) != INODE_BYTES or block._u32(0x20) != BLOCKS_PER_GROUP:
            raise DiskCorrupt("the file system has inodes or groups of an unusual size")
        per_group = block.inodes_per_group
        if not per_group or per_group % INODES_PER_BLOCK or per_group > BLOCKS_PER_GROUP:
            raise DiskCorrupt(f"the file system has {per_group} inodes in a group")
        if not 0 < block.blocks * BLOCK <= disk_size:
            raise DiskCorrupt(f"a file system of {block.blocks} blocks on {disk_size} bytes")
        if block.inodes != per_group * block.groups:
            raise DiskCorrupt(f"the file system counts {block.inodes} inodes")
        return block

    def _u16(self, offset: int) -> int:
        return int.from_bytes(self.raw[offset : offset + 2], "little")

    def _u32(self, offset: int) -> int:
        return int.from_bytes(self.raw[offset : offset + 4], "little")

    @property
    def inodes(self) -> int:
        """Inodes in all."""
        return self._u32(0x00)

    @property
    def blocks(self) -> int:
        """Blocks in all."""
        return self._u32(0x04)

    @property
    def reserved_blocks(self) -> int:
        """Blocks kept for root."""
        return self._u32(0x08)

    @property
    def free_blocks(self) -> int:
        """Blocks that are free, reserved ones included."""
        return self._u32(0x0C)

    @property
    def free_inodes(self) -> int:
        """Inodes that are free."""
        return self._u32(0x10)

    @property
    def inodes_per_group(self) -> int:
        """Inodes in each group."""
        return self._u32(0x28)

    @property
    def groups(self) -> int:
        """How many block groups there are; the last may be short."""
        return -(-self.blocks // BLOCKS_PER_GROUP)

    @property
    def uuid(self) -> bytes:
        """The file system's 16 bytes of identity."""
        return bytes(self.raw[0x68:0x78])

    @property
    def descriptor_blocks(self) -> int:
        """Blocks that the group descriptors take."""
        return -(-self.groups * DESCRIPTOR_BYTES // BLOCK)

    @property
    def needs_recovery(self) -> bool:
        """Whether the journal must be replayed before the disk shows its latest state."""
        return bool(self._u32(0x60) & INCOMPAT_RECOVER)

    @property
    def ours(self) -> bool:
        """Whether its features are those that this package knows how to keep up when it writes."""
        features = self._u32(0x5C), self._u32(0x60), self._u32(0x64)
        return features == (COMPAT, INCOMPAT, RO_COMPAT)

    @property
    def overhead(self) -> int:
        """Blocks of metadata and journal that no file can ever use."""
        return self._u32(0x248)

    def blocks_in(self, group: int) -> int:
        """Blocks in one group."""
        return min(BLOCKS_PER_GROUP, self.blocks - group * BLOCKS_PER_GROUP)

    def set_free(self, blocks: int, inodes: int) -> None:
        """Record the totals of what is free."""
        struct.pack_into("<II", self.raw, 0x0C, blocks, inodes)


def has_backup(group: int) -> bool:
    """Whether a group begins with a copy of superblock and descriptors (sparse_super)."""
    if group <= 1:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False

"""How a file system is laid out on a disk of a given size."""

from __future__ import annotations

from dataclasses import dataclass

from services.storage.compiler.errors import CompilerError
from services.storage.compiler.ext4.superblock import (
    BLOCK,
    BLOCKS_PER_GROUP,
    DESCRIPTOR_BYTES,
    INODE_BYTES,
    INODE_ZEROED,
    INODES_PER_BLOCK,
    Group,
    has_backup,
)

LOG_FLEX = 4
FLEX = 1 << LOG_FLEX
"""Groups whose bitmaps and inode tables lie together at the start of the first of them."""

MIN_SIZE = 16 << 20
_BYTES_PER_INODE = 16384
_MIN_TAIL = 64
"""Data blocks that a short last group must offer to be worth its metadata."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of the file system, in blocks unless named otherwise."""

    blocks: int
    inodes_per_group: int
    journal: int

    @classmethod
    def of(cls, size: int) -> Geometry:
        """Lay out `size` bytes.

        Raises:
            CompilerError: too small, or beyond what 32-bit block numbers reach.
        """
        blocks = size // BLOCK
        if size < MIN_SIZE or blocks > 0xFFFFFFFF:
            raise CompilerError(f"a file system can't be made on {size} bytes")
        per_group = BLOCKS_PER_GROUP * BLOCK // _BYTES_PER_INODE
        if blocks < BLOCKS_PER_GROUP:
            per_group = -(-blocks // 4 // INODES_PER_BLOCK) * INODES_PER_BLOCK
        table = per_group // INODES_PER_BLOCK
        tail = blocks % BLOCKS_PER_GROUP
        if blocks > BLOCKS_PER_GROUP and tail < 2 + 2 * FLEX + FLEX * table + _MIN_TAIL:
            # A last group that couldn't hold a flex group's metadata is left out.
            blocks -= tail
        # Enough for transactions of 4 MiB; a larger one only makes every container's disk fatter.
        journal = 4096 if blocks >= 1 << 18 else 1024
        return cls(blocks, per_group, journal)

    @property
    def groups(self) -> int:
        """Block groups."""
        return -(-self.blocks // BLOCKS_PER_GROUP)

    @property
    def table(self) -> int:
        """Blocks of one group's inode table."""
        return self.inodes_per_group * INODE_BYTES // BLOCK

    @property
    def descriptors(self) -> int:
        """Blocks of group descriptors."""
        return -(-self.groups * DESCRIPTOR_BYTES // BLOCK)

    def blocks_in(self, group: int) -> int:
        """Blocks of one group."""
        return min(BLOCKS_PER_GROUP, self.blocks - group * BLOCKS_PER_GROUP)

    def front(self, group: int) -> int:
        """Blocks at a group's start that hold a superblock and descriptors."""
        return 1 + self.descriptors if has_backup(group) else 0

    def flex_metadata(self, group: int) -> int:
        """Blocks of bitmaps and inode tables that lie in a group, for itself and its followers."""
        if group % FLEX:
            return 0
        return min(FLEX, self.groups - group) * (2 + self.table)

    def make_groups(self) -> list[Group]:
        """The descriptors with nothing in use but metadata.

        A group's two bitmaps are neighbours, so that those of the first groups share a 64 KiB
        grain with the superblock: what every layer changes is close together.
        """
        groups: list[Group] = []
        for leader in range(0, self.groups, FLEX):
            members = min(FLEX, self.groups - leader)
            bitmaps = leader * BLOCKS_PER_GROUP + self.front(leader)
            tables = bitmaps + 2 * members
            for member in range(members):
                number = leader + member
                used = self.front(number) + self.flex_metadata(number)
                groups.append(
                    Group(
                        block_bitmap=bitmaps + 2 * member,
                        inode_bitmap=bitmaps + 2 * member + 1,
                        inode_table=tables + member * self.table,
                        free_blocks=self.blocks_in(number) - used,
                        free_inodes=self.inodes_per_group,
                        used_directories=0,
                        flags=INODE_ZEROED,
                        unused_inodes=self.inodes_per_group,
                    )
                )
        return groups

    @property
    def overhead(self) -> int:
        """Blocks that no file can use: metadata and the journal."""
        fronts = sum(self.front(group) for group in range(self.groups))
        return fronts + self.groups * (2 + self.table) + self.journal

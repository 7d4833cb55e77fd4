"""Taking blocks and inodes: always the next ones after those of the parent.

A layer's new data begins on a fresh grain behind everything that its parent uses, so that hardly
any grain of the child mixes old and new. Only a disk that is filled to its end goes back to the
gaps in front.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from services.storage.compiler.errors import DiskCorrupt, DiskFull
from services.storage.compiler.ext4 import bitmap
from services.storage.compiler.ext4.extents import MAX_EXTENT
from services.storage.compiler.ext4.superblock import (
    BLOCK,
    BLOCK_UNINIT,
    BLOCKS_PER_GROUP,
    FIRST_INODE,
    INODE_UNINIT,
    has_backup,
)
from services.storage.compiler.ext4.volume import Volume
from services.storage.vmdk import GRAIN

_GRAIN_BLOCKS = GRAIN // BLOCK
Run = tuple[int, int]
"""First block and number of blocks."""


class BlockAllocator:
    """Gives runs of free blocks in ascending order, and takes blocks back."""

    def __init__(self, volume: Volume) -> None:
        """Begin behind the last block in use."""
        self._volume = volume
        self._bitmaps: dict[int, bytearray] = {}
        self._freed = array("Q")
        """Runs, each as one number: there can be as many as files."""
        self._runs = self._free_runs(self._first_fresh())
        self._run_start = self._next = self._end = 0
        self._progress = True

    def take(self, count: int) -> list[Run]:
        """Blocks for `count` blocks of data, in as few runs as there can be.

        Raises:
            DiskFull: there aren't as many.
        """
        start = self._next
        if count <= self._end - start and count <= MAX_EXTENT:
            self._next = start + count
            return [(start, count)]
        runs: list[Run] = []
        while count:
            room = self._end - self._next
            if not room:
                self._next_run()
                continue
            step = min(room, count, MAX_EXTENT)
            runs.append((self._next, step))
            self._next += step
            count -= step
        return runs

    def take_one(self) -> int:
        """A single block."""
        return self.take(1)[0][0]

    def free(self, start: int, count: int) -> None:
        """Give blocks back, as many as an extent may have.

        They may be given out again, but only when all others are used.
        """
        self._freed.append(start << 16 | count)

    def finish(self) -> dict[int, bytearray]:
        """Settle what is taken and freed; the bitmaps that changed, by group."""
        self._settle()
        for number, data in self._bitmaps.items():
            group = self._volume.groups[number]
            valid = self._volume.superblock.blocks_in(number)
            used = int.from_bytes(data, "little").bit_count() - (BLOCKS_PER_GROUP - valid)
            group.free_blocks = valid - used
            group.flags &= ~BLOCK_UNINIT
        return self._bitmaps

    def _next_run(self) -> None:
        self._mark()
        run = next(self._runs, None)
        if run is None:
            if not self._progress:
                raise DiskFull("the image doesn't fit into the image store's base size")
            # From the front again, with what was freed meanwhile.
            self._settle()
            self._progress = False
            self._runs = self._free_runs(0)
            return
        self._progress = True
        start, count = run
        self._run_start = self._next = start
        self._end = start + count

    def _mark(self) -> None:
        self._change(self._run_start, self._next - self._run_start, used=True)
        self._run_start = self._next

    def _settle(self) -> None:
        self._mark()
        for run in self._freed:
            self._change(run >> 16, run & 0xFFFF, used=False)
        del self._freed[:]

    def _change(self, start: int, count: int, *, used: bool) -> None:
        change = bitmap.set_range if used else bitmap.clear_range
        while count:
            group, first = divmod(start, BLOCKS_PER_GROUP)
            step = min(count, BLOCKS_PER_GROUP - first)
            change(self._bitmap(group), first, step)
            start += step
            count -= step

    def _bitmap(self, number: int) -> bytearray:
        """A group's bitmap, to be changed."""
        data = self._bitmaps.get(number)
        if data is None:
            data = self._bitmaps[number] = bytearray(self._read(number))
        return data

    def _read(self, number: int) -> bytes | bytearray:
        if number in self._bitmaps:
            return self._bitmaps[number]
        superblock = self._volume.superblock
        group = self._volume.groups[number]
        if not group.flags & BLOCK_UNINIT:
            return self._volume.read_block(group.block_bitmap)
        data = bitmap.new_bitmap(superblock.blocks_in(number))
        if has_backup(number):
            bitmap.set_range(data, 0, 1 + superblock.descriptor_blocks)
        return data

    def _free_runs(self, first: int) -> Iterator[Run]:
        superblock = self._volume.superblock
        for number in range(first // BLOCKS_PER_GROUP, superblock.groups):
            if not self._volume.groups[number].free_blocks and number not in self._bitmaps:
                continue
            base = number * BLOCKS_PER_GROUP
            valid = superblock.blocks_in(number)
            for start, count in list(bitmap.free_runs(self._read(number), valid)):
                skip = max(0, first - base - start)
                if skip < count:
                    yield base + start + skip, count - skip

    def _first_fresh(self) -> int:
        """The first grain behind all blocks in use, metadata of empty groups aside."""
        superblock = self._volume.superblock
        for number in range(superblock.groups - 1, -1, -1):
            group = self._volume.groups[number]
            if group.flags & BLOCK_UNINIT:
                continue
            valid = superblock.blocks_in(number)
            if valid - group.free_blocks <= self._metadata_in(number):
                continue
            last = number * BLOCKS_PER_GROUP + bitmap.last_set(self._read(number), valid)
            return -(-(last + 1) // _GRAIN_BLOCKS) * _GRAIN_BLOCKS
        return 0

    def _metadata_in(self, number: int) -> int:
        """Blocks of a group that hold backups, bitmaps and inode tables."""
        superblock = self._volume.superblock
        count = 1 + superblock.descriptor_blocks if has_backup(number) else 0
        base = number * BLOCKS_PER_GROUP
        table = superblock.inodes_per_group // 16
        for group in self._volume.groups:
            for start, blocks in (
                (group.block_bitmap, 1),
                (group.inode_bitmap, 1),
                (group.inode_table, table),
            ):
                count += max(0, min(start + blocks, base + BLOCKS_PER_GROUP) - max(start, base))
        return count


class InodeAllocator:
    """Gives free inodes in ascending order, and takes inodes back."""

    def __init__(self, volume: Volume) -> None:
        """Begin behind the last inode that was ever used."""
        self._volume = volume
        self._per_group = volume.superblock.inodes_per_group
        self._count = volume.superblock.inodes
        self._bitmaps: dict[int, bytearray] = {}
        self._next = self._first_fresh()
        self._gaps: Iterator[int] | None = None
        self._run_start = self._end = self._next
        """What is taken since it was last marked, and where its group ends."""
        self._directories = 0
        """How many of those are directories."""

    def take(self, *, directory: bool) -> int:
        """An inode's number.

        Raises:
            DiskFull: all are taken.
        """
        number = self._next
        if number >= self._end:
            self._mark()
            if number > self._count:
                number = self._take_gap()
                self._use(number, 1, directories=directory)
                return number
            self._end = number + self._per_group - (number - 1) % self._per_group
        self._next = number + 1
        self._directories += directory
        return number

    def _mark(self) -> None:
        """Settle what was taken of a group in one go."""
        if self._next > self._run_start:
            self._use(self._run_start, self._next - self._run_start, directories=self._directories)
            self._run_start = self._next
            self._directories = 0

    def _use(self, number: int, count: int, *, directories: int) -> None:
        number_in, index = divmod(number - 1, self._per_group)
        bitmap.set_range(self._bitmap(number_in), index, count)
        group = self._volume.groups[number_in]
        group.free_inodes -= count
        group.used_directories += directories
        if group.free_inodes < 0 or group.used_directories > self._per_group:
            raise DiskCorrupt("a group's counts of inodes are wrong")
        group.unused_inodes = min(group.unused_inodes, self._per_group - index - count)

    def free(self, number: int, *, directory: bool) -> None:
        """Give an inode back."""
        self._mark()
        number_in, index = divmod(number - 1, self._per_group)
        self._bitmap(number_in)[index >> 3] &= ~(1 << (index & 7))
        group = self._volume.groups[number_in]
        group.free_inodes += 1
        group.used_directories -= directory
        if group.free_inodes > self._per_group or group.used_directories < 0:
            raise DiskCorrupt("a group's counts of inodes are wrong")

    def finish(self) -> dict[int, bytearray]:
        """The bitmaps that changed, by group."""
        self._mark()
        for number in self._bitmaps:
            self._volume.groups[number].flags &= ~INODE_UNINIT
        return self._bitmaps

    def _take_gap(self) -> int:
        if self._gaps is None:
            self._gaps = self._free_inodes()
        number = next(self._gaps, None)
        if number is None:
            # Once more from the front: inodes may have been freed behind the place we were at.
            self._gaps = self._free_inodes()
            number = next(self._gaps, None)
        if number is None:
            raise DiskFull("the image has more files than the image store's base disk has inodes")
        return number

    def _free_inodes(self) -> Iterator[int]:
        for number, group in enumerate(self._volume.groups):
            if not group.free_inodes:
                continue
            base = number * self._per_group + 1
            for start, count in list(bitmap.free_runs(self._bitmap(number), self._per_group)):
                yield from range(max(base + start, FIRST_INODE), base + start + count)

    def _bitmap(self, number: int) -> bytearray:
        data = self._bitmaps.get(number)
        if data is None:
            group = self._volume.groups[number]
            if group.flags & INODE_UNINIT:
                data = bitmap.new_bitmap(self._per_group)
            else:
                data = bytearray(self._volume.read_block(group.inode_bitmap))
            self._bitmaps[number] = data
        return data

    def _first_fresh(self) -> int:
        for number in range(len(self._volume.groups) - 1, -1, -1):
            group = self._volume.groups[number]
            if not group.flags & INODE_UNINIT:
                return (number + 1) * self._per_group - group.unused_inodes + 1
        return FIRST_INODE

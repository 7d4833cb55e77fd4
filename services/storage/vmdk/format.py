"""The bytes of a `monolithicSparse` VMDK: header, embedded descriptor, grain directories.

Source: VMware, "Virtual Disk Format 5.0" (2011), chapters 3 and 4. Where that text leaves a
choice, the choice is QEMU's (`qemu-img create -f vmdk`), so that a file made here is laid out
as one made there:

    sector 0      header
    sector 1      descriptor, 20 sectors
    sector 21     redundant grain directory, then its grain tables
    …             grain directory, then its grain tables
    …             grains, aligned to the grain size

All grain tables are laid out in advance; those of unwritten regions are holes in the file.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass

from services.storage.vmdk.errors import VmdkCorrupt, VmdkError

SECTOR = 512
GRAIN_SECTORS = 128
GRAIN = GRAIN_SECTORS * SECTOR
"""Bytes in a grain: 64 KiB, the size QEMU and VMware use."""

TABLE_ENTRIES = 512
"""Grain table entries in a grain table, so that one table covers 32 MiB."""

TABLE_BYTES = TABLE_ENTRIES * 4
DESCRIPTOR_SECTORS = 20
NO_PARENT_CID = 0xFFFFFFFF

_MAGIC = b"KDMV"
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_LINE_ENDINGS = b"\n \r\n"
_FLAG_LINE_TEST = 0x1
_FLAG_REDUNDANT_TABLE = 0x2
_FLAG_ZERO_GRAINS = 0x4
_FLAG_COMPRESSED = 0x10000
_FLAG_MARKERS = 0x20000
_MAX_CAPACITY_SECTORS = 1 << 32
"""2 TiB: the largest disk that 32-bit sector numbers in a grain table can fill."""


@dataclass(frozen=True)
class Layout:
    """Where everything lies in a sparse extent; offsets and sizes in sectors."""

    capacity: int
    tables: int
    redundant_directory: int
    directory: int
    first_grain: int

    @classmethod
    def of(cls, size: int) -> Layout:
        """Lay out a disk of `size` bytes, a multiple of the grain size.

        Raises:
            VmdkError: the size is zero, too large, or not a multiple of 64 KiB.
        """
        if size <= 0 or size % GRAIN or size // SECTOR > _MAX_CAPACITY_SECTORS:
            raise VmdkError(f"a disk of {size} bytes: not a multiple of 64 KiB up to 2 TiB")
        tables = -(-size // (GRAIN * TABLE_ENTRIES))
        directory_sectors = -(-tables * 4 // SECTOR)
        span = directory_sectors + tables * TABLE_BYTES // SECTOR
        redundant = 1 + DESCRIPTOR_SECTORS
        end = redundant + 2 * span
        return cls(
            capacity=size // SECTOR,
            tables=tables,
            redundant_directory=redundant,
            directory=redundant + span,
            first_grain=-(-end // GRAIN_SECTORS) * GRAIN_SECTORS,
        )

    def first_table(self, directory: int) -> int:
        """The sector of the first grain table that belongs to the directory at that sector."""
        return directory + -(-self.tables * 4 // SECTOR)

    def directory_bytes(self, directory: int) -> bytes:
        """The grain directory whose tables follow it one after another."""
        first = self.first_table(directory)
        step = TABLE_BYTES // SECTOR
        sectors = range(first, first + self.tables * step, step)
        return struct.pack(f"<{self.tables}I", *sectors)

    def header(self) -> bytes:
        """The first sector of the file."""
        packed = _HEADER.pack(
            _MAGIC,
            1,
            _FLAG_LINE_TEST | _FLAG_REDUNDANT_TABLE,
            self.capacity,
            GRAIN_SECTORS,
            1,
            DESCRIPTOR_SECTORS,
            TABLE_ENTRIES,
            self.redundant_directory,
            self.directory,
            self.first_grain,
            0,
            _LINE_ENDINGS,
            0,
        )
        return packed.ljust(SECTOR, b"\0")


@dataclass(frozen=True)
class Header:
    """The fields of a header that a reader needs; offsets in sectors."""

    capacity: int
    grain_sectors: int
    descriptor: int
    descriptor_sectors: int
    table_entries: int
    directory: int
    zero_grains: bool
    """Whether a table entry of 1 means a grain of zeros that hides the parent's."""

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Read the first sector.

        Raises:
            VmdkCorrupt: not a sparse VMDK extent, or of a form that isn't random access.
        """
        if len(data) < _HEADER.size or data[:4] != _MAGIC:
            raise VmdkCorrupt("no sparse VMDK header")
        (_, version, flags, capacity, grain, descriptor, descriptor_sectors) = _HEADER.unpack(
            data[: _HEADER.size]
        )[:7]
        entries, _, directory, _, _, endings, _ = _HEADER.unpack(data[: _HEADER.size])[7:]
        if version not in (1, 2, 3) or flags & (_FLAG_COMPRESSED | _FLAG_MARKERS):
            raise VmdkCorrupt(f"VMDK version {version} with flags {flags:#x} can't be read here")
        if flags & _FLAG_LINE_TEST and endings != _LINE_ENDINGS:
            raise VmdkCorrupt("the file was damaged by a transfer in text mode")
        if not 1 <= grain <= 0x10000 or grain & (grain - 1) or entries != TABLE_ENTRIES:
            raise VmdkCorrupt(f"grains of {grain} sectors, tables of {entries} entries")
        if not capacity or capacity > _MAX_CAPACITY_SECTORS or not directory:
            raise VmdkCorrupt(f"capacity of {capacity} sectors, directory at {directory}")
        if not descriptor or not 1 <= descriptor_sectors <= 2048:
            raise VmdkCorrupt("no embedded descriptor")
        if max(descriptor, directory) > _MAX_CAPACITY_SECTORS:
            raise VmdkCorrupt("a header that points outside of any file")
        return cls(
            capacity=capacity,
            grain_sectors=grain,
            descriptor=descriptor,
            descriptor_sectors=descriptor_sectors,
            table_entries=entries,
            directory=directory,
            zero_grains=bool(flags & _FLAG_ZERO_GRAINS),
        )


@dataclass(frozen=True)
class Descriptor:
    """The embedded text: identity of the content and of the parent."""

    cid: int
    parent_cid: int = NO_PARENT_CID
    parent_hint: str | None = None
    """The parent's path, relative to the directory of this file."""

    def text(self, extent_name: str, capacity: int) -> bytes:
        """The descriptor for an extent of `capacity` sectors, padded to its place in the file.

        Raises:
            VmdkError: a name that the descriptor's syntax can't carry.
        """
        for name in (extent_name, self.parent_hint or ""):
            if re.search(r'["\x00-\x1f\x7f]', name):
                raise VmdkError(f"a VMDK descriptor can't carry the name {name!r}")
        hint = f'parentFileNameHint="{self.parent_hint}"\n' if self.parent_hint else ""
        # Geometry as VMware computes it for disks of the lsilogic adapter.
        cylinders = min(capacity // (255 * 63), 65535)
        text = (
            "# Disk DescriptorFile\n"
            "version=1\n"
            'encoding="UTF-8"\n'
            f"CID={self.cid:08x}\n"
            f"parentCID={self.parent_cid:08x}\n"
            'createType="monolithicSparse"\n'
            f"{hint}"
            "\n# Extent description\n"
            f'RW {capacity} SPARSE "{extent_name}"\n'
            "\n# The Disk Data Base\n#DDB\n\n"
            'ddb.virtualHWVersion = "4"\n'
            f'ddb.geometry.cylinders = "{cylinders}"\n'
            'ddb.geometry.heads = "255"\n'
            'ddb.geometry.sectors = "63"\n'
            'ddb.adapterType = "lsilogic"\n'
        ).encode()
        room = DESCRIPTOR_SECTORS * SECTOR
        if len(text) >= room:
            raise VmdkError("the path of the parent is too long for a VMDK descriptor")
        return text.ljust(room, b"\0")

    @classmethod
    def parse(cls, data: bytes) -> Descriptor:
        """Read an embedded descriptor.

        Raises:
            VmdkCorrupt: no content ID, or bytes that aren't UTF-8.
        """
        try:
            text = data.split(b"\0", 1)[0].decode()
        except UnicodeDecodeError as error:
            raise VmdkCorrupt("the descriptor isn't UTF-8") from error
        cid = re.search(r"^CID\s*=\s*([0-9a-fA-F]{1,8})\s*$", text, re.MULTILINE)
        parent = re.search(r"^parentCID\s*=\s*([0-9a-fA-F]{1,8})\s*$", text, re.MULTILINE)
        hint = re.search(r'^parentFileNameHint\s*=\s*"([^"\n]*)"\s*$', text, re.MULTILINE)
        if cid is None or parent is None:
            raise VmdkCorrupt("the descriptor has no content ID")
        return cls(
            cid=int(cid[1], 16),
            parent_cid=int(parent[1], 16),
            parent_hint=hint[1] if hint else None,
        )


def content_id(name: str) -> int:
    """The content ID for a layer's chain ID (or any other stable name).

    Same name, same ID, so that a layer is the same file wherever it is built. The two values
    that VMware gives a meaning of their own (no parent, no content yet) never come out.
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 0xFFFFFFFE

"""Reading a disk through its chain of VMDK files, the topmost first."""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from types import TracebackType
from typing import Self

from services.storage.vmdk.errors import ChainBroken, VmdkCorrupt
from services.storage.vmdk.format import (
    NO_PARENT_CID,
    SECTOR,
    TABLE_BYTES,
    TABLE_ENTRIES,
    Descriptor,
    Header,
)

MAX_DEPTH = 255
"""Levels in a chain: vSphere's own limit."""

_NO_TABLE = array("I", bytes(TABLE_BYTES))
_ZERO_GRAIN = 1


class Extent:
    """One VMDK file, opened read-only. Grain tables are read when first needed."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its header, descriptor and grain directory.

        Raises:
            OSError: the file can't be opened.
            VmdkCorrupt: it isn't a sparse VMDK, or is cut.
        """
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            head = os.pread(self._fd, 16384, 0)
            self.header = Header.parse(head)
            start = self.header.descriptor * SECTOR
            length = self.header.descriptor_sectors * SECTOR
            text = head[start : start + length]
            if len(text) < length:
                text = os.pread(self._fd, length, start)
            self.descriptor = Descriptor.parse(text)
            self.grain = self.header.grain_sectors * SECTOR
            self.size = self.header.capacity * SECTOR
            tables = -(-self.size // (self.grain * TABLE_ENTRIES))
            raw = os.pread(self._fd, tables * 4, self.header.directory * SECTOR)
            if len(raw) < tables * 4:
                raise VmdkCorrupt("the grain directory is cut")
            self._directory = array("I", raw)
        except VmdkCorrupt as error:
            os.close(self._fd)
            raise VmdkCorrupt(f"{path}: {error}") from error
        except BaseException:  # ^C too: the descriptor has no other owner yet
            os.close(self._fd)
            raise
        self._tables: dict[int, array[int]] = {}

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def table(self, number: int) -> array[int]:
        """One grain table: for each of its 512 grains the sector in the file, 0 for none."""
        table = self._tables.get(number)
        if table is None:
            sector = self._directory[number]
            if not sector:
                table = _NO_TABLE
            else:
                raw = os.pread(self._fd, TABLE_BYTES, sector * SECTOR)
                if len(raw) < TABLE_BYTES:
                    raise VmdkCorrupt(f"{self.path}: grain table {number} is cut")
                table = array("I", raw)
            self._tables[number] = table
        return table

    def tables(self) -> range:
        """The numbers of all grain tables."""
        return range(len(self._directory))

    def read(self, sector: int, inside: int, length: int) -> bytes:
        """Bytes of the grain that lies at a sector of the file, from `inside` on."""
        data = os.pread(self._fd, length, sector * SECTOR + inside)
        if len(data) == length:
            return data
        # QEMU ends a file inside its last grain; what is missing there reads as zeros.
        if sector * SECTOR >= os.fstat(self._fd).st_size:
            raise VmdkCorrupt(f"{self.path}: the file is cut")
        return data.ljust(length, b"\0")


class Chain:
    """A disk: a VMDK and its parents. Reads see what QEMU shows a guest."""

    def __init__(self, path: Path) -> None:
        """Open a disk and every parent its descriptors name.

        Raises:
            OSError: the top can't be opened.
            ChainBroken: a parent is missing or isn't the one the child was made on.
            VmdkCorrupt: a file of the chain is damaged.
        """
        self.extents: list[Extent] = []
        self._grains: dict[int, tuple[Extent, int] | None] = {}
        try:
            self._open(path)
        except BaseException:  # as above, of all that are open so far
            self.close()
            raise
        self.size = self.extents[0].size
        self.grain = self.extents[0].grain

    def _open(self, path: Path) -> None:
        while True:
            extent = Extent(path)
            self.extents.append(extent)
            if len(self.extents) > MAX_DEPTH:
                raise ChainBroken(f"{self.extents[0].path}: over {MAX_DEPTH} levels, or a loop")
            if len(self.extents) > 1:
                self._check_link(self.extents[-2], extent)
            if extent.descriptor.parent_cid == NO_PARENT_CID:
                return
            if not extent.descriptor.parent_hint:
                raise ChainBroken(f"{path}: has a parent but doesn't name it")
            path = path.parent / extent.descriptor.parent_hint
            if not path.exists():
                raise ChainBroken(f"{extent.path}: its parent {path} is missing")

    @staticmethod
    def _check_link(child: Extent, parent: Extent) -> None:
        if child.descriptor.parent_cid != parent.descriptor.cid:
            raise ChainBroken(
                f"{child.path}: made on content {child.descriptor.parent_cid:08x}, "
                f"but {parent.path} holds {parent.descriptor.cid:08x}"
            )
        if (child.size, child.grain) != (parent.size, parent.grain):
            raise ChainBroken(f"{child.path}: size or grain differs from {parent.path}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file of the chain."""
        for extent in self.extents:
            extent.close()
        self.extents.clear()

    @property
    def cid(self) -> int:
        """The content ID of the topmost file."""
        return self.extents[0].descriptor.cid

    @property
    def paths(self) -> list[Path]:
        """The files, top to base."""
        return [extent.path for extent in self.extents]

    def _find(self, grain: int) -> tuple[Extent, int] | None:
        number, index = divmod(grain, TABLE_ENTRIES)
        found: tuple[Extent, int] | None = None
        for extent in self.extents:
            sector = extent.table(number)[index]
            if sector:
                if sector != _ZERO_GRAIN or not extent.header.zero_grains:
                    found = (extent, sector)
                break
        self._grains[grain] = found
        return found

    def holds(self, grain: int) -> bool:
        """Whether any file of the chain has data for a grain; if not, it reads as zeros."""
        if grain in self._grains:
            return self._grains[grain] is not None
        return self._find(grain) is not None

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the disk.

        Raises:
            ValueError: outside the disk.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset} of a disk of {self.size}")
        grain, inside = divmod(offset, self.grain)
        if inside + length <= self.grain:
            return self._read_grain(grain, inside, length)
        parts: list[bytes] = []
        while length:
            step = min(length, self.grain - inside)
            parts.append(self._read_grain(grain, inside, step))
            length -= step
            grain += 1
            inside = 0
        return b"".join(parts)

    def _read_grain(self, grain: int, inside: int, length: int) -> bytes:
        found = self._grains[grain] if grain in self._grains else self._find(grain)
        if found is None:
            return bytes(length)
        extent, sector = found
        return extent.read(sector, inside, length)

"""Writing sealed VMDK files, and making empty ones."""

from __future__ import annotations

import os
import secrets
from array import array
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from services.storage.vmdk.errors import VmdkError
from services.storage.vmdk.format import (
    GRAIN,
    GRAIN_SECTORS,
    SECTOR,
    TABLE_BYTES,
    TABLE_ENTRIES,
    Descriptor,
    Layout,
    content_id,
)
from services.storage.vmdk.reader import Chain, Extent

_FLUSH_SECTORS = (16 << 20) // SECTOR

PARTIAL_SUFFIX = ".partial"
"""Ending of the name of a file that isn't complete; a sweep may remove what carries it."""

_MOST_PARTS = 1024
"""Parts that Linux writes at once (IOV_MAX)."""


class PartialFile:
    """A file written under a temporary name that gets its own name only when it is complete."""

    def __init__(self, path: Path) -> None:
        """Create the temporary file in the directory where the file shall be."""
        self.path = path
        self._partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}{PARTIAL_SUFFIX}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.fd = os.open(self._partial, flags, 0o600)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data`, in as many steps as the kernel takes it."""
        _write(self.fd, data, offset)

    def write_parts(self, parts: list[memoryview], offset: int) -> None:
        """Write all parts one behind the other, in as many steps as the kernel takes them."""
        left = sum(map(len, parts))
        while left:
            written = os.pwritev(self.fd, parts[:_MOST_PARTS], offset)
            offset += written
            left -= written
            if left:  # there were more, or the disk took less
                rest = _Parts(parts)
                rest.take(written)
                parts = rest.take(left)

    def commit(self, mode: int, *, durable: bool) -> None:
        """Give the file its name and mode; durable: it outlives a power cut from then on."""
        os.fchmod(self.fd, mode)
        if durable:
            os.fsync(self.fd)
        os.close(self.fd)
        self.fd = -1
        os.rename(self._partial, self.path)
        if durable:
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def discard(self) -> None:
        """Remove what was written; after a commit there is nothing to remove."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self._partial.unlink(missing_ok=True)


class _Parts:
    """Bytes in parts, taken off in front."""

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self._parts = list(reversed(parts))

    def take(self, count: int) -> list[memoryview]:
        """The next `count` bytes."""
        parts = self._parts
        taken: list[memoryview] = []
        while count:
            part = parts.pop()
            if len(part) > count:
                parts.append(part[count:])
                part = part[:count]
            taken.append(part)
            count -= len(part)
        return taken


class SparseWriter:
    """Writes one VMDK, alone or as the child of a chain, and seals it.

    Grains are appended in the order of their first write. Where only a part of a grain is
    written, the rest comes from the parent, as the format asks for.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        cid: int,
        parent: Chain | None = None,
        *,
        durable: bool = True,
    ) -> None:
        """Begin the file. It is invisible under its name until `seal`.

        Args:
            path: the file to make; an older one of that name is replaced.
            size: bytes of the disk.
            cid: the content ID.
            parent: the disk below, which stays open until `seal`.
            durable: survive a power cut once it is sealed.
        """
        if parent is not None and (parent.size, parent.grain) != (size, GRAIN):
            raise VmdkError(f"{path}: a child has the size and grain of its parent")
        self._layout = Layout.of(size)
        self._descriptor = _descriptor(path, cid, parent.extents[0] if parent else None)
        self._parent = parent
        self._tables: dict[int, array[int]] = {}
        self._next = self._layout.first_grain
        self._durable = durable
        self._flushed = self._next
        self.size = size
        self._file = PartialFile(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.discard()

    @property
    def file_size(self) -> int:
        """Length of the file so far, in bytes."""
        return self._next * SECTOR

    @property
    def grain_bytes(self) -> int:
        """Bytes of grains that this file holds."""
        return (self._next - self._layout.first_grain) * SECTOR

    def write(self, offset: int, *parts: memoryview) -> None:
        """Write bytes of the disk, in parts one behind the other.

        The offset and the length of all together are multiples of the sector.
        """
        end = offset + sum(map(len, parts))
        if offset % SECTOR or end % SECTOR or end > self.size:
            raise ValueError(f"{end - offset} bytes at {offset} of a disk of {self.size}")
        rest = _Parts(parts)
        # What lies side by side in the file as well, as new data does, is written at once.
        start = position = 0
        while offset < end:
            grain, inside = divmod(offset, GRAIN)
            step = min(GRAIN - inside, end - offset)
            at = self._sector(grain, whole=step == GRAIN) * SECTOR + inside
            if at != position:
                self._file.write_parts(rest.take(position - start), start)
                start = at
            position = at + step
            offset += step
        self._file.write_parts(rest.take(position - start), start)
        if self._durable and self._next - self._flushed >= _FLUSH_SECTORS:
            self._start_flush()

    def _sector(self, grain: int, *, whole: bool) -> int:
        """Where a grain lies in the file, from now on if it isn't there yet.

        Where not the whole of it will be written, the rest of a new one comes from the parent.
        """
        number, index = divmod(grain, TABLE_ENTRIES)
        table = self._table(number)
        sector = table[index]
        if not sector:
            sector = table[index] = self._next
            self._next += GRAIN_SECTORS
            if not whole and self._parent is not None and self._parent.holds(grain):
                self._file.write(self._parent.read(grain * GRAIN, GRAIN), sector * SECTOR)
        return sector

    def _table(self, number: int) -> array[int]:
        table = self._tables.get(number)
        if table is None:
            table = self._tables[number] = array("I", bytes(TABLE_BYTES))
        return table

    def _start_flush(self) -> None:
        """Send what is written on its way to the disk, so that the fsync at the end finds it there.

        To drop dirty pages Linux begins to write them, doesn't wait, and so keeps them cached.
        """
        start, length = self._flushed * SECTOR, (self._next - self._flushed) * SECTOR
        os.posix_fadvise(self._file.fd, start, length, os.POSIX_FADV_DONTNEED)
        self._flushed = self._next

    def seal(self, mode: int = 0o444) -> None:
        """Write the tables, set the file's mode (read-only for a layer) and give it its name."""
        layout = self._layout
        os.ftruncate(self._file.fd, self.file_size)
        for number, table in sorted(self._tables.items()):
            raw = table.tobytes()
            for directory in (layout.redundant_directory, layout.directory):
                self._file.write(raw, layout.first_table(directory) * SECTOR + number * TABLE_BYTES)
        _write_front(self._file.fd, self._file.path.name, layout, self._descriptor)
        self._file.commit(mode, durable=self._durable)


def create_disk(path: Path, *, parent: Path | None = None, size: int = 0, name: str) -> None:
    """Make an empty disk that QEMU may write: a container's, or a volume's when it has no parent.

    It holds nothing of its own: reads see the parent, or zeros. To sync it is the caller's.

    Args:
        path: the file to make, which isn't there; its directory exists, and nobody looks there yet.
        parent: the disk it shows until it is written.
        size: bytes of a disk without a parent; ignored otherwise.
        name: what the content ID is derived from, such as the container's ID.

    Raises:
        OSError: the directory can't be written.
        VmdkError: the size or a path isn't possible.
    """
    if parent is None:
        _create(path, Layout.of(size), Descriptor(content_id(name)))
        return
    # Only the direct parent is opened: this is on the way of every container's creation.
    above = Extent(parent)
    above.close()
    descriptor = _descriptor(path, content_id(name), above)
    _create(path, Layout.of(above.size), descriptor)


def _create(path: Path, layout: Layout, descriptor: Descriptor) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, layout.first_grain * SECTOR)
        _write_front(fd, path.name, layout, descriptor)
    finally:
        os.close(fd)


def _write_front(fd: int, name: str, layout: Layout, descriptor: Descriptor) -> None:
    """Header, descriptor and both grain directories."""
    redundant = layout.directory_bytes(layout.redundant_directory)
    _write(fd, layout.header() + descriptor.text(name, layout.capacity) + redundant, 0)
    _write(fd, layout.directory_bytes(layout.directory), layout.directory * SECTOR)


def _write(fd: int, data: bytes | memoryview, offset: int) -> None:
    rest = memoryview(data)
    while len(rest):
        written = os.pwrite(fd, rest, offset)
        rest = rest[written:]
        offset += written


def _descriptor(path: Path, cid: int, parent: Extent | None) -> Descriptor:
    if parent is None:
        return Descriptor(cid)
    hint = os.path.relpath(parent.path.resolve(), path.parent.resolve())
    return Descriptor(cid, parent.descriptor.cid, hint)

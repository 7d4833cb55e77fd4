"""What a layer has too much of for memory: in files without a name, which end with their holder.

Nothing of them is in what is compiled: whether something was set aside shows in no byte of a layer.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from services.storage.compiler.ext4.superblock import BLOCK


class NamelessFile:
    """A file that is made when it is first needed."""

    def __init__(self, directory: Path | None) -> None:
        """It is made in the directory; without one, in that of temporary files."""
        self._directory = directory
        self._file: BinaryIO | None = None

    @property
    def fd(self) -> int:
        """Its descriptor."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
        return self._file.fileno()

    def write(self, data: bytes | bytearray, offset: int) -> None:
        """Write all of `data`."""
        rest = memoryview(data)
        while len(rest):
            written = os.pwrite(self.fd, rest, offset)
            rest = rest[written:]
            offset += written


class SpareBlocks:
    """Blocks of a disk, each at its own place in a file of holes."""

    def __init__(self, blocks: int, directory: Path | None) -> None:
        """`blocks` is how many the disk has; the file is made in the directory."""
        self._file = NamelessFile(directory)
        self._there = bytearray(-(-blocks // 8))

    def __contains__(self, block: int) -> bool:
        """Whether a block was set aside."""
        return bool(self._there[block >> 3] & 1 << (block & 7))

    def put(self, block: int, data: bytes | bytearray) -> None:
        """Set a block aside, or what it begins with."""
        self._file.write(data, block * BLOCK)
        self._there[block >> 3] |= 1 << (block & 7)

    def get(self, block: int, length: int = BLOCK) -> bytes:
        """The first bytes of a block that was set aside."""
        return os.pread(self._file.fd, length, block * BLOCK)


class SpareRecords:
    """Records of any length. A record's place is one number, which is never 0."""

    def __init__(self, directory: Path | None) -> None:
        """The file is made in the directory."""
        self._file = NamelessFile(directory)
        self._end = 1

    def put(self, data: bytes, place: int) -> int:
        """Set a record aside, where it fits at the place that it had (or 0); where it is then.

        Places are of powers of two, so that one that grows takes no more than four times its size.
        """
        if not place or 1 << (place & 0x3F) < len(data):
            room = (len(data) - 1).bit_length()
            place = self._end << 6 | room
            self._end += 1 << room
        self._file.write(data, place >> 6)
        return place

    def get(self, place: int) -> bytes:
        """The record at a place, and whatever is behind it there."""
        parts: list[bytes] = []
        offset, left = place >> 6, 1 << (place & 0x3F)
        while left and (data := os.pread(self._file.fd, left, offset)):
            parts.append(data)
            offset += len(data)
            left -= len(data)
        return b"".join(parts)

"""What a layer has too much of for memory: in files without a name, which end with their holder.

Nothing of them is in what is compiled: whether something was set aside shows in no byte of a layer.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from services.storage.compiler.ext4.superblock import BLOCK

Place = tuple[int, int]
"""Where a record lies in its file, and how many bytes there are for it."""


class _Nameless:
    """A file that is made when it is first needed."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._file: BinaryIO | None = None

    @property
    def fd(self) -> int:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
        return self._file.fileno()

    def write(self, data: bytes | bytearray, offset: int) -> None:
        rest = memoryview(data)
        while len(rest):
            written = os.pwrite(self.fd, rest, offset)
            rest = rest[written:]
            offset += written


class SpareBlocks:
    """Blocks of a disk, each at its own place in a file of holes."""

    def __init__(self, blocks: int, directory: Path | None) -> None:
        """`blocks` is how many the disk has; the file is made in the directory."""
        self._file = _Nameless(directory)
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
    """Records of any length."""

    def __init__(self, directory: Path | None) -> None:
        """The file is made in the directory."""
        self._file = _Nameless(directory)
        self._end = 0

    def put(self, data: bytes, place: Place | None) -> Place:
        """Set a record aside, where it fits at the place that it had; where it is then.

        Places are of powers of two, so that one that grows takes no more than four times its size.
        """
        if place is None or place[1] < len(data):
            place = (self._end, 1 << (len(data) - 1).bit_length())
            self._end += place[1]
        self._file.write(data, place[0])
        return place

    def get(self, place: Place) -> bytes:
        """The record at a place, and whatever is behind it there."""
        parts: list[bytes] = []
        offset, left = place
        while left and (data := os.pread(self._file.fd, left, offset)):
            parts.append(data)
            offset += len(data)
            left -= len(data)
        return b"".join(parts)

"""What goes into the compiler and what comes out of it, besides bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

GIB = 1 << 30
DEFAULT_SIZE = 8 * GIB
"""Virtual size of a base disk when nothing else is configured."""


class Readable(Protocol):
    """A stream of the uncompressed tar: a file open for reading, a pipe, a decompressor."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, empty at the end."""


class BlockSource(Protocol):
    """A disk to read, such as a `Chain` or a raw device."""

    @property
    def size(self) -> int:
        """Bytes of the disk."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes; unwritten parts are zeros."""


class BlockSink(Protocol):
    """Where the block delta goes: a child VMDK, or a raw device."""

    def write(self, offset: int, *parts: memoryview) -> None:
        """Put bytes, in parts one behind the other, at an offset of the disk.

        The offset and the length of all together are multiples of 4096.
        """


@dataclass(frozen=True)
class Limits:
    """What one layer may cost. Exceeding any of them is a `LayerTooLarge`."""

    bytes: int = 64 * GIB
    """Bytes of uncompressed tar."""
    entries: int = 2_000_000
    """Members of the tar."""
    header_bytes: int = 1 << 20
    """Bytes of one extended header, or of one long name."""
    path_steps: int = 20_000_000
    """Path components looked up, which links to links can multiply; a few seconds' work."""


@dataclass(frozen=True)
class LayerInfo:
    """What was made."""

    size: int
    """Virtual bytes of the disk."""
    bytes_written: int
    """Length of the VMDK file, holes included."""
    changed_bytes: int
    """Bytes of grains in the VMDK file: what the layer takes in the store."""
    entries: int = 0
    """Members of the tar."""
    bytes_read: int = 0
    """Bytes of tar read, padding and all."""
    dropped_xattrs: int = 0
    """Extended attributes left out since ext4 has no place for their name."""

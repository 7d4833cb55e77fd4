"""Which inodes of the container's file system aren't what they are in its image's.

Both are ext4 of one form, which storage has made, and one began as the other. So the tables of
inodes are compared as bytes, which takes a fraction of what asking for each file does. A mounted
file system has its latest inodes in the device's own cache, which is what is read here; the
workload's root can write nonsense there and misleads itself alone.

Source: Linux, Documentation/filesystems/ext4.
"""

from __future__ import annotations

import os
import struct

_BLOCK = 4096
_INODE = 256
_SUPERBLOCK = 1024
_DESCRIPTOR = struct.Struct("<8xI16xH2x")  # the table's first block, inodes of it never used
_MAGIC = 0xEF53
_MOST_INODES = 1 << 24
# 64-bit block numbers, and checksums in inodes: another form than storage's.
_INCOMPAT_64BIT = 0x80
_RO_COMPAT_CHECKSUMS = 0x400
# Times of access: reading is no change.
_ACCESS = (slice(0x08, 0x0C), slice(0x8C, 0x90))


def touched_inodes(disk: str, image: str) -> set[int] | None:
    """Return the numbers of inodes that differ between two devices, in all but times of access.

    None where the file systems are of another form. Raises OSError.
    """
    ours = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _compare(ours, theirs)
        finally:
            os.close(theirs)
    finally:
        os.close(ours)


def _compare(ours: int, theirs: int) -> set[int] | None:
    form = _form(os.pread(ours, 1024, _SUPERBLOCK))
    if form is None or form != _form(os.pread(theirs, 1024, _SUPERBLOCK)):
        return None
    groups, per_group = form
    touched: set[int] = set()
    for group in range(groups):
        place = _BLOCK + group * 32
        table, unused = _DESCRIPTOR.unpack(os.pread(ours, 32, place))
        other, other_unused = _DESCRIPTOR.unpack(os.pread(theirs, 32, place))
        size = (per_group - min(unused, other_unused, per_group)) * _INODE
        for offset in range(0, size, _BLOCK):
            length = min(_BLOCK, size - offset)
            mine = os.pread(ours, length, table * _BLOCK + offset)
            its = os.pread(theirs, length, other * _BLOCK + offset)
            if mine != its:
                first = group * per_group + offset // _INODE + 1
                touched.update(first + number for number in _differing(mine, its))
    return touched


def _form(superblock: bytes) -> tuple[int, int] | None:
    """Groups, and inodes in each; None for what storage doesn't make."""
    if len(superblock) < 1024 or struct.unpack_from("<H", superblock, 0x38)[0] != _MAGIC:
        return None
    inodes, block_size, per_group = (
        struct.unpack_from("<I", superblock, at)[0] for at in (0x00, 0x18, 0x28)
    )
    inode_size = struct.unpack_from("<H", superblock, 0x58)[0]
    incompat, ro_compat = struct.unpack_from("<II", superblock, 0x60)
    if block_size != 2 or inode_size != _INODE or not 0 < inodes <= _MOST_INODES or not per_group:
        return None
    if incompat & _INCOMPAT_64BIT or ro_compat & _RO_COMPAT_CHECKSUMS:
        return None
    return inodes // per_group, per_group


def _differing(ours: bytes, theirs: bytes) -> list[int]:
    """Places of inodes in a piece of a table that differ."""
    found = []
    for number in range(len(ours) // _INODE):
        one = bytearray(ours[number * _INODE : (number + 1) * _INODE])
        other = bytearray(theirs[number * _INODE : (number + 1) * _INODE])
        if one == other:
            continue
        for part in _ACCESS:
            one[part] = other[part] = bytes(4)
        if one != other:
            found.append(number)
    return found

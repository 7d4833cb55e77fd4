"""Inodes: 256 bytes, of which the last 96 hold small extended attributes."""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from functools import lru_cache

from services.storage.compiler.errors import DiskCorrupt
from services.storage.compiler.ext4.superblock import INODE_BYTES

INODE = struct.Struct("<HHIIIIIHHIII60sIIIIHHHHHHHHIIIIIII96s")
"""See `Inode.parse` for the order."""

EXTRA_ISIZE = 32
IN_INODE_XATTRS = 128 + EXTRA_ISIZE
XATTR_ROOM = INODE_BYTES - IN_INODE_XATTRS

FLAG_INDEX = 0x1000
FLAG_HUGE_FILE = 0x40000
FLAG_EXTENTS = 0x80000
FAST_SYMLINK = 60
"""Targets shorter than this lie in the inode itself."""
MAX_LINKS = 65000

LINKS_OFFSET = 0x1A

# File types as a directory entry carries them.
TYPE_FILE, TYPE_DIRECTORY, TYPE_CHAR, TYPE_BLOCK, TYPE_FIFO, TYPE_SOCKET, TYPE_LINK = range(1, 8)

MODE_OF_TYPE = {
    TYPE_FILE: stat.S_IFREG,
    TYPE_DIRECTORY: stat.S_IFDIR,
    TYPE_CHAR: stat.S_IFCHR,
    TYPE_BLOCK: stat.S_IFBLK,
    TYPE_FIFO: stat.S_IFIFO,
    TYPE_SOCKET: stat.S_IFSOCK,
    TYPE_LINK: stat.S_IFLNK,
}
TYPE_OF_MODE = {mode: kind for kind, mode in MODE_OF_TYPE.items()}

_NANO = 1_000_000_000
_MIN_SECONDS = -(1 << 31)
_MAX_SECONDS = (1 << 34) - (1 << 31) - 1


@lru_cache(64)  # most files have one time for all four
def encode_time(nanoseconds: int) -> tuple[int, int]:
    """Nanoseconds since 1970 as the inode's two fields.

    What lies outside 1901 … 2446 is moved to the nearest time that can be stored, as Linux does.
    """
    seconds, nano = divmod(nanoseconds, _NANO)
    if 0 <= seconds < 0x80000000:
        return seconds, nano << 2
    if seconds < _MIN_SECONDS:
        seconds, nano = _MIN_SECONDS, 0
    elif seconds > _MAX_SECONDS:
        seconds, nano = _MAX_SECONDS, 0
    low = seconds & 0xFFFFFFFF
    signed = low - (1 << 32) if low & 0x80000000 else low
    return low, nano << 2 | (seconds - signed) >> 32 & 3


def decode_time(low: int, extra: int) -> int:
    """The opposite of `encode_time`."""
    signed = low - (1 << 32) if low & 0x80000000 else low
    return (signed + ((extra & 3) << 32)) * _NANO + (extra >> 2)


@dataclass(slots=True)
class Inode:
    """What an inode says."""

    mode: int
    uid: int
    gid: int
    size: int
    links: int
    atime: int
    ctime: int
    mtime: int
    crtime: int
    sectors: int
    """Space taken, in units of 512 bytes."""
    flags: int
    block: bytes
    """60 bytes: an extent tree's root, a short link's target, or a device's number."""
    xattr_block: int
    in_inode_xattrs: bytes

    @classmethod
    def parse(cls, data: bytes) -> Inode:
        """Read 256 bytes."""
        (
            mode, uid, size, atime, ctime, mtime, _dtime, gid, links, sectors, flags, _osd1,
            block, _generation, xattr_block, size_high, _faddr, sectors_high, xattr_high,
            uid_high, gid_high, _checksum, _reserved, extra, _checksum_high, ctime_extra,
            mtime_extra, atime_extra, crtime, crtime_extra, _version, _project, _xattrs,
        ) = INODE.unpack_from(data)  # fmt: skip
        if extra < EXTRA_ISIZE:
            ctime_extra = mtime_extra = atime_extra = crtime = crtime_extra = 0
        if extra > INODE_BYTES - 128 or extra % 4:
            raise DiskCorrupt(f"an inode with {extra} extra bytes")
        sectors |= sectors_high << 32
        return cls(
            mode=mode,
            uid=uid | uid_high << 16,
            gid=gid | gid_high << 16,
            size=size | size_high << 32,
            links=links,
            atime=decode_time(atime, atime_extra),
            ctime=decode_time(ctime, ctime_extra),
            mtime=decode_time(mtime, mtime_extra),
            crtime=decode_time(crtime, crtime_extra),
            sectors=sectors * 8 if flags & FLAG_HUGE_FILE else sectors,
            flags=flags,
            block=block,
            xattr_block=xattr_block | xattr_high << 32,
            in_inode_xattrs=bytes(data[128 + extra : INODE_BYTES]),
        )

    def pack(self) -> bytes:
        """The 256 bytes."""
        time = self.mtime
        mtime, mtime_extra = encode_time(time)
        if self.atime == self.ctime == self.crtime == time:  # as in most files
            atime = ctime = crtime = mtime
            atime_extra = ctime_extra = crtime_extra = mtime_extra
        else:
            atime, atime_extra = encode_time(self.atime)
            ctime, ctime_extra = encode_time(self.ctime)
            crtime, crtime_extra = encode_time(self.crtime)
        uid, gid, size, sectors = self.uid, self.gid, self.size, self.sectors
        return INODE.pack(
            self.mode, uid & 0xFFFF, size & 0xFFFFFFFF, atime, ctime, mtime, 0,
            gid & 0xFFFF, self.links, sectors & 0xFFFFFFFF, self.flags, 0,
            self.block, 0, self.xattr_block, size >> 32, 0, sectors >> 32, 0,
            uid >> 16, gid >> 16, 0, 0, EXTRA_ISIZE, 0, ctime_extra,
            mtime_extra, atime_extra, crtime, crtime_extra, 0, 0,
            self.in_inode_xattrs,
        )  # fmt: skip

    @property
    def kind(self) -> int:
        """The file type, as a directory entry carries it."""
        kind = TYPE_OF_MODE.get(stat.S_IFMT(self.mode))
        if kind is None:
            raise DiskCorrupt(f"an inode of mode {self.mode:#o}")
        return kind

    @property
    def device(self) -> tuple[int, int]:
        """Major and minor number of a device."""
        old, new = struct.unpack_from("<II", self.block)
        if old:
            return old >> 8 & 0xFF, old & 0xFF
        return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00


def encode_device(major: int, minor: int) -> bytes:
    """The 60 bytes that hold a device's number; the old form wherever it can."""
    if major < 256 and minor < 256:
        return struct.pack("<II", major << 8 | minor, 0).ljust(60, b"\0")
    new = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    return struct.pack("<II", 0, new).ljust(60, b"\0")

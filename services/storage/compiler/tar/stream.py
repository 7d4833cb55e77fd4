"""The members of a tar, one after another."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from services.storage.compiler.contract import Limits, Readable
from services.storage.compiler.errors import LayerInvalid, LayerTooLarge
from services.storage.compiler.tar import header, sparse
from services.storage.compiler.tar.pax import Extended, integer, nanoseconds
from services.storage.compiler.tar.source import CUT_SHORT, ByteSource

_NANO = 1_000_000_000


class Kind(enum.Enum):
    """What a member makes."""

    FILE = enum.auto()
    HARD_LINK = enum.auto()
    SYMLINK = enum.auto()
    CHAR_DEVICE = enum.auto()
    BLOCK_DEVICE = enum.auto()
    DIRECTORY = enum.auto()
    FIFO = enum.auto()


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHAR_DEVICE,
    b"4": Kind.BLOCK_DEVICE,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_NO_XATTRS: dict[bytes, bytes] = {}


@dataclass(slots=True)
class Member:
    """One member, with everything its headers say. Times are nanoseconds since 1970."""

    name: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    """Bytes of the file, holes included; zero for all other kinds."""
    mtime: int
    link: bytes
    major: int
    minor: int
    atime: int
    ctime: int
    xattrs: dict[bytes, bytes]
    fragments: list[tuple[int, int]] | None = None
    """For a sparse file what isn't a hole; the payload is these, joined."""


class TarStream:
    """Reads members; between two calls of `next` the payload of the first may be read."""

    def __init__(self, stream: Readable, limits: Limits) -> None:
        """Begin at the front of an uncompressed tar."""
        self._source = ByteSource(stream, limits.bytes)
        self._limits = limits
        self._payload = 0
        self._padding = 0
        self.members = 0

    @property
    def bytes_read(self) -> int:
        """Bytes taken off the stream so far."""
        return self._source.bytes_read

    def read_into(self, target: memoryview) -> None:
        """Fill `target` with the next bytes of the member's payload."""
        self._payload -= len(target)
        self._source.read_into(target)

    def views(self, count: int) -> list[memoryview]:
        """The next bytes of the member's payload where they are; nobody changes them."""
        self._payload -= count
        return self._source.views(count)

    def next(self) -> Member | None:
        """The next member; None at the end, when the stream is read out.

        Raises:
            LayerInvalid: what follows isn't tar, or is cut.
            LayerTooLarge: one of the limits is passed.
        """
        extended: Extended | None = None
        while True:
            block = self._source.block(self._payload + self._padding)
            self._payload = self._padding = 0
            if len(block) < header.BLOCK or block == header.ZERO_BLOCK:
                self._finish(block, pending=extended is not None)
                return None
            header.check_sum(block)
            kind = block[header.KIND]
            if kind in _KINDS:
                return self._member(block, extended)
            payload = self._extension(block)
            if kind == b"g":
                continue
            extended = extended or Extended()
            if kind == b"x":
                extended.add(payload)
            elif kind == b"L":
                extended.records[b"path"] = header.text(payload)
            elif kind == b"K":
                extended.records[b"linkpath"] = header.text(payload)
            else:
                shown = kind.decode("latin-1")
                raise LayerInvalid(f"the layer's tar has a member of unknown type {shown!r}")

    def _finish(self, block: bytes, *, pending: bool) -> None:
        if pending or (block and len(block) < header.BLOCK):
            raise LayerInvalid(CUT_SHORT)
        if block and self._source.take(header.BLOCK) not in (b"", header.ZERO_BLOCK):
            raise LayerInvalid("the layer's tar has a lone empty block")
        self._source.drain()

    def _extension(self, block: bytes) -> bytes:
        """The payload of a header that only describes the next one."""
        size = header.common_number(block[header.SIZE])
        if size < 0:
            raise LayerInvalid("the layer's tar has a member of negative size")
        if size > self._limits.header_bytes:
            raise LayerTooLarge(f"the layer's tar has an extended header of {size} bytes")
        data = self._source.take(size)
        if len(data) < size:
            raise LayerInvalid(CUT_SHORT)
        self._padding = -size % header.BLOCK
        return data

    def _member(self, block: bytes, extended: Extended | None) -> Member:
        self.members += 1
        if self.members > self._limits.entries:
            raise LayerTooLarge(f"the layer has more than {self._limits.entries} entries")
        name, mode, uid, gid, size, mtime, _, kind, link, magic, major, minor, prefix, rest = (
            header.FIELDS.unpack(block)
        )
        name = header.text(name)
        if prefix[0] and magic[:6] == b"ustar\0":
            if rest[8:] == b"tar\0":
                prefix = prefix[:131]  # star keeps times behind a shorter prefix
            name = header.text(prefix) + b"/" + name
        number = header.common_number
        time = number(mtime) * _NANO
        # By position, here and with inodes: by name it takes three times as long.
        member = Member(
            name,
            _KINDS[kind],
            number(mode),
            number(uid),
            number(gid),
            header.number(size),
            time,
            header.text(link) if link[0] else b"",
            0,
            0,
            time,
            time,
            _NO_XATTRS,
        )
        if extended is not None:
            _extend(member, extended)
        what = member.kind
        if what is Kind.FILE:
            if kind == b"\0" and member.name.endswith(b"/"):
                member.kind = Kind.DIRECTORY
                member.size = 0
            else:
                self._begin_payload(member, block, kind, extended)
        else:
            member.size = 0
            if what in (Kind.CHAR_DEVICE, Kind.BLOCK_DEVICE):
                member.major = header.number(major)
                member.minor = header.number(minor)
        return member

    def _begin_payload(
        self, member: Member, block: bytes, kind: bytes, extended: Extended | None
    ) -> None:
        stored = member.size
        if stored < 0:
            raise LayerInvalid("the layer's tar has a member of negative size")
        self._payload = stored
        self._padding = -stored % header.BLOCK
        if kind == b"S":
            numbers, size = sparse.read_old(self._source, block)
            member.fragments = sparse.check(numbers, size, stored)
            member.size = size
        elif extended is not None and sparse.is_pax_sparse(extended):
            fragments, size, taken = sparse.read_pax(self._source, extended, stored)
            self._payload -= taken
            member.fragments, member.size = fragments, size


def _extend(member: Member, extended: Extended) -> None:
    """Put what the extended headers say over what the plain one says."""
    records = extended.records
    member.xattrs = extended.xattrs
    rest = len(records)
    if b"mtime" in records:
        member.mtime = member.atime = member.ctime = nanoseconds(records[b"mtime"])
        rest -= 1
    if not rest:  # as with most that have one at all
        return
    member.name = records.get(b"GNU.sparse.name", records.get(b"path", member.name))
    member.link = records.get(b"linkpath", member.link)
    if b"size" in records:
        member.size = integer(records[b"size"])
    if b"uid" in records:
        member.uid = integer(records[b"uid"])
    if b"gid" in records:
        member.gid = integer(records[b"gid"])
    if b"atime" in records:
        member.atime = nanoseconds(records[b"atime"])
    if b"ctime" in records:
        member.ctime = nanoseconds(records[b"ctime"])

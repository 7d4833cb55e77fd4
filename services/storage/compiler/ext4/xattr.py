"""Extended attributes: in the inode's last 96 bytes, and in one block of their own."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.storage.compiler.errors import DiskCorrupt, LayerInvalid
from services.storage.compiler.ext4 import acl
from services.storage.compiler.ext4.inode import XATTR_ROOM
from services.storage.compiler.ext4.superblock import BLOCK

_MAGIC = 0xEA020000
_ENTRY = struct.Struct("<BBHIII")
_BLOCK_HEADER = struct.Struct("<IIIII12x")
_ACCESS = b"system.posix_acl_access"
_DEFAULT = b"system.posix_acl_default"

_PREFIXES = {
    b"user.": 1,
    b"trusted.": 4,
    b"security.": 6,
}
_WHOLE_NAMES = {_ACCESS: 2, _DEFAULT: 3}
_PREFIX_OF = {index: name for name, index in (*_PREFIXES.items(), *_WHOLE_NAMES.items())}

# Names by which overlayfs keeps its own books: set inside a container they would only mislead
# one that runs there.
_OVERLAY = b"trusted.overlay."


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute as it is stored."""

    index: int
    name: bytes
    value: bytes

    @property
    def entry_bytes(self) -> int:
        """Room for the entry."""
        return _ENTRY.size + (len(self.name) + 3 & ~3)

    @property
    def value_bytes(self) -> int:
        """Room for the value."""
        return len(self.value) + 3 & ~3


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a file's attributes go."""

    in_inode: bytes
    block: bytes | None
    dropped: int
    """Attributes that ext4 can't store by their name, and that Linux would refuse as well."""


NONE = Stored(b"", None, 0)


def _attributes(xattrs: Mapping[bytes, bytes], mode: int) -> list[Attribute]:
    found: list[Attribute] = []
    for full, value in xattrs.items():
        if full.startswith(_OVERLAY):
            continue
        if full in _WHOLE_NAMES:
            stored = acl.to_disk(value, mode if full == _ACCESS else None)
            if stored is not None:
                found.append(Attribute(_WHOLE_NAMES[full], b"", stored))
            continue
        prefix, dot, name = full.partition(b".")
        index = _PREFIXES.get(prefix + dot)
        if index is None or not name or b"\0" in name:
            continue
        if len(full) > 255:
            raise LayerInvalid("an extended attribute with a name over 255 bytes")
        found.append(Attribute(index, name, value))
    found.sort(key=lambda a: (a.index, len(a.name), a.name))
    return found


def build(xattrs: Mapping[bytes, bytes], mode: int) -> Stored:
    """Store attributes, as many as fit in the inode and the rest in a block.

    Args:
        xattrs: by full name, such as `security.capability`, with the values of setxattr.
        mode: the file's mode, which an access control list must agree with.

    Raises:
        LayerInvalid: more than ext4 holds, or a malformed access control list.
    """
    wanted = _attributes(xattrs, mode)
    inside: list[Attribute] = []
    outside: list[Attribute] = []
    room = XATTR_ROOM - 8
    for attribute in wanted:
        need = attribute.entry_bytes + attribute.value_bytes
        if need <= room:
            inside.append(attribute)
            room -= need
        else:
            outside.append(attribute)
    in_inode = b""
    if inside:
        body = _pack(inside, XATTR_ROOM - 4, 0, hashed=False)
        in_inode = _MAGIC.to_bytes(4, "little") + body
    block = _build_block(outside) if outside else None
    return Stored(in_inode, block, len(xattrs) - len(wanted))


def _build_block(attributes: list[Attribute]) -> bytes:
    need = sum(a.entry_bytes + a.value_bytes for a in attributes)
    if need > BLOCK - _BLOCK_HEADER.size - 4:
        raise LayerInvalid("a file with more extended attributes than ext4 holds (4 KiB)")
    body = _pack(attributes, BLOCK - _BLOCK_HEADER.size, _BLOCK_HEADER.size, hashed=True)
    total = 0
    for attribute in attributes:
        total = (total << 16 ^ total >> 16 ^ _hash(attribute)) & 0xFFFFFFFF
    return _BLOCK_HEADER.pack(_MAGIC, 1, 1, total, 0) + body


def _pack(attributes: list[Attribute], room: int, base: int, *, hashed: bool) -> bytes:
    """Entries from the front, values from the back; offsets of values count from `-base`."""
    area = bytearray(room)
    front = 0
    back = room
    for attribute in attributes:
        back -= attribute.value_bytes
        area[back : back + len(attribute.value)] = attribute.value
        _ENTRY.pack_into(
            area,
            front,
            len(attribute.name),
            attribute.index,
            base + back if attribute.value else 0,
            0,
            len(attribute.value),
            _hash(attribute) if hashed else 0,
        )
        name_at = front + _ENTRY.size
        area[name_at : name_at + len(attribute.name)] = attribute.name
        front += attribute.entry_bytes
    return bytes(area)


def _hash(attribute: Attribute) -> int:
    total = 0
    for byte in attribute.name:
        total = (total << 5 ^ total >> 27 ^ byte) & 0xFFFFFFFF
    padded = attribute.value.ljust(attribute.value_bytes, b"\0")
    for (word,) in struct.iter_unpack("<I", padded):
        total = (total << 16 ^ total >> 16 ^ word) & 0xFFFFFFFF
    return total


def parse(in_inode: bytes, block: bytes | None) -> dict[bytes, bytes]:
    """All attributes of a file by full name, with the values of getxattr.

    Raises:
        DiskCorrupt: broken entries.
    """
    found: dict[bytes, bytes] = {}
    if len(in_inode) >= 4 and int.from_bytes(in_inode[:4], "little") == _MAGIC:
        found.update(_unpack(in_inode[4:], 0))
    if block is not None:
        if int.from_bytes(block[:4], "little") != _MAGIC:
            raise DiskCorrupt("a broken block of extended attributes")
        found.update(_unpack(block[_BLOCK_HEADER.size :], _BLOCK_HEADER.size))
    return found


def _unpack(area: bytes, base: int) -> Iterable[tuple[bytes, bytes]]:
    at = 0
    while at + _ENTRY.size <= len(area) and area[at : at + 4] != b"\0\0\0\0":
        length, index, offset, inode, size, _ = _ENTRY.unpack_from(area, at)
        name = area[at + _ENTRY.size : at + _ENTRY.size + length]
        start = offset - base
        if inode or (size and not 0 <= start <= len(area) - size) or len(name) < length:
            raise DiskCorrupt("a broken extended attribute")
        value = area[start : start + size] if size else b""
        prefix = _PREFIX_OF.get(index)
        if prefix is not None:
            yield prefix + name, acl.from_disk(value) if index in (2, 3) else value
        at += _ENTRY.size + (length + 3 & ~3)

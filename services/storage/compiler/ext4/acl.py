"""POSIX access control lists: the form of the system calls, and the form on the disk.

Source: Linux include/uapi/linux/posix_acl_xattr.h for the first (version 2, eight bytes an
entry), fs/ext4/acl.h for the second (version 1, entries without an identity are four bytes).
"""

from __future__ import annotations

import struct

from services.storage.compiler.errors import DiskCorrupt, LayerInvalid

_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_NAMED = (_USER, _GROUP)
_NO_ID = 0xFFFFFFFF
_OUTER = struct.Struct("<HHI")
_SHORT = struct.Struct("<HH")


def _entries(value: bytes) -> list[tuple[int, int, int]]:
    if len(value) < 4 or (len(value) - 4) % 8 or int.from_bytes(value[:4], "little") != 2:
        raise LayerInvalid("an access control list of an unknown form")
    entries = list(_OUTER.iter_unpack(value[4:]))
    tags = [tag for tag, _, _ in entries]
    once = all(tags.count(tag) == 1 for tag in (_USER_OBJ, _GROUP_OBJ, _OTHER))
    known = set(tags) <= {_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER}
    masked = tags.count(_MASK) == 1 or (not tags.count(_MASK) and not set(tags) & set(_NAMED))
    sane = all(perm <= 7 and (tag not in _NAMED or who != _NO_ID) for tag, perm, who in entries)
    if not (once and known and masked and sane and tags == sorted(tags)):
        raise LayerInvalid("an access control list that Linux wouldn't take")
    return entries


def to_disk(value: bytes, mode: int | None) -> bytes | None:
    """Turn a `system.posix_acl_*` value into ext4's form.

    Args:
        value: what setxattr would be given.
        mode: for an access list, the file's mode, which rules its owner, mask and other entries
            (as the chmod that ends every unpacking does); None for a default list.

    Returns:
        The bytes to store, or None where the mode alone says the same.

    Raises:
        LayerInvalid: not a list that Linux would take.
    """
    if len(value) == 4:
        return None
    entries = _entries(value)
    if mode is not None:
        masked = any(tag == _MASK for tag, _, _ in entries)
        from_mode = {
            _USER_OBJ: mode >> 6 & 7,
            _MASK if masked else _GROUP_OBJ: mode >> 3 & 7,
            _OTHER: mode & 7,
        }
        entries = [(tag, from_mode.get(tag, perm), who) for tag, perm, who in entries]
        if not masked:
            return None
    parts = [(1).to_bytes(4, "little")]
    for tag, perm, who in entries:
        parts.append(_OUTER.pack(tag, perm, who) if tag in _NAMED else _SHORT.pack(tag, perm))
    return b"".join(parts)


def from_disk(value: bytes) -> bytes:
    """Turn ext4's form into what getxattr gives.

    Raises:
        DiskCorrupt: not a list.
    """
    if int.from_bytes(value[:4], "little") != 1:
        raise DiskCorrupt("an access control list of an unknown version")
    parts = [(2).to_bytes(4, "little")]
    at = 4
    while at + 4 <= len(value):
        tag, perm = _SHORT.unpack_from(value, at)
        who = _NO_ID
        if tag in _NAMED:
            if at + 8 > len(value):
                raise DiskCorrupt("an access control list that is cut")
            who = _OUTER.unpack_from(value, at)[2]
            at += 4
        at += 4
        parts.append(_OUTER.pack(tag, perm, who))
    return b"".join(parts)

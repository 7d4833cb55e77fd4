"""Extended headers: records of `length key=value`."""

from __future__ import annotations

import re
from functools import lru_cache

from services.storage.compiler.errors import LayerInvalid

_XATTR = b"SCHILY.xattr."
_TIME = re.compile(rb"(-?)(\d{1,20})(?:\.(\d*))?")
_LONGEST_COMMON_TIME = 24
"""Bytes up to which a time is remembered; with nanoseconds they are 20."""

_PLAIN = frozenset({b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"ctime"})
"""Keys with nothing special about them, which most records have."""

_BROKEN = "the layer's tar has a broken extended header"


class Extended:
    """What extended headers, pax or GNU, say about the member that follows them."""

    __slots__ = ("records", "sparse_pairs", "xattrs")

    def __init__(self) -> None:
        """Begin with nothing said."""
        self.records: dict[bytes, bytes] = {}
        self.xattrs: dict[bytes, bytes] = {}
        self.sparse_pairs: list[int] = []
        """Offset and size in turn, from the repeated records of GNU's sparse format 0.0."""

    def add(self, data: bytes) -> None:
        """Read the payload of a pax header.

        Raises:
            LayerInvalid: it isn't made of records.
        """
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 21)
            digits = data[at:space]
            if space < 0 or not digits.isdigit():
                raise LayerInvalid(_BROKEN)
            end = at + int(digits)
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            if not equals or not key or end > len(data) or data[end - 1 : end] != b"\n":
                raise LayerInvalid(_BROKEN)
            if value and key in _PLAIN and b"\0" not in value:
                self.records[key] = value
            else:
                self._record(key, value)
            at = end

    def _record(self, key: bytes, value: bytes) -> None:
        if key.startswith(_XATTR):
            # An empty value takes an earlier one back (POSIX, pax): no attribute is without one.
            if value:
                self.xattrs[key[len(_XATTR) :]] = value
            else:
                self.xattrs.pop(key[len(_XATTR) :], None)
        elif key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            if (key == b"GNU.sparse.offset") == bool(len(self.sparse_pairs) % 2):
                raise LayerInvalid(_BROKEN)
            self.sparse_pairs.append(integer(value))
        elif not value:
            # An empty value takes an earlier one back.
            self.records.pop(key, None)
        elif b"\0" in value:
            raise LayerInvalid(f"{_BROKEN}: a NUL in {key.decode('utf-8', 'replace')}")
        else:
            self.records[key] = value


def _shown(value: bytes) -> str:
    return repr(value[:40].decode("utf-8", "backslashreplace"))


def integer(value: bytes) -> int:
    """A record's decimal number.

    Raises:
        LayerInvalid: it isn't one.
    """
    if not value.isdigit() or len(value) > 20:
        raise LayerInvalid(f"{_BROKEN}: {_shown(value)} is no number")
    return int(value)


def nanoseconds(value: bytes) -> int:
    """A record's time: decimal seconds since 1970, as nanoseconds; finer parts are cut off.

    Raises:
        LayerInvalid: it isn't one.
    """
    return _common_time(value) if len(value) <= _LONGEST_COMMON_TIME else _time(value)


def _time(value: bytes) -> int:
    match = _TIME.fullmatch(value)
    if match is None:
        raise LayerInvalid(f"{_BROKEN}: {_shown(value)} is no time")
    sign, seconds, fraction = match.groups()
    time = int(seconds) * 1_000_000_000 + int((fraction or b"")[:9].ljust(9, b"0"))
    return -time if sign else time


_common_time = lru_cache(4096)(_time)
"""Files come by the package: many have the same time."""

"""Headers of 512 bytes."""

from __future__ import annotations

import struct
from functools import lru_cache
from zlib import adler32

from services.storage.compiler.errors import LayerInvalid

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
FIELDS = struct.Struct("<100s8s8s8s12s12s8sc100s8s64x8s8s155s12s")
"""name, mode, uid, gid, size, mtime, checksum, type, link, magic, major, minor, prefix, rest;
names of users and groups mean nothing to an image."""

CHECK_SUM = slice(148, 156)
KIND = slice(156, 157)
SIZE = slice(124, 136)

_REMEMBERED = 4096
"""Fields whose numbers are kept: owners, modes and times are alike in most members."""

INVALID_HEADER = "archive/tar: invalid tar header"
"""As Docker has it; what follows is ours."""

_NOT_OCTAL = f"{INVALID_HEADER}: a number in it isn't octal"

USTAR = b"ustar\x0000"
GNU = b"ustar  \0"


def text(field: bytes) -> bytes:
    """A field's bytes up to the first NUL."""
    return field.partition(b"\0")[0]


def number(field: bytes) -> int:
    """A number in octal digits, or in base 256 when the first bit is set.

    Raises:
        LayerInvalid: neither.
    """
    first = field[0]
    if first & 0x80:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        # The second bit is the sign; what is left without the first is two's complement.
        return value - (1 << bits) if first & 0x40 else value - (1 << bits - 1)
    digits = field.strip(b" \0").partition(b"\0")[0]
    if not digits:
        return 0
    if not digits.isdigit():
        raise LayerInvalid(_NOT_OCTAL)
    try:
        return int(digits, 8)
    except ValueError as error:
        raise LayerInvalid(_NOT_OCTAL) from error


common_number = lru_cache(_REMEMBERED)(number)
"""As `number`, for fields that are alike in most members."""


@lru_cache(_REMEMBERED)
def _sum_without(field: bytes) -> int:
    """What a header's bytes sum up to that has this field: it counts as spaces for itself."""
    return number(field) + sum(field) - 8 * 0x20


def check_sum(block: bytes) -> None:
    """Compare a header with its checksum.

    Adler-32's low half is one more than the sum of the bytes modulo 65521: the fastest sum there
    is. It is exact where 512 bytes can't sum up to that, as those below 128 can't, else for 256.

    Raises:
        LayerInvalid: it differs, so that this is no header.
    """
    if block.isascii():
        total = (adler32(block) & 0xFFFF) - 1
    else:
        total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    field = block[CHECK_SUM]
    if total == _sum_without(field):
        return
    # Ancient writers summed up signed characters.
    signed = total - 256 * sum(1 for at, b in enumerate(block) if b > 127 and not 148 <= at < 156)
    if signed != _sum_without(field):
        raise LayerInvalid(f"{INVALID_HEADER}: its checksum is wrong")

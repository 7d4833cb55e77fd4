"""Headers of 512 bytes."""

from __future__ import annotations

import struct
from zlib import adler32

from services.storage.compiler.errors import LayerInvalid

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
FIELDS = struct.Struct("<100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
"""name, mode, uid, gid, size, mtime, checksum, type, link, magic, user, group, major, minor,
prefix, rest."""

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


def check_sum(block: bytes, field: bytes) -> None:
    """Compare a header with its checksum.

    Adler-32's low half is one more than the sum of the bytes modulo 65521, and 256 bytes can't
    sum up to that: two calls of it are the fastest exact sum there is.

    Raises:
        LayerInvalid: it differs, so that this is no header.
    """
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    total += 8 * 0x20 - sum(field)
    stored = number(field)
    if stored == total:
        return
    # Ancient writers summed up signed characters.
    signed = total - 256 * sum(1 for at, b in enumerate(block) if b > 127 and not 148 <= at < 156)
    if stored != signed:
        raise LayerInvalid(f"{INVALID_HEADER}: its checksum is wrong")

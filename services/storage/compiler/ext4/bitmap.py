"""Block and inode bitmaps: bit n of byte n // 8 stands for the n-th block or inode of a group."""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.storage.compiler.ext4.superblock import BLOCK

_ZEROS = re.compile("0+")
_FULL = b"\xff" * BLOCK


def new_bitmap(valid: int) -> bytearray:
    """A bitmap with everything free; bits past the `valid` ones are set, as the format asks."""
    bitmap = bytearray(BLOCK)
    set_range(bitmap, valid, BLOCK * 8 - valid)
    return bitmap


def set_range(bitmap: bytearray, start: int, count: int) -> None:
    """Mark `count` bits as used."""
    _change(bitmap, start, count, used=True)


def clear_range(bitmap: bytearray, start: int, count: int) -> None:
    """Mark `count` bits as free."""
    _change(bitmap, start, count, used=False)


def _change(bitmap: bytearray, start: int, count: int, *, used: bool) -> None:
    if not count:
        return
    end = start + count
    first, last = start >> 3, (end - 1) >> 3
    head = 0xFF << (start & 7) & 0xFF
    tail = 0xFF >> (7 - (end - 1 & 7))
    if first == last:
        _mask(bitmap, first, head & tail, used=used)
        return
    _mask(bitmap, first, head, used=used)
    _mask(bitmap, last, tail, used=used)
    bitmap[first + 1 : last] = (b"\xff" if used else b"\0") * (last - first - 1)


def _mask(bitmap: bytearray, index: int, mask: int, *, used: bool) -> None:
    if used:
        bitmap[index] |= mask
    else:
        bitmap[index] &= ~mask


def free_runs(bitmap: bytes | bytearray, valid: int) -> Iterator[tuple[int, int]]:
    """First bit and length of every run of free bits among the first `valid` ones."""
    if bitmap == _FULL:
        return
    bits = f"{int.from_bytes(bitmap, 'little'):0{BLOCK * 8}b}"[::-1]
    for match in _ZEROS.finditer(bits, 0, valid):
        yield match.start(), match.end() - match.start()


def last_set(bitmap: bytes | bytearray, valid: int) -> int:
    """The last used bit among the first `valid` ones, or -1."""
    bits = int.from_bytes(bitmap, "little") & (1 << valid) - 1
    return bits.bit_length() - 1

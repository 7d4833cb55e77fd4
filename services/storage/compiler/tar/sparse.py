"""The ways in which tar stores files with holes."""

from __future__ import annotations

from services.storage.compiler.errors import LayerInvalid
from services.storage.compiler.tar import header
from services.storage.compiler.tar.pax import Extended, integer
from services.storage.compiler.tar.source import CUT_SHORT, ByteSource

Fragments = list[tuple[int, int]]
"""Offset and length of what isn't a hole, in ascending order."""

_BROKEN = "the layer's tar has a broken map of a sparse file"
_MAX_FRAGMENTS = 1 << 20


def is_pax_sparse(extended: Extended) -> bool:
    """Whether extended records describe a sparse file, in any of GNU's three formats."""
    records = extended.records
    return (
        b"GNU.sparse.major" in records
        or b"GNU.sparse.map" in records
        or bool(extended.sparse_pairs)
    )


def read_pax(source: ByteSource, extended: Extended, stored: int) -> tuple[Fragments, int, int]:
    """The map of a sparse file that a pax header describes.

    Returns:
        The fragments, the file's size, and how many payload bytes the map itself took.

    Raises:
        LayerInvalid: no sane map.
    """
    records = extended.records
    taken = 0
    size = integer(records.get(b"GNU.sparse.realsize", records.get(b"GNU.sparse.size", b"")))
    if b"GNU.sparse.major" in records:
        version = records[b"GNU.sparse.major"], records.get(b"GNU.sparse.minor")
        if version == (b"1", b"0"):
            numbers, taken = _leading_map(source, stored)
        elif version == (b"0", b"1"):
            numbers = _listed(records)
        elif version == (b"0", b"0"):
            numbers = extended.sparse_pairs
        else:
            raise LayerInvalid(_BROKEN)
    elif b"GNU.sparse.map" in records:
        numbers = _listed(records)
    else:
        numbers = extended.sparse_pairs
    return check(numbers, size, stored - taken), size, taken


def _listed(records: dict[bytes, bytes]) -> list[int]:
    value = records.get(b"GNU.sparse.map", b"")
    return [integer(part) for part in value.split(b",")] if value else []


def _leading_map(source: ByteSource, stored: int) -> tuple[list[int], int]:
    """Format 1.0: the payload starts with decimal lines, padded to a block."""
    text = b""
    lines: list[bytes] = []
    wanted = 1
    taken = 0
    while len(lines) < wanted:
        taken += header.BLOCK
        block = source.take(header.BLOCK)
        if taken > stored or len(block) < header.BLOCK:
            raise LayerInvalid(_BROKEN)
        *complete, text = (text + block).split(b"\n")
        if wanted == 1 and complete:
            fragments = integer(complete[0])
            if fragments > _MAX_FRAGMENTS:
                raise LayerInvalid(_BROKEN)
            wanted = 1 + 2 * fragments
        lines += complete
    return [integer(line) for line in lines[1:wanted]], taken


def read_old(source: ByteSource, block: bytes) -> tuple[list[int], int]:
    """The map in a header of type `S`, and in the blocks that continue it.

    Returns:
        Offset and length in turn, not yet checked, and the file's size.
    """
    numbers: list[int] = []
    at, entries, more = 386, 4, block[482]
    size = header.number(block[483:495])
    while True:
        for field in range(at, at + 24 * entries, 24):
            if not block[field] or not block[field + 12]:
                break
            numbers += (
                header.number(block[field : field + 12]),
                header.number(block[field + 12 : field + 24]),
            )
        if not more:
            return numbers, size
        block = source.take(header.BLOCK)
        if len(block) < header.BLOCK:
            raise LayerInvalid(CUT_SHORT)
        if len(numbers) > 2 * _MAX_FRAGMENTS:
            raise LayerInvalid(_BROKEN)
        at, entries, more = 0, 21, block[504]


def check(numbers: list[int], size: int, stored: int) -> Fragments:
    """Pair up the numbers of a map.

    Raises:
        LayerInvalid: fragments out of order, outside the file, or other than what is stored.
    """
    if len(numbers) % 2 or len(numbers) > 2 * _MAX_FRAGMENTS:
        raise LayerInvalid(_BROKEN)
    fragments: Fragments = []
    end = total = 0
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        if offset < end or length < 0 or offset + length > size:
            raise LayerInvalid(_BROKEN)
        end = offset + length
        total += length
        if length:
            fragments.append((offset, length))
    if total != stored:
        raise LayerInvalid(_BROKEN)
    return fragments

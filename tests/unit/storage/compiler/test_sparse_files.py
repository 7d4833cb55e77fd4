"""Files with holes, in each of the ways in which tar stores them."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.storage.compiler import LayerInvalid
from services.storage.compiler.tar.sparse import check
from tests.unit.storage.compiler.disks import compile_all, file, member, tar
from tests.unit.storage.compiler.test_attributes import pax_tar

Fragments = list[tuple[int, bytes]]


def content(fragments: Fragments, size: int) -> bytes:
    """The whole file."""
    whole = bytearray(size)
    for offset, data in fragments:
        whole[offset : offset + len(data)] = data
    return bytes(whole)


def payload(fragments: Fragments) -> bytes:
    """What is stored, padded."""
    data = b"".join(part for _, part in fragments)
    return data + bytes(-len(data) % 512)


def with_size(data: bytes, size: int) -> bytes:
    """The tar's last header says another size."""
    raw = bytearray(data)
    at = len(raw) - 512
    raw[at + 124 : at + 136] = b"%011o\0" % size
    raw[at + 148 : at + 156] = b" " * 8
    raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])
    return bytes(raw)


def pax_sparse(
    version: str, fragments: Fragments, size: int, claims: list[tuple[int, int]] | None = None
) -> bytes:
    """A sparse file in pax form 0.1 or 1.0."""
    pairs = claims if claims is not None else [(offset, len(data)) for offset, data in fragments]
    records = {b"GNU.sparse.name": b"sparse"}
    numbers = [number for pair in pairs for number in pair]
    body = payload(fragments)
    if version == "1.0":
        records |= {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}
        records |= {b"GNU.sparse.realsize": str(size).encode()}
        lines = b"".join(b"%d\n" % n for n in [len(pairs), *numbers])
        body = lines + bytes(-len(lines) % 512) + body
    else:
        records |= {b"GNU.sparse.map": ",".join(map(str, numbers)).encode()}
        records |= {b"GNU.sparse.size": str(size).encode()}
        records |= {b"GNU.sparse.numblocks": str(len(pairs)).encode()}
    head = pax_tar(b"0", records, name="GNUSparseFile.0/sparse")
    head = head[: head.rindex(b"ustar\x00") + 255]  # without the end of the archive
    stored = len(body) - (-sum(len(d) for _, d in fragments) % 512)
    return with_size(head, stored) + body + bytes(1024)


def pax_sparse_00(fragments: Fragments, size: int) -> bytes:
    """A sparse file in pax form 0.0: repeated records."""
    text = b""
    pairs = [(b"offset", o, b"numbytes", len(d)) for o, d in fragments]
    for key, first, other, second in pairs:
        for name, value in ((key, first), (other, second)):
            body = b" GNU.sparse." + name + b"=%d\n" % value
            length = len(body) + 1
            while len(str(length)) + len(body) != length:
                length += 1
            text += str(length).encode() + body
    body = b" GNU.sparse.size=%d\n" % size
    length = len(body) + 2
    text += str(length).encode() + body
    info = tarfile.TarInfo("pax")
    info.type = tarfile.XHDTYPE
    info.size = len(text)
    head = info.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % 512)
    head += tarfile.TarInfo("sparse").tobuf(tarfile.USTAR_FORMAT)
    stored = sum(len(d) for _, d in fragments)
    return with_size(head, stored) + payload(fragments) + bytes(1024)


def old_sparse(fragments: Fragments, size: int) -> bytes:
    """A sparse file in GNU's old form: a map in the header and in blocks after it."""
    raw = bytearray(tarfile.TarInfo("sparse").tobuf(tarfile.GNU_FORMAT))
    raw[156:157] = b"S"
    raw[483:495] = b"%011o\0" % size
    pairs = [b"%011o\0%011o\0" % (offset, len(data)) for offset, data in fragments]
    first, rest = pairs[:4], pairs[4:]
    raw[386 : 386 + 24 * len(first)] = b"".join(first)
    raw[482] = bool(rest)
    more = b""
    while rest:
        part, rest = rest[:21], rest[21:]
        more += b"".join(part).ljust(504, b"\0") + bytes([bool(rest)]) + bytes(7)
    head = with_size(bytes(raw), sum(len(d) for _, d in fragments))
    return head + more + payload(fragments) + bytes(1024)


WAYS = {
    "0.0": pax_sparse_00,
    "0.1": lambda fragments, size: pax_sparse("0.1", fragments, size),
    "1.0": lambda fragments, size: pax_sparse("1.0", fragments, size),
    "old": old_sparse,
}
SHAPES: dict[str, tuple[Fragments, int]] = {
    "a hole in front": ([(1 << 20, b"end" * 1000)], (1 << 20) + 3000),
    "a hole at the end": ([(0, b"start")], 1 << 30),
    "between": ([(0, b"a" * 4096), (1 << 24, b"b" * 10)], (1 << 24) + 10),
    "unaligned": ([(100, b"a" * 50), (3000, b"b" * 2000), (8191, b"c" * 2)], 20_000),
    "many": ([(n * 8192 + n, bytes([n % 255 + 1]) * 700) for n in range(60)], 1 << 20),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_holes_stay_holes(way: str, shape: str) -> None:
    fragments, size = SHAPES[shape]
    data = WAYS[way](fragments, size)
    files = compile_all(data[:-1024] + tar(file("after", b"after")))
    found = files.stat(b"sparse")
    assert found.size == size
    blocks = {n for o, d in fragments for n in range(o // 4096, -(-(o + len(d)) // 4096))}
    assert found.allocated in (len(blocks) * 4096, (len(blocks) + 1) * 4096)
    if size < 1 << 26:
        assert files.read(b"sparse", limit=size) == content(fragments, size)
    assert files.read(b"after", limit=5) == b"after"


def test_a_file_that_is_all_hole() -> None:
    files = compile_all(pax_sparse("1.0", [], 10 << 30))
    found = files.stat(b"sparse")
    assert (found.size, found.allocated) == (10 << 30, 0)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 9000)), min_size=1, max_size=25),
    st.sampled_from(sorted(WAYS)),
    st.integers(0, 10_000),
)
def test_any_holes_read_back(gaps: list[tuple[int, int]], way: str, tail: int) -> None:
    fragments: Fragments = []
    at = 0
    for number, (gap, length) in enumerate(gaps):
        fragments.append((at + gap, bytes([number + 1]) * length))
        at += gap + length
    files = compile_all(WAYS[way](fragments, at + tail))
    assert files.read(b"sparse", limit=at + tail) == content(fragments, at + tail)


@pytest.mark.parametrize(
    ("claims", "size"),
    [
        ([(10, 5), (0, 5)], 100),
        ([(0, 5), (3, 5)], 100),
        ([(95, 10)], 100),
        ([(0, 11)], 100),
        ([(0, 9)], 100),
    ],
)
def test_maps_that_lie_are_refused(claims: list[tuple[int, int]], size: int) -> None:
    for version in ("0.1", "1.0"):
        with pytest.raises(LayerInvalid, match="sparse"):
            compile_all(pax_sparse(version, [(0, b"0123456789")], size, claims))


def test_maps_of_odd_length_or_endless_are_refused() -> None:
    with pytest.raises(LayerInvalid):
        check([0], 10, 0)
    with pytest.raises(LayerInvalid):
        check([0, 1] * ((1 << 20) + 1), 10, 0)
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9"}
    for first in (b"99999999999\n", b"x\n", b"2\n1\n1\n", b""):
        head = pax_tar(b"0", records)
        head = with_size(head[: head.rindex(b"ustar\x00") + 255], 512)
        with pytest.raises(LayerInvalid):
            compile_all(head + first.ljust(512, b"\0") + bytes(1024))


def test_an_unknown_sparse_version_is_refused() -> None:
    pax = {"GNU.sparse.major": "2", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}
    with pytest.raises(LayerInvalid, match="sparse"):
        compile_all(tar(member("f", b"x", pax=pax)))

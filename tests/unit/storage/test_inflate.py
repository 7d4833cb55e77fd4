"""Layers' compressed streams, sound and hostile."""

import gzip
import hashlib
import io

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.storage.imagec.errors import InvalidLayer
from services.storage.imagec.inflate import InflateLimits, Inflater, ReadAhead

DATA = b"".join(number.to_bytes(4, "big") for number in range(300_000))
LIMITS = InflateLimits()


def inflate(blob: bytes, limits: InflateLimits = LIMITS) -> tuple[bytes, str]:
    with ReadAhead(Inflater(io.BytesIO(blob), limits)) as ahead:
        parts = []
        while part := ahead.read(100_000):
            parts.append(part)
        return b"".join(parts), ahead.finish()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


@pytest.mark.parametrize(
    "blob",
    [
        DATA,
        gzip.compress(DATA),
        zstd(DATA),
        gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]),
        zstd(DATA[:1000]) + zstd(DATA[1000:]),
        b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstd(DATA),
        gzip.compress(DATA) + bytes(512),
    ],
    ids=["plain", "gzip", "zstd", "gzip members", "zstd frames", "zstd skippable", "zero padding"],
)
def test_every_form_gives_the_tar_and_its_digest(blob: bytes) -> None:
    data, diff_id = inflate(blob)
    assert data == DATA
    assert diff_id == "sha256:" + hashlib.sha256(DATA).hexdigest()


def test_an_empty_stream_is_an_empty_tar() -> None:
    assert inflate(b"") == (b"", "sha256:" + hashlib.sha256(b"").hexdigest())


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (gzip.compress(DATA)[:-3], "cut"),
        (gzip.compress(DATA)[:5000], "cut"),
        (gzip.compress(DATA) + b"trailing bytes", "damaged|cut"),
        (gzip.compress(DATA)[:-8] + b"\0" * 8, "damaged"),
        (gzip.compress(b"x" * 100)[:12] + b"\xff" * 40, "damaged|cut"),
        (zstd(DATA)[:-4] + b"\xff" * 4, "damaged"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0\0\0", "xz"),
    ],
    ids=["tail cut", "cut", "trailing", "checksum", "block", "zstd checksum", "bzip2", "xz"],
)
def test_a_damaged_stream_is_refused_with_the_reason(blob: bytes, reason: str) -> None:
    with pytest.raises(InvalidLayer, match=reason):
        inflate(blob)


def test_a_cut_zstd_stream_has_another_diff_id() -> None:
    try:
        _, diff_id = inflate(zstd(DATA)[:-10])
    except InvalidLayer:
        return
    assert diff_id != "sha256:" + hashlib.sha256(DATA).hexdigest()


def test_a_bomb_stops_at_the_limit_of_bytes_cve_2017_14992() -> None:
    limits = InflateLimits(bytes=10 << 20)
    for blob in (gzip.compress(bytes(40 << 20)), zstd(bytes(40 << 20))):
        inflater = Inflater(io.BytesIO(blob), limits)
        with pytest.raises(InvalidLayer, match="more than 10485760 bytes"):
            while inflater.read():
                pass
        assert inflater.size <= 12 << 20


def test_a_bomb_stops_at_the_limit_of_ratio() -> None:
    limits = InflateLimits(ratio=100, ratio_from=1 << 20)
    with pytest.raises(InvalidLayer, match="100 times"):
        inflate(gzip.compress(bytes(40 << 20)), limits)
    assert len(inflate(gzip.compress(bytes(1 << 20)), limits)[0]) == 1 << 20


def test_a_gzip_of_members_without_end_is_stopped() -> None:
    blob = gzip.compress(b"") * 400_000
    inflater = Inflater(io.BytesIO(blob), LIMITS)
    while inflater.read():
        pass
    assert inflater.size == 0
    limits = InflateLimits(bytes=1 << 20)
    with pytest.raises(InvalidLayer, match="more than 1048576 bytes"):
        inflate(gzip.compress(bytes(4096)) * 1000, limits)


def test_leaving_early_ends_the_thread() -> None:
    ahead = ReadAhead(Inflater(io.BytesIO(gzip.compress(bytes(64 << 20))), LIMITS))
    with ahead:
        ahead.read(10)
    assert not ahead._thread.is_alive()


@given(st.binary(max_size=300))
def test_no_stream_ends_in_another_error(blob: bytes) -> None:
    for head in (b"", b"\x1f\x8b\x08\0\0\0\0\0\0\0", b"\x28\xb5\x2f\xfd"):
        try:
            inflater = Inflater(io.BytesIO(head + blob), LIMITS)
            while inflater.read():
                pass
        except InvalidLayer:
            continue

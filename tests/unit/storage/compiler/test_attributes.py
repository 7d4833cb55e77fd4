"""Extended attributes, access control lists, and the inode's own fields."""

from __future__ import annotations

import contextlib
import struct
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.compiler import DiskCorrupt, LayerInvalid
from services.storage.compiler.ext4 import acl, xattr
from services.storage.compiler.ext4.inode import Inode, decode_time, encode_device, encode_time
from services.storage.compiler.ext4.superblock import crc16
from tests.unit.storage.compiler.disks import (
    check,
    compile_all,
    directory,
    empty_disk,
    file,
    member,
    tar,
)

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def acl_value(*entries: tuple[int, int, int]) -> bytes:
    """A list as setxattr takes it."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NO_ID = 0xFFFFFFFF
NAMED_USER = acl_value((1, 7, NO_ID), (2, 6, 1000), (4, 5, NO_ID), (16, 7, NO_ID), (32, 4, NO_ID))


def pax_tar(kind: bytes, records: dict[bytes, bytes], name: str = "f", mode: int = 0o644) -> bytes:
    """A tar of one member with raw pax records; the standard library can't write binary ones."""
    payload = b""
    for key, value in records.items():
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        payload += str(length).encode() + body
    info = tarfile.TarInfo("pax")
    info.type = tarfile.XHDTYPE
    info.size = len(payload)
    head = info.tobuf(tarfile.USTAR_FORMAT) + payload + bytes(-len(payload) % 512)
    return head + tar(member(name, kind=kind, mode=mode), format=tarfile.USTAR_FORMAT)


def xattr_tar(attributes: dict[bytes, bytes], kind: bytes = b"0", mode: int = 0o644) -> bytes:
    """A tar of one member with extended attributes."""
    return pax_tar(kind, {b"SCHILY.xattr." + k: v for k, v in attributes.items()}, mode=mode)


@pytest.mark.parametrize("kind", [b"0", b"5", b"2", b"6"])
def test_small_attributes_lie_in_the_inode(kind: bytes) -> None:
    data = xattr_tar({b"security.capability": CAPABILITY}, kind)
    if kind == b"2":
        info, _ = member("f", kind=kind, link="target", pax={"SCHILY.xattr.user.a": "b"})
        data = tar((info, b""))
        assert compile_all(data).xattrs(b"f") == {b"user.a": b"b"}
        return
    files = compile_all(data)
    assert files.xattrs(b"f") == {b"security.capability": CAPABILITY}
    assert files.stat(b"f").allocated == (4096 if kind == b"5" else 0)


def test_large_attributes_take_a_block() -> None:
    wanted = {
        b"security.capability": CAPABILITY,
        b"user.long": b"v" * 3000,
        b"trusted.t": bytes(range(256)),
        b"user." + b"n" * 250: b"x\0y\n=z",
    }
    files = compile_all(xattr_tar(wanted))
    assert files.xattrs(b"f") == wanted
    assert files.stat(b"f").allocated == 4096


def test_an_empty_value_is_no_attribute() -> None:
    """POSIX, pax: it takes an earlier one back. Go's reader, and so dockerd, does the same."""
    files = compile_all(xattr_tar({b"user.empty": b"", b"user.kept": b"k"}))
    assert files.xattrs(b"f") == {b"user.kept": b"k"}


def test_attributes_of_a_directory_are_replaced_and_not_merged() -> None:
    below = tar(directory("d", pax={"SCHILY.xattr.user.old": "x" * 500}), file("d/f", b""))
    above = tar(directory("d", pax={"SCHILY.xattr.user.new": "y"}))
    files = compile_all(below, above)
    assert files.xattrs(b"d") == {b"user.new": b"y"}
    assert files.names(b"d") == [b"f"]
    assert files.stat(b"d").allocated == 4096


def test_what_has_no_place_in_ext4_is_dropped_and_counted() -> None:
    attributes = {b"system.nfs4_acl": b"x", b"foo": b"x", b"user.": b"x", b"com.apple.x": b"x"}
    files = compile_all(xattr_tar(attributes | {b"user.kept": b"1"}))
    assert files.xattrs(b"f") == {b"user.kept": b"1"}


def test_more_attributes_than_ext4_holds_are_refused() -> None:
    with pytest.raises(LayerInvalid, match="4 KiB"):
        compile_all(xattr_tar({b"user.a": bytes(5000)}))
    with pytest.raises(LayerInvalid, match="255"):
        compile_all(xattr_tar({b"user." + b"n" * 251: b"x"}))


def test_access_lists_follow_the_mode() -> None:
    files = compile_all(xattr_tar({ACCESS: NAMED_USER}, mode=0o641))
    assert files.xattrs(b"f") == {
        ACCESS: acl_value(
            (1, 6, NO_ID), (2, 6, 1000), (4, 5, NO_ID), (16, 4, NO_ID), (32, 1, NO_ID)
        )
    }


def test_default_lists_stay_as_they_are() -> None:
    files = compile_all(xattr_tar({DEFAULT: NAMED_USER}, b"5", mode=0o700))
    assert files.xattrs(b"f") == {DEFAULT: NAMED_USER}


def test_an_access_list_that_says_what_the_mode_says_isn_t_stored() -> None:
    plain = acl_value((1, 6, NO_ID), (4, 4, NO_ID), (32, 4, NO_ID))
    assert compile_all(xattr_tar({ACCESS: plain})).xattrs(b"f") == {}
    assert acl.to_disk(struct.pack("<I", 2), 0o644) is None


@pytest.mark.parametrize(
    "value",
    [
        b"\1\0\0\0",
        b"\2\0\0\0x",
        acl_value((1, 7, NO_ID)),
        acl_value((1, 7, NO_ID), (2, 7, 5), (4, 7, NO_ID), (32, 7, NO_ID)),
        acl_value((1, 8, NO_ID), (4, 7, NO_ID), (32, 7, NO_ID)),
        acl_value((4, 7, NO_ID), (1, 7, NO_ID), (32, 7, NO_ID)),
        acl_value((1, 7, NO_ID), (1, 7, NO_ID), (4, 7, NO_ID), (32, 7, NO_ID)),
        acl_value((1, 7, NO_ID), (4, 7, NO_ID), (32, 7, NO_ID), (64, 7, NO_ID)),
        acl_value((1, 7, NO_ID), (2, 7, NO_ID), (4, 7, NO_ID), (16, 7, NO_ID), (32, 7, NO_ID)),
    ],
)
def test_lists_that_linux_wouldn_t_take_are_refused(value: bytes) -> None:
    if value == b"\1\0\0\0":
        value += bytes(8)
    with pytest.raises(LayerInvalid, match="access control list"):
        compile_all(xattr_tar({ACCESS: value}))


@given(st.dictionaries(st.binary(min_size=1, max_size=40), st.binary(max_size=200), max_size=8))
def test_any_attributes_read_back(attributes: dict[bytes, bytes]) -> None:
    wanted = {b"user." + name.replace(b"\0", b"0"): value for name, value in attributes.items()}
    stored = xattr.build(wanted, 0o100644)
    assert len(stored.in_inode) <= 96
    assert xattr.parse(stored.in_inode.ljust(96, b"\0"), stored.block) == wanted


@given(st.binary(min_size=96, max_size=96))
def test_damaged_attributes_are_refused_or_read(data: bytes) -> None:
    for area in (data, b"\0\0\2\xea" + data[4:]):
        with contextlib.suppress(DiskCorrupt):
            xattr.parse(area, None)


@given(st.integers(-(1 << 31) * 10**9, ((1 << 34) - (1 << 31)) * 10**9 - 1))
def test_any_time_reads_back(nanoseconds: int) -> None:
    assert decode_time(*encode_time(nanoseconds)) == nanoseconds


@given(st.integers(0, 4095), st.integers(0, 0xFFFFF))
def test_any_device_reads_back(major: int, minor: int) -> None:
    inode = Inode.parse(bytes(256))
    inode.block = encode_device(major, minor)
    assert inode.device == (major, minor)


def test_the_descriptors_checksum_is_the_kernel_s() -> None:
    # The check value of CRC-16/MODBUS (same polynomial, same start), from the CRC catalogue.
    assert crc16(0xFFFF, b"123456789") == 0x4B37


def test_a_base_disk_is_sound() -> None:
    for size in (16 << 20, 128 << 20, 129 << 20, 200 << 20):
        check(empty_disk(size))

"""Layers that were made to do harm: they compile to a harmless tree, or are refused by name.

There is no host file system to reach: all that could escape is the model itself. Each test names
the trick, or the published weakness of another unpacker that it comes from.
"""

from __future__ import annotations

import io
import tarfile

import pytest

from services.storage.compiler import (
    DiskFull,
    LayerInvalid,
    LayerTooLarge,
    Limits,
    compile_delta,
)
from services.storage.compiler.tar.header import FIELDS
from tests.unit.storage.compiler.disks import (
    apply,
    compile_all,
    directory,
    empty_disk,
    file,
    hard_link,
    member,
    symlink,
    tar,
    tree,
)


def refused(data: bytes, reason: str, *below: bytes) -> None:
    """The layer is refused for a reason, and nothing but that."""
    disk = empty_disk()
    for layer in below:
        disk, _ = apply(disk, layer)
    with pytest.raises(LayerInvalid, match=reason):
        compile_delta(io.BytesIO(data), disk, disk.copy())


def patched(data: bytes, at: int, value: bytes) -> bytes:
    """A tar whose first header has other bytes, and a checksum that agrees."""
    raw = bytearray(data)
    raw[at : at + len(value)] = value
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    return bytes(raw)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..", "a/../..", "/../x", "./../x"])
def test_names_that_climb_out_are_refused_cve_2007_4559(name: str) -> None:
    refused(tar(file(name, b"x")), "reaches out")


@pytest.mark.parametrize("target", ["../x", "/../x", "a/../../x"])
def test_hard_links_that_climb_out_are_refused_cve_2021_32760(target: str) -> None:
    refused(tar(file("x", b""), hard_link("h", target)), "reaches out")


def test_absolute_names_stay_in_the_image() -> None:
    found = tree(compile_all(tar(file("/etc/passwd", b"x"), file("//root/.ssh/keys", b"k"))))
    assert found["etc/passwd"] == "file x"
    assert found["root/.ssh/keys"] == "file k"


@pytest.mark.parametrize("target", ["/", "../../../..", "/..", "/proc/self/root", "."])
def test_a_link_to_the_host_s_root_leads_to_the_image_s(target: str) -> None:
    files = compile_all(tar(symlink("esc", target), file("esc/etc/passwd", b"evil")))
    found = tree(files)
    inside = "proc/self/root/etc/passwd" if "proc" in target else "etc/passwd"
    assert found[inside] == "file evil"


def test_a_link_swapped_for_a_parent_cve_2025_47290() -> None:
    files = compile_all(
        tar(
            directory("a"),
            file("a/b", b"1"),
            symlink("c", "/etc"),
            hard_link("d", "c"),
            file("d/passwd", b"evil"),
            symlink("a", "/etc"),
            file("a/shadow", b"evil"),
        )
    )
    found = tree(files)
    assert found["etc/passwd"] == "file evil"
    assert found["etc/shadow"] == "file evil"
    assert found["a"] == "link /etc"
    assert "a/b" not in found


def test_a_directory_entry_over_a_link_replaces_it() -> None:
    found = tree(
        compile_all(
            tar(directory("real"), symlink("l", "real")), tar(directory("l"), file("l/f", b"x"))
        )
    )
    assert found == {"real": "directory", "l": "directory", "l/f": "file x"}


def test_links_in_circles_are_refused() -> None:
    refused(tar(symlink("a", "b"), symlink("b", "a"), file("a/x", b"")), "too many links")
    refused(tar(symlink("a", "a/a/a"), file("a/x", b"")), "too many links")


def test_links_that_multiply_are_stopped() -> None:
    members = [symlink("l0", ".")]
    for level in range(1, 30):
        members.append(symlink(f"l{level}", "/".join([f"l{level - 1}"] * 500)))
    members += [file(f"l1/x{n}", b"") for n in range(100)]
    with pytest.raises((LayerTooLarge, LayerInvalid)):
        apply(empty_disk(), tar(*members), Limits(path_steps=20_000))


def test_a_link_into_nothing_makes_what_it_names_inside() -> None:
    found = tree(compile_all(tar(symlink("l", "/no/where"), file("l/x", b"x"))))
    assert found["no/where/x"] == "file x"


def test_hard_links_to_what_isn_t_there() -> None:
    refused(tar(hard_link("h", "nothing")), "isn't there")
    refused(tar(hard_link("h", "no/thing")), "isn't there")
    refused(tar(hard_link("h", "")), "isn't there")
    refused(tar(hard_link("h", "/")), "isn't there")


def test_hard_links_to_directories() -> None:
    refused(tar(directory("d"), hard_link("h", "d")), "to a directory")


def test_a_hard_link_to_what_it_replaces() -> None:
    refused(tar(directory("d"), file("d/x", b""), hard_link("d", "d/x")), "what it replaces")


def test_a_hard_link_through_a_link_stays_inside() -> None:
    files = compile_all(
        tar(file("etc/passwd", b"own"), symlink("up", "/../.."), hard_link("h", "up/etc/passwd"))
    )
    assert tree(files)["h"] == "file own"


def test_a_path_through_a_file_is_refused() -> None:
    refused(tar(file("f", b""), file("f/x", b"")), "through a file")
    refused(tar(file("f", b""), symlink("l", "f"), file("l/x", b"")), "through a file")


def test_the_root_can_t_be_replaced() -> None:
    for name in ("/", "./", ".", "a/.."):
        refused(tar(symlink(name, "/etc")), "root directory")


def test_too_long_names_and_paths_are_refused() -> None:
    refused(tar(file("n" * 256, b"")), "name of 256 bytes")
    refused(tar(file("d/" * 2100 + "x", b"")), "longer than 4095")
    refused(tar(symlink("s", "t" * 4096)), "target of 4096 bytes")


def test_empty_targets_are_refused() -> None:
    refused(tar(symlink("s", "")), "target of 0 bytes")


@pytest.mark.parametrize("owner", [(1 << 32) - 1, 1 << 32, 1 << 54])
def test_owners_that_linux_can_t_express_are_refused(owner: int) -> None:
    refused(tar(file("f", b"", owner=(owner, 0)), format=tarfile.GNU_FORMAT), "owner")
    refused(tar(file("f", b"", owner=(0, owner))), "owner")


def test_negative_owners_are_refused() -> None:
    refused(patched(tar(file("f", b"")), 108, b"\xff" * 8), "owner")


def test_devices_out_of_range_are_refused() -> None:
    one = member("d", kind=tarfile.CHRTYPE, device=(4096, 0))
    refused(tar(one, format=tarfile.GNU_FORMAT), "device 4096:0")
    other = member("d", kind=tarfile.BLKTYPE, device=(0, 1 << 20))
    refused(tar(other, format=tarfile.GNU_FORMAT), "device 0:1048576")


def test_sizes_that_lie_are_refused() -> None:
    good = tar(file("f", b"x"), format=tarfile.GNU_FORMAT)
    refused(patched(good, 124, b"\xff" * 12), "negative size")
    # More than there is: the disk is full before the stream ends, or the stream ends first.
    for claim in (b"\x80" + bytes(3) + (1 << 40).to_bytes(8, "big"), b"00077777777\0"):
        with pytest.raises((LayerInvalid, DiskFull)):
            apply(empty_disk(), patched(good, 124, claim))


def test_a_file_beyond_what_ext4_holds_is_refused() -> None:
    good = tar(file("f", b"x"), format=tarfile.GNU_FORMAT)
    refused(patched(good, 124, b"\x80" + bytes(3) + (1 << 45).to_bytes(8, "big")), "a file of")


def test_numbers_that_aren_t_octal_are_refused() -> None:
    refused(patched(tar(file("f", b"")), 100, b"0o17777\0"), "octal")
    refused(patched(tar(file("f", b"")), 136, b"99999999999\0"), "octal")


def test_a_damaged_header_is_refused() -> None:
    data = bytearray(tar(file("f", b"x"), file("g", b"y")))
    data[1024 + 10] ^= 1
    refused(bytes(data), "invalid tar header: its checksum")
    refused(b"not a tar at all".ljust(1024, b"!"), "invalid tar header")


@pytest.mark.parametrize("cut", [1, 100, 511, 513, 700, 1023, 1025, 1535])
def test_a_cut_tar_is_refused(cut: int) -> None:
    refused(tar(file("f", b"x" * 700), file("g", b"y"))[:cut], "cut short")


def test_a_tar_that_ends_without_its_end_is_taken() -> None:
    data = tar(file("f", b"x"))
    assert tree(compile_all(data[:1024])) == {"f": "file x"}
    assert tree(compile_all(data[:1536])) == {"f": "file x"}
    assert tree(compile_all(b"")) == {}


def test_what_follows_the_end_is_read_but_not_obeyed() -> None:
    first = tar(file("f", b"x"))
    _, info = apply(empty_disk(), first + tar(file("evil", b"y")))
    assert info.entries == 1
    assert info.bytes_read == len(first) + len(tar(file("evil", b"y")))


def test_a_lone_empty_block_is_refused() -> None:
    data = tar(file("f", b""))[:512] + bytes(512) + tar(file("g", b""))
    refused(data, "lone empty block")


def test_unknown_members_are_refused() -> None:
    for kind in (b"V", b"M", b"D", b"Z"):
        refused(patched(tar(file("f", b"")), 156, kind), "unknown type")


@pytest.mark.parametrize(
    "payload",
    [
        b"garbage",
        b"9999 path=x\n",
        b"8 path=x\n",
        b"-1 path=x\n",
        b"0 path=x\n",
        b"11 path=xxx",
        b"7 =abc\n",
        b"6 abc\n",
        b"00000000000000000000000012 path=ab\n",
        b"12 path=a\0b\n",
        b"13 uid=twelve",
        b"12 size=1e3\n",
        b"13 mtime=now\n",
        b"17 size=\xd9\xa1\xd9\xa2\xd9\xa3\n",
    ],
)
def test_broken_extended_headers_are_refused(payload: bytes) -> None:
    info = tarfile.TarInfo("pax")
    info.type = tarfile.XHDTYPE
    info.size = len(payload)
    header = info.tobuf(tarfile.USTAR_FORMAT)
    data = header + payload.ljust(512, b"\0") + tar(file("f", b""))
    refused(data, "extended header|cut short")


def test_an_extended_header_without_a_member_is_refused() -> None:
    info = tarfile.TarInfo("pax")
    info.type = tarfile.XHDTYPE
    info.size = 9
    refused(info.tobuf(tarfile.USTAR_FORMAT) + b"9 path=x\n".ljust(512, b"\0"), "cut short")


def test_extended_headers_and_long_names_have_a_limit() -> None:
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        info = tarfile.TarInfo("pax")
        info.type = kind
        info.size = (1 << 20) + 1
        with pytest.raises(LayerTooLarge, match="extended header"):
            apply(empty_disk(), info.tobuf(tarfile.GNU_FORMAT) + bytes(2 << 20))


def test_global_headers_don_t_rule_the_members() -> None:
    info = tarfile.TarInfo("g")
    info.type = tarfile.XGLTYPE
    info.size = 15
    data = info.tobuf(tarfile.USTAR_FORMAT) + b"15 path=../../x".ljust(512, b"\0")
    assert tree(compile_all(data + tar(file("f", b"x")))) == {"f": "file x"}


def test_a_bomb_of_bytes_is_stopped() -> None:
    class Endless:
        """A tar with one file that never ends."""

        def __init__(self) -> None:
            info = tarfile.TarInfo("f")
            info.size = 8 << 40
            self.rest = info.tobuf(tarfile.GNU_FORMAT)
            self.given = 0

        def read(self, size: int, /) -> bytes:
            data, self.rest = self.rest[:size], self.rest[size:]
            data = data.ljust(size, b"\0")
            self.given += len(data)
            return data

    stream = Endless()
    with pytest.raises((LayerTooLarge, DiskFull)):
        compile_delta(stream, empty_disk(), empty_disk(), Limits(bytes=4 << 20))
    assert stream.given < 6 << 20


def test_a_bomb_of_entries_is_stopped() -> None:
    data = tar(*(file("same", b"") for _ in range(101)))
    apply(empty_disk(), data, Limits(entries=101))
    with pytest.raises(LayerTooLarge, match="100 entries"):
        apply(empty_disk(), data, Limits(entries=100))


def test_more_than_the_disk_holds_is_refused_by_name() -> None:
    with pytest.raises(DiskFull, match="base size"):
        apply(empty_disk(), tar(file("f", bytes(33 << 20))))
    with pytest.raises(DiskFull, match="inodes"):
        apply(empty_disk(), tar(*(file(f"f{n}", b"") for n in range(3000))))


def test_an_overlay_s_book_keeping_doesn_t_reach_the_container() -> None:
    pax = {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.kept": "k"}
    files = compile_all(tar(directory("d", pax=pax)))
    assert files.xattrs(b"d") == {b"user.kept": b"k"}


def test_a_repeated_opaque_mark_costs_nothing() -> None:
    # Quadratic if each mark looked through the directory again.
    members = [directory("d"), *(file(f"d/{n}", b"") for n in range(300))]
    again = [file("d/.wh..wh..opq") for _ in range(3000)]
    limits = Limits(path_steps=100_000)
    disk, _ = apply(empty_disk(), tar(*members))
    apply(disk, tar(file("d/new", b""), *again), limits)


def test_fields_are_read_at_their_places() -> None:
    assert FIELDS.size == 512

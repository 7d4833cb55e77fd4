"""Layers as ordinary images have them."""

from __future__ import annotations

import stat
import tarfile

import pytest

from services.storage.compiler import FileSystem, NotFound
from tests.unit.storage.compiler.disks import (
    MTIME,
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

BLOCK = 4096
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def test_an_empty_layer_changes_nothing() -> None:
    disk = empty_disk()
    child, info = apply(disk, tar())
    assert child.data == disk.data
    assert not child.written
    assert info.entries == 0


@pytest.mark.parametrize("format_", FORMATS)
def test_files_directories_and_links(format_: int) -> None:
    files = compile_all(
        tar(
            directory("etc", 0o755),
            file("etc/passwd", b"root:x:0:0\n", mode=0o640, owner=(3, 4)),
            symlink("etc/alias", "passwd"),
            hard_link("etc/same", "etc/passwd"),
            directory("tmp", 0o1777),
            format=format_,
        )
    )
    assert tree(files) == {
        "etc": "directory",
        "etc/passwd": "file root:x:0:0\n",
        "etc/alias": "link passwd",
        "etc/same": "file root:x:0:0\n",
        "tmp": "directory",
    }
    found = files.stat(b"etc/passwd")
    assert (found.mode, found.uid, found.gid) == (stat.S_IFREG | 0o640, 3, 4)
    assert (found.links, found.mtime) == (2, MTIME * 10**9)
    assert files.stat(b"etc/same") == found
    assert files.stat(b"tmp").mode == stat.S_IFDIR | 0o1777
    assert files.stat(b"etc/alias", follow=True) == found
    assert files.read(b"/etc/alias", limit=100) == b"root:x:0:0\n"


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        511,
        512,
        513,
        BLOCK - 1,
        BLOCK,
        BLOCK + 1,
        300_000,
        (1 << 20) - 1,
        (1 << 20) + 1,
        3 << 20,
    ],
)
def test_files_of_any_size_keep_their_bytes(size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(min(size, 65_521))) * (size // 65_521 + 1)
    data = data[:size]
    files = compile_all(tar(file("before", b"b"), file("data", data), file("after", b"a")))
    assert files.read(b"data", limit=size) == data
    assert files.read(b"before", limit=1) + files.read(b"after", limit=1) == b"ba"
    assert files.stat(b"data").allocated == -(-size // BLOCK) * BLOCK


@pytest.mark.parametrize("length", [1, 59, 60, 61, 1000, 4095])
def test_links_with_targets_of_any_length(length: int) -> None:
    files = compile_all(tar(symlink("link", "t" * length)))
    assert files.link_target(b"link") == b"t" * length
    assert files.stat(b"link").size == length


@pytest.mark.parametrize("device", [(1, 3), (255, 255), (8, 256), (4095, 1048575), (0, 0)])
def test_devices(device: tuple[int, int]) -> None:
    files = compile_all(
        tar(
            member("char", kind=tarfile.CHRTYPE, device=device, mode=0o666),
            member("block", kind=tarfile.BLKTYPE, device=device, mode=0o660),
            member("fifo", kind=tarfile.FIFOTYPE, mode=0o600),
            format=tarfile.GNU_FORMAT,
        )
    )
    assert tree(files) == {"char": f"c {device}", "block": f"b {device}", "fifo": "p None"}


def test_modes_keep_their_special_bits() -> None:
    files = compile_all(
        tar(
            file("su", b"", mode=0o4755),
            file("sg", b"", mode=0o2755),
            file("all", b"", mode=0o7777),
        )
    )
    modes = [stat.S_IMODE(files.stat(name).mode) for name in (b"su", b"sg", b"all")]
    assert modes == [0o4755, 0o2755, 0o7777]


def test_owners_up_to_the_last_one() -> None:
    last = (1 << 32) - 2
    files = compile_all(tar(file("f", b"", owner=(last, 70_000))))
    assert (files.stat(b"f").uid, files.stat(b"f").gid) == (last, 70_000)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1600000000.123456789", 1_600_000_000_123_456_789),
        ("1600000000.5", 1_600_000_000_500_000_000),
        ("-1.25", -1_250_000_000),
        ("0", 0),
        ("4102444800.000000001", 4_102_444_800_000_000_001),
        ("-2147483648", -(1 << 31) * 10**9),
        ("15032385535.999999999", 15_032_385_535_999_999_999),
        ("99999999999", 15_032_385_535 * 10**9),
        ("-99999999999", -(1 << 31) * 10**9),
    ],
)
def test_times_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    files = compile_all(tar(file("f", b"", pax={"mtime": text})))
    assert files.stat(b"f").mtime == nanoseconds


def test_times_of_access_and_change_where_the_tar_has_them() -> None:
    pax = {"mtime": "1000.5", "atime": "2000.25", "ctime": "3000.125"}
    found = compile_all(tar(file("f", b"", pax=pax))).stat(b"f")
    assert (found.mtime, found.atime, found.ctime) == (1000500000000, 2000250000000, 3000125000000)


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_links(format_: int) -> None:
    deep = "/".join(["d" * 200] * 12) + "/" + "n" * 255
    files = compile_all(
        tar(file(deep, b"deep"), symlink("s", "x" * 300), hard_link("h", deep), format=format_)
    )
    assert files.read(deep.encode(), limit=10) == b"deep"
    assert files.stat(deep.encode()).links == 2
    assert files.link_target(b"s") == b"x" * 300


@pytest.mark.parametrize("format_", FORMATS)
def test_names_that_aren_t_utf_8(format_: int) -> None:
    name = b"caf\xe9/\xff\xfe".decode("utf-8", "surrogateescape")
    files = compile_all(tar(file(name, b"x"), symlink("l", name), format=format_))
    assert files.read(b"caf\xe9/\xff\xfe", limit=1) == b"x"
    assert files.link_target(b"l") == b"caf\xe9/\xff\xfe"


def test_names_with_dots_and_slashes_are_cleaned() -> None:
    files = compile_all(
        tar(
            directory("./"),
            file("./a", b"a"),
            file("b//c", b"c"),
            file("b/./d", b"d"),
            file("b/x/../e", b"e"),
            file("/f", b"f"),
            directory("g/"),
            file(".h", b"h"),
        )
    )
    assert sorted(tree(files)) == [".h", "a", "b", "b/c", "b/d", "b/e", "f", "g"]


def test_a_name_is_looked_up_beside_others_that_are_written_otherwise() -> None:
    # Directories are known by how their members' names are written, which must be the whole of it.
    files = compile_all(
        tar(
            directory("./a/"),
            directory("./a/b/"),
            file("./a/b/one", b"1"),
            file("./a/b/../two", b"2"),
            file("./a/b/./three", b"3"),
            file("./a/b//four", b"4"),
            file("./a/five", b"5"),
            file("./a/b/six", b"6"),
            file("a/b/.hidden", b"7"),
            file("./a/b/seven", b"8"),
            symlink("./a/b/seven", "../c"),
            file("./a/c/", b""),
            hard_link("./a/b/eight", "./a/b/six"),
        )
    )
    assert tree(files) == {
        "a": "directory",
        "a/b": "directory",
        "a/b/.hidden": "file 7",
        "a/b/eight": "file 6",
        "a/b/four": "file 4",
        "a/b/one": "file 1",
        "a/b/seven": "link ../c",
        "a/b/six": "file 6",
        "a/b/three": "file 3",
        "a/c": "file ",
        "a/five": "file 5",
        "a/two": "file 2",
    }


def test_a_directory_that_is_replaced_by_a_link_is_another_one_from_then_on() -> None:
    files = compile_all(
        tar(
            directory("there"),
            file("here/one", b"1"),
            file("here/two", b"2"),
            symlink("here", "there"),
            file("here/two", b"3"),
        )
    )
    assert tree(files) == {
        "here": "link there",
        "there": "directory",
        "there/two": "file 3",
    }


def test_directories_that_aren_t_listed_are_made() -> None:
    files = compile_all(tar(file("a/b/c", b"x")))
    found = files.stat(b"a/b")
    assert (found.mode, found.uid, found.mtime) == (stat.S_IFDIR | 0o755, 0, 0)
    assert files.stat(b"a").links == 3


def test_the_root_takes_its_attributes_from_the_layer() -> None:
    files = compile_all(tar(directory("./", 0o750, owner=(5, 6))))
    found = files.stat(b"")
    assert (stat.S_IMODE(found.mode), found.uid, found.gid) == (0o750, 5, 6)
    assert found.mtime == MTIME * 10**9


def test_the_last_of_several_entries_wins() -> None:
    files = compile_all(
        tar(
            file("a", b"first" * 5000),
            file("a", b"second"),
            directory("d"),
            file("d/x", b""),
            file("d", b"now a file"),
            file("e", b"file"),
            directory("e"),
            file("e/y", b""),
            symlink("s", "x" * 100),
            symlink("s", "y" * 70),
        )
    )
    assert tree(files) == {
        "a": "file second",
        "d": "file now a file",
        "e": "directory",
        "e/y": "file ",
        "s": "link " + "y" * 70,
    }


def test_an_upper_layer_replaces_files_and_merges_directories() -> None:
    below = tar(
        directory("d", 0o700, owner=(1, 1)),
        file("d/keep", b"keep"),
        file("d/change", b"old" * 4000),
        file("plain", b"old"),
        directory("tree"),
        file("tree/x/y", b""),
    )
    above = tar(
        directory("d", 0o711, owner=(2, 2)),
        file("d/change", b"new"),
        directory("plain"),
        file("tree", b"a file now"),
    )
    files = compile_all(below, above)
    assert tree(files) == {
        "d": "directory",
        "d/keep": "file keep",
        "d/change": "file new",
        "plain": "directory",
        "tree": "file a file now",
    }
    assert (stat.S_IMODE(files.stat(b"d").mode), files.stat(b"d").uid) == (0o711, 2)


def test_a_directory_that_is_only_passed_through_keeps_its_attributes() -> None:
    files = compile_all(tar(directory("d", 0o700, owner=(9, 9))), tar(file("d/f", b"")))
    found = files.stat(b"d")
    assert (stat.S_IMODE(found.mode), found.uid, found.mtime) == (0o700, 9, MTIME * 10**9)


def test_replacing_one_name_of_a_file_leaves_its_other_names() -> None:
    below = tar(file("a", b"old"), hard_link("b", "a"), hard_link("c", "a"))
    files = compile_all(below, tar(file("a", b"new")))
    assert tree(files) == {"a": "file new", "b": "file old", "c": "file old"}
    assert files.stat(b"b").links == 2


def test_a_hard_link_to_a_file_of_a_lower_layer() -> None:
    files = compile_all(tar(file("d/a", b"data")), tar(hard_link("b", "d/a")))
    assert files.stat(b"b") == files.stat(b"d/a")
    assert files.stat(b"b").links == 2


def test_a_hard_link_to_a_link_links_the_link() -> None:
    files = compile_all(tar(file("a", b"x"), symlink("s", "a"), hard_link("h", "s")))
    assert files.link_target(b"h") == b"a"
    assert files.stat(b"s").links == 2


def test_a_hard_link_over_what_was_there() -> None:
    files = compile_all(
        tar(file("a", b"a"), file("b", b"b" * 9000), directory("d"), file("d/x", b"")),
        tar(hard_link("b", "a"), hard_link("d", "a"), hard_link("a", "a")),
    )
    assert tree(files) == {"a": "file a", "b": "file a", "d": "file a"}
    assert files.stat(b"a").links == 3


def test_a_layer_writes_through_a_link_to_a_directory() -> None:
    below = tar(directory("usr"), directory("usr/bin"), symlink("bin", "usr/bin"))
    files = compile_all(below, tar(file("bin/tool", b"t")))
    assert tree(files)["usr/bin/tool"] == "file t"
    assert files.link_target(b"bin") == b"usr/bin"


def test_a_lower_file_gives_way_to_a_directory_that_isn_t_listed() -> None:
    assert tree(compile_all(tar(file("a", b"x")), tar(file("a/b", b"y")))) == {
        "a": "directory",
        "a/b": "file y",
    }


def test_v7_directories_end_with_a_slash() -> None:
    raw = bytearray(tar(file("old/", b""), format=tarfile.USTAR_FORMAT))
    raw[156:157] = b"\0"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    assert tree(compile_all(bytes(raw))) == {"old": "directory"}


def test_the_reader_refuses_what_isn_t_there() -> None:
    files = compile_all(tar(file("a", b"x"), symlink("loop", "loop"), symlink("out", "../../a")))
    for path in (b"b", b"a/b", b"loop/x", b"b/../a"):
        with pytest.raises(NotFound):
            files.stat(path, follow=True)
    assert files.read(b"out", limit=1) == b"x"
    with pytest.raises(NotFound):
        files.read(b"", limit=1)


def test_usage_follows_what_is_stored() -> None:
    disk = empty_disk()
    before = FileSystem(disk).usage()
    child, _ = apply(disk, tar(file("a", bytes(10 * BLOCK)), file("b", b"")))
    after = FileSystem(child).usage()
    assert before.free - after.free == 10 * BLOCK
    assert before.free_inodes - after.free_inodes == 2
    emptied, _ = apply(child, tar(file(".wh.a"), file(".wh.b")))
    assert FileSystem(emptied).usage() == before

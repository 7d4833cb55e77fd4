"""Many entries, large files, and disks that are nearly full."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.compiler import DiskFull, FileSystem, compile_delta
from services.storage.compiler.ext4 import bitmap, directory, extents, htree
from services.storage.compiler.ext4.extents import EMPTY_ROOT, Extent
from tests.unit.storage.compiler.disks import (
    MemoryDisk,
    apply,
    check,
    compile_all,
    empty_disk,
    file,
    hard_link,
    member,
    tar,
    tree,
)
from tests.unit.storage.compiler.disks import (
    directory as folder,
)

BLOCK = 4096


@pytest.mark.parametrize("count", [100, 130, 300, 2500])
def test_directories_of_any_size(count: int) -> None:
    names = [f"entry-{n:05}-{'x' * (n % 40)}" for n in range(count)]
    data = tar(folder("d"), *(file(f"d/{name}", b"") for name in names))
    files = compile_all(data, size=64 << 20)
    assert sorted(files.names(b"d")) == sorted(name.encode() for name in names)


def test_a_large_directory_shrinks_and_grows() -> None:
    many = tar(folder("d"), *(file(f"d/{n:04}", b"") for n in range(1500)))
    fewer = tar(*(file(f"d/.wh.{n:04}", b"") for n in range(1490)))
    again = tar(*(file(f"d/new-{n:04}", b"") for n in range(900)))
    files = compile_all(many, fewer, again)
    assert len(files.names(b"d")) == 910
    assert files.stat(b"d").allocated == files.stat(b"d").size


def test_two_levels_of_index() -> None:
    # 255-byte names: fifteen in a block, so that 8,000 of them need more than 508 leaves.
    names = [f"{n:06}".ljust(255, "x") for n in range(8000)]
    disk = empty_disk(256 << 20)
    members = [folder("d"), file("f", b"")]
    data = tar(*members, *(hard_link(f"d/{name}", "f") for name in names))
    child, _ = apply(disk, data)
    assert len(FileSystem(child).names(b"d")) == 8000
    assert FileSystem(child).stat(b"f").links == 8001


def test_names_with_one_hash_may_fill_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(htree, "legacy_hash", lambda name: 2 * (len(name) // 100))
    children = {f"{n:04}".ljust(200, "x").encode(): directory.pack_entry(12, 1) for n in range(99)}
    leaves = io.BytesIO()
    head = htree.build(20, 2, htree.in_order(children), leaves)
    data = head + leaves.getvalue()
    found = [name for name, _, _ in directory.parse(data) if name not in (b".", b"..")]
    assert sorted(found) == sorted(children)


def test_the_hash_is_the_kernel_s() -> None:
    # Values from `debugfs -R 'dx_hash -h legacy NAME'`.
    assert htree.legacy_hash(b"hello") == 0x32252546
    assert htree.legacy_hash(b"a") == 0xE74B53E2


def test_many_subdirectories_are_counted() -> None:
    files = compile_all(tar(*(folder(f"d/{n}") for n in range(300))))
    assert files.stat(b"d").links == 302


def fragmented(every: int = 2, size: int = 24 << 20) -> MemoryDisk:
    """A disk on which each second block behind the metadata is in use."""
    disk = empty_disk(size)
    free = FileSystem(disk).usage().free // BLOCK - 8
    count = min(free, 1000)
    members = [file(f"f{n}", b"x" * BLOCK) for n in range(count)]
    rest = file("rest", bytes((free - count) * BLOCK))
    disk, _ = apply(disk, tar(*members, rest))
    gaps = tar(*(file(f".wh.f{n}", b"") for n in range(0, count, every)))
    disk, _ = apply(disk, gaps)
    return disk


def test_a_file_in_hundreds_of_pieces_on_a_full_disk() -> None:
    disk = fragmented()
    data = bytes(range(256)) * (16 * 450)
    child, _ = apply(disk, tar(file("pieces", data)))
    files = FileSystem(child)
    assert files.read(b"pieces", limit=len(data)) == data
    assert files.stat(b"pieces").allocated > len(data)  # nodes of the extent tree
    emptied, _ = apply(child, tar(file(".wh.pieces", b"")))
    assert FileSystem(emptied).usage().free >= FileSystem(disk).usage().free - 8 * BLOCK


def test_a_fragmented_file_replaced_in_the_same_layer() -> None:
    disk = fragmented()
    data = b"y" * (BLOCK * 200)
    child, _ = apply(disk, tar(file("pieces", data), file("pieces", b"end")))
    assert FileSystem(child).read(b"pieces", limit=10) == b"end"


def test_what_a_layer_frees_it_may_use_again() -> None:
    disk = empty_disk()
    big = file("big", b"1" * (10 << 20))
    child, _ = apply(disk, tar(big, big, big, big, big))
    assert FileSystem(child).usage().free == FileSystem(disk).usage().free - (10 << 20)
    other, _ = apply(child, tar(file("big", b"2" * (12 << 20)), file("other", b"3" * (10 << 20))))
    assert FileSystem(other).read(b"other", limit=10 << 20) == b"3" * (10 << 20)


def test_a_full_disk_stays_sound_and_says_so() -> None:
    disk = empty_disk()
    free = FileSystem(disk).usage().free
    with pytest.raises(DiskFull):
        apply(disk, tar(file("f", bytes(free + 1))))
    full, _ = apply(disk, tar(file("f", bytes(free))))
    assert FileSystem(full).usage().free == 0
    with pytest.raises(DiskFull):
        apply(full, tar(file("g", b"x")))
    child, _ = apply(full, tar(file(".wh.f", b""), file("g", b"x")))
    assert tree(FileSystem(child)) == {"g": "file x"}


def test_inodes_are_used_again() -> None:
    disk = empty_disk(16 << 20)
    count = FileSystem(disk).usage().free_inodes & ~1
    spare = FileSystem(disk).usage().free_inodes - count
    disk, _ = apply(disk, tar(*(file(f"f{n}", b"") for n in range(count))))
    disk, _ = apply(disk, tar(*(file(f".wh.f{n}", b"") for n in range(0, count, 2))))
    disk, _ = apply(disk, tar(*(file(f"g{n}", b"") for n in range(count // 2))))
    assert FileSystem(disk).usage().free_inodes == spare
    with pytest.raises(DiskFull, match="inodes"):
        apply(disk, tar(file("one more", b""), file("and another", b"")))


def test_data_over_several_groups() -> None:
    size = 300 << 20
    data = b"0123456789abcdef" * (1 << 16)

    class Parts:
        """A tar with one file of 200 MiB, made while it is read."""

        def __init__(self) -> None:
            info = tarfile.TarInfo("f")
            info.size = 200 << 20
            self.pieces = iter([info.tobuf(), *([data] * 200), bytes(1024)])
            self.rest = b""

        def read(self, count: int, /) -> bytes:
            while not self.rest:
                piece = next(self.pieces, None)
                if piece is None:
                    return b""
                self.rest = piece
            head, self.rest = self.rest[:count], self.rest[count:]
            return head

    disk = empty_disk(size)
    child = disk.copy()
    compile_delta(Parts(), disk, child)
    check(child)
    files = FileSystem(child)
    number = files.stat(b"f").number
    found = hashlib.sha256()
    for piece in files.stream(number):
        found.update(piece)
    assert found.digest() == hashlib.sha256(data * 200).digest()
    smaller, _ = apply(child, tar(file(".wh.f", b"")))
    assert FileSystem(smaller).usage() == FileSystem(disk).usage()


def test_names_without_end_for_one_file() -> None:
    members = [file("f", b"")] + [hard_link(f"d/{n}", "f") for n in range(64_999)]
    disk = empty_disk(64 << 20)
    child = disk.copy()
    compile_delta(io.BytesIO(tar(*members, format=tarfile.USTAR_FORMAT)), disk, child)
    check(child)
    assert FileSystem(child).stat(b"f").links == 65_000


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 400)), min_size=1, max_size=2000))
def test_any_extents_read_back(shape: list[tuple[int, int]]) -> None:
    found: list[Extent] = []
    logical = 0
    start = 1_000_000
    for gap, count in shape:
        logical += gap
        start += gap
        found.append(Extent(logical, start, count))
        logical += count
        start += count
    nodes: dict[int, bytes] = {}
    numbers = iter(range(1, 1000))
    root, used = extents.build(found, lambda: next(numbers), nodes.__setitem__)
    assert sorted(used) == sorted(nodes)
    parsed, read = extents.parse(root, nodes.__getitem__, 10_000_000)
    assert parsed == found
    assert sorted(read) == sorted(nodes)


def test_no_extents_read_back() -> None:
    assert extents.build([], lambda: 0, lambda _block, _data: None) == (EMPTY_ROOT, [])
    assert extents.parse(EMPTY_ROOT, lambda _: b"", 100) == ([], [])


@given(st.lists(st.tuples(st.integers(0, 32767), st.integers(0, 32768), st.booleans()), max_size=8))
def test_bitmaps_agree_with_a_list_of_flags(changes: list[tuple[int, int, bool]]) -> None:
    data = bitmap.new_bitmap(32768)
    flags = bytearray(32768)
    for start, count, used in changes:
        count = min(count, 32768 - start)
        flags[start : start + count] = bytes([used]) * count
        (bitmap.set_range if used else bitmap.clear_range)(data, start, count)
    found = bytearray(b"\1") * 32768
    for start, count in bitmap.free_runs(data, 32768):
        found[start : start + count] = bytes(count)
    assert found == flags
    assert bitmap.last_set(data, 32768) == flags.rfind(1)


def test_unused_member_kinds_take_no_space() -> None:
    disk = empty_disk()
    before = FileSystem(disk).usage()
    child, _ = apply(disk, tar(*(member(f"p{n}", kind=tarfile.FIFOTYPE) for n in range(50))))
    assert FileSystem(child).usage().free == before.free

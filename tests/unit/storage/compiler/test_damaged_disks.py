"""A disk that is damaged, or that a hostile guest wrote, harms nobody who reads it."""

from __future__ import annotations

import contextlib
import io
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.storage.compiler import (
    CompilerError,
    DiskCorrupt,
    FileSystem,
    compile_delta,
)
from services.storage.compiler.ext4 import directory
from tests.unit.storage.compiler.disks import (
    MemoryDisk,
    apply,
    empty_disk,
    file,
    hard_link,
    symlink,
    tar,
)
from tests.unit.storage.compiler.disks import (
    directory as folder,
)

SIZE = 16 << 20


@cache
def _sample() -> tuple[MemoryDisk, tuple[int, ...]]:
    """A disk with a bit of everything, and the offsets of its metadata that isn't zero."""
    disk = empty_disk(SIZE)
    pax = {"SCHILY.xattr.user.a": "b" * 200, "SCHILY.xattr.user.c": "d"}
    disk, _ = apply(
        disk,
        tar(
            folder("d"),
            file("d/f", b"x" * 9000, pax=pax),
            hard_link("d/h", "d/f"),
            symlink("s", "d"),
            symlink("long", "y" * 100),
            *(file(f"many/{n:04}".ljust(100, "z"), b"") for n in range(120)),
        ),
    )
    places = [
        at + within
        for at, block in disk.used()
        for within, byte in enumerate(block)
        if at + within >= 1024 and byte not in (0, ord("x"), ord("z"))
    ]
    return disk, tuple(places)


def read_all(disk: MemoryDisk) -> None:
    """Look at everything, as far as it is of a sane size."""
    files = FileSystem(disk)
    files.usage()
    for count, (path, info) in enumerate(files.walk()):
        if count > 1000:
            break
        files.xattrs(path)
        if info.mode & 0o170000 == 0o100000:
            for number, _ in enumerate(files.stream(info.number)):
                if number > 20:
                    break


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_damage_is_named_or_passed_over(data: st.DataObject) -> None:
    sample, places = _sample()
    disk = sample.copy()
    for _ in range(data.draw(st.integers(1, 4))):
        at = places[data.draw(st.integers(0, len(places) - 1))] + data.draw(st.integers(-2, 2))
        disk.damage(at, bytes([data.draw(st.integers(0, 255))]))
    layer = tar(
        file("d/new", b"n" * 5000),
        file(".wh.many", b""),
        file("d/f", b"replaced"),
        hard_link("again", "d/h"),
        file("s/through", b""),
    )
    for work in (
        lambda: read_all(disk),
        lambda: compile_delta(io.BytesIO(layer), disk, disk.copy()),
    ):
        with contextlib.suppress(CompilerError):
            work()


@pytest.mark.parametrize("data", [b"", bytes(4096), b"\xff" * (1 << 20)])
def test_what_is_no_file_system_is_refused(data: bytes) -> None:
    with pytest.raises(DiskCorrupt):
        FileSystem(MemoryDisk(data.ljust(1 << 20, b"\0")))


def test_directories_in_a_circle_are_noticed() -> None:
    disk, _ = apply(empty_disk(SIZE), tar(folder("a"), folder("a/b")))
    files = FileSystem(disk)
    a, b = files.stat(b"a").number, files.stat(b"a/b").number
    loop = directory.build_linear(b, a, [(b"up", directory.pack_entry(a, 2))])
    old = directory.build_linear(b, a, ())
    disk = MemoryDisk(disk.data.replace(old, loop))
    with pytest.raises(DiskCorrupt, match="two names"):
        list(FileSystem(disk).walk())


def test_a_parent_with_features_that_we_don_t_keep_up_is_refused() -> None:
    disk = empty_disk(SIZE)
    features = disk.read(1024 + 0x65, 1)[0]
    disk.damage(1024 + 0x65, bytes([features | 0x4]))  # metadata_csum
    FileSystem(disk)
    with pytest.raises(DiskCorrupt, match="features"):
        compile_delta(io.BytesIO(tar()), disk, disk.copy())


def test_a_disk_that_was_not_unmounted_says_so() -> None:
    disk = empty_disk(SIZE)
    assert not FileSystem(disk).needs_recovery
    disk.damage(1024 + 0x60, bytes([disk.read(1024 + 0x60, 1)[0] | 0x4]))
    assert FileSystem(disk).needs_recovery
    with pytest.raises(DiskCorrupt, match="isn't clean"):
        compile_delta(io.BytesIO(tar()), disk, disk.copy())

"""What qemu-img, e2fsck, debugfs and the kernel say about our disks."""

from __future__ import annotations

import os
import random
import re
import stat
import tarfile
from pathlib import Path

import pytest

from services.storage.compiler import FileSystem, compile_delta, create_base, create_volume
from services.storage.compiler.base import format_disk
from services.storage.vmdk import Chain, create_disk
from tests.integration.storage.compiler.reference import (
    build_chain,
    check,
    differences,
    mounted,
    needs,
    of_disk,
    of_host,
    raw,
    root_only,
    run,
)
from tests.unit.storage.compiler.disks import directory, file, hard_link, symlink, tar

pytestmark = needs("qemu-img", "qemu-io", "e2fsck", "debugfs")


def write_tars(top: Path, *tars: bytes) -> list[Path]:
    """Tars as files."""
    paths = []
    for number, data in enumerate(tars):
        paths.append(top / f"{number}.tar")
        paths[-1].write_bytes(data)
    return paths


@pytest.mark.parametrize("size", [64 << 20, 1 << 30, 8 << 30, (3 << 30) + (1 << 16), 200 << 30])
def test_a_base_of_any_size_is_sound_and_thin(tmp_path: Path, size: int) -> None:
    info = create_base(tmp_path / "base.vmdk", size)
    assert info.size == size
    assert "No errors" in run("qemu-img", "check", tmp_path / "base.vmdk")
    assert (tmp_path / "base.vmdk").stat().st_blocks * 512 < (2 << 20) + size // 8192
    check(tmp_path / "base.vmdk")


@root_only
def test_the_kernel_finds_nothing_in_a_base_and_writes_there(tmp_path: Path) -> None:
    disks = build_chain(tmp_path, [])
    with raw(disks[-1]) as path:
        with mounted(path, "rw") as top:
            assert os.listdir(top) == []
            (top / "d").mkdir()
            (top / "d/f").write_bytes(b"f")
        with mounted(path) as top:
            assert os.listdir(top) == ["d"]
        run("e2fsck", "-fn", path)


@root_only
@pytest.mark.parametrize("is_directory", [True, False])
def test_the_kernel_takes_a_layer_s_own_lost_and_found(tmp_path: Path, is_directory: bool) -> None:
    members = [directory("lost+found", 0o700, owner=(3, 4)), file("lost+found/f", b"f")]
    layer = tar(*members) if is_directory else tar(file("lost+found", b"f"))
    disks = build_chain(tmp_path, write_tars(tmp_path, layer, tar(file(".wh.lost+found"))))
    for disk in disks:
        check(disk)
    with raw(disks[1]) as path:
        with mounted(path, "rw") as top:
            assert os.listdir(top) == ["lost+found"]
            assert differences(of_host(top), of_disk(disks[1])) == []
            assert (top / "lost+found").is_dir() is is_directory
            (top / "lost+found").rename(top / "renamed")
        run("e2fsck", "-fn", path)
    with raw(disks[2]) as path, mounted(path) as top:
        assert os.listdir(top) == []


def test_the_default_base_takes_little(tmp_path: Path) -> None:
    info = create_base(tmp_path / "base.vmdk")
    assert info.size == 8 << 30
    assert (tmp_path / "base.vmdk").stat().st_blocks * 512 < 1 << 20


def test_two_bases_are_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    create_base(tmp_path / "base.vmdk")
    create_base(tmp_path / "x/base.vmdk")
    assert (tmp_path / "base.vmdk").read_bytes() == (tmp_path / "x/base.vmdk").read_bytes()


def test_qemu_takes_the_chain(tmp_path: Path) -> None:
    layers = write_tars(
        tmp_path,
        tar(directory("d"), file("d/a", b"a" * 100_000)),
        tar(file("d/b", b"b"), file("d/.wh.a", b"")),
    )
    disks = build_chain(tmp_path, layers)
    create_disk(tmp_path / "container.vmdk", parent=disks[-1], name="container")
    for disk in [*disks, tmp_path / "container.vmdk"]:
        assert "No errors" in run("qemu-img", "check", disk)
    text = run("qemu-img", "info", "--backing-chain", tmp_path / "container.vmdk")
    assert len(re.findall(r"^file format: vmdk", text, re.MULTILINE)) == 4
    assert len(re.findall(r"^virtual size: 1 GiB", text, re.MULTILINE)) == 4
    assert "Images are identical." in run(
        "qemu-img", "compare", disks[-1], tmp_path / "container.vmdk"
    )
    with Chain(tmp_path / "container.vmdk") as chain, raw(disks[-1]) as path:
        assert chain.read(0, 64 << 20) == path.read_bytes()[: 64 << 20]


def test_qemu_writes_a_container_s_disk_and_we_read_it(tmp_path: Path) -> None:
    disks = build_chain(tmp_path, write_tars(tmp_path, tar(file("a", b"a" * 5000))))
    container = tmp_path / "container.vmdk"
    create_disk(container, parent=disks[-1], name="container")
    before = disks[-1].read_bytes()
    run("qemu-io", "-c", "write -P 0x41 512M 70000", "-c", "write -P 0x42 1000M 1M", container)
    assert "No errors" in run("qemu-img", "check", container)
    with Chain(container) as chain, raw(container) as path, path.open("rb") as file_:
        assert chain.read(512 << 20, 70_001) == b"A" * 70_000 + b"\0"
        for offset in (0, 500 << 20, 1000 << 20):
            file_.seek(offset)
            assert chain.read(offset, 2 << 20) == file_.read(2 << 20)
    assert disks[-1].read_bytes() == before


def test_debugfs_shows_the_tree(tmp_path: Path) -> None:
    pax = {"SCHILY.xattr.user.note": "value", "mtime": "1600000000.25"}
    layer = tar(
        directory("d", 0o751, owner=(1000, 100_000)),
        file("d/f", b"content", mode=0o4755, owner=(3, 4), pax=pax),
        hard_link("d/h", "d/f"),
        symlink("s", "d/f"),
    )
    disks = build_chain(tmp_path, write_tars(tmp_path, layer))
    with raw(disks[-1]) as path:
        listed = run("debugfs", "-R", "ls -l /d", path)
        assert " 104755 (1)      3      4       7 " in listed
        described = run("debugfs", "-R", "stat /d/f", path)
        assert "Links: 2" in described
        assert 'user.note (5) = "value"' in described
        assert "mtime: 0x5f5e1000:3b9aca00" in described
        assert "User:  1000   Group: 100000" in run("debugfs", "-R", "stat /d", path)
        assert 'Fast link dest: "d/f"' in run("debugfs", "-R", "stat /s", path)
        run("debugfs", "-R", f"rdump /d {tmp_path}", path)
    assert (tmp_path / "d/f").read_bytes() == b"content"


def test_a_hundred_and_twenty_seven_layers(tmp_path: Path) -> None:
    layers = []
    for number in range(127):
        members = [directory("d"), file(f"d/{number:03}", b"%d" % number)]
        if number:
            members += [file("d/last", b"%d" % number), hard_link(f"d/h{number}", "d/000")]
        if number > 2:
            members.append(file(f"d/.wh.{number - 2:03}", b""))
        layers.append(tar(*members))
    disks = build_chain(tmp_path, write_tars(tmp_path, *layers))
    assert len(disks) == 128
    found = of_disk(disks[-1])
    assert sorted(name for name in found if name[:3] == b"d/1") == [b"d/125", b"d/126"]
    assert found[b"d/000"].links == 127
    for number in (1, 60, 127):
        check(disks[number])
    assert sum(disk.stat().st_blocks * 512 for disk in disks) < 127 << 20


@root_only
def test_the_kernel_shows_what_our_reader_shows_and_goes_on_writing(tmp_path: Path) -> None:
    numbers = random.Random(1)
    names = [f"big/{numbers.randbytes(numbers.randrange(1, 40)).hex()}" for _ in range(3000)]
    layer = tar(
        directory("big"),
        *(file(name, name.encode()) for name in dict.fromkeys(names)),
        symlink("slow", "x/" * 200),
        file("data", numbers.randbytes(3_000_001)),
    )
    disks = build_chain(tmp_path, write_tars(tmp_path, layer))
    with raw(disks[-1]) as path:
        with mounted(path) as top:
            assert differences(of_host(top), of_disk(disks[-1])) == []
            for name in names:
                assert stat.S_ISREG(os.stat(top / name).st_mode)
        with mounted(path, "rw") as top:
            for number in range(2000):
                (top / f"big/new-{number}").write_bytes(b"x" * number)
            for name in dict.fromkeys(names[::2]):
                (top / name).unlink()
        run("e2fsck", "-fn", path)


@root_only
def test_a_guest_s_kernel_needs_no_time_for_a_volume(tmp_path: Path) -> None:
    create_volume(tmp_path / "v.vmdk", 2 << 30, name="volume")
    assert stat.S_IMODE((tmp_path / "v.vmdk").stat().st_mode) == 0o600
    with raw(tmp_path / "v.vmdk") as path:
        before = path.stat().st_blocks
        with mounted(path, "rw,init_itable=0") as top:
            assert os.listdir(top) == []
            os.sync()
        assert path.stat().st_blocks - before < 64
        run("e2fsck", "-fn", path)


class _Zeros:
    """A tar with one file of zeros between two small ones."""

    def __init__(self, size: int) -> None:
        info = tarfile.TarInfo("big")
        info.size = size
        self._parts = [tar(file("before", b"before"))[:1024] + info.tobuf(tarfile.GNU_FORMAT)]
        self._zeros = size + -size % 512
        self._tail = tar(file("after", b"after"))
        self._chunk = bytes(1 << 20)

    def read(self, size: int, /) -> bytes:
        if self._parts:
            return self._parts.pop()
        if self._zeros:
            step = min(self._zeros, 1 << 20, size)
            self._zeros -= step
            return self._chunk[:step]
        part, self._tail = self._tail[:size], self._tail[size:]
        return part


class _Thin:
    """A raw file that writes no zeros over its holes."""

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.ftruncate(self._fd, size)
        self._zeros = bytes(1 << 20)

    def write(self, offset: int, *parts: memoryview) -> None:
        data = b"".join(parts)
        if data != self._zeros[: len(data)]:
            os.pwrite(self._fd, data, offset)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def close(self) -> None:
        os.close(self._fd)


def test_a_file_of_more_than_four_gigabytes(tmp_path: Path) -> None:
    size = (4 << 30) + (300 << 20) + 12345
    path = tmp_path / "raw"
    disk = _Thin(path, 8 << 30)
    format_disk(disk, disk.size, bytes(range(32)))
    compile_delta(_Zeros(size), disk, disk)
    files = FileSystem(disk)
    found = files.stat(b"big")
    assert found.size == size
    assert found.allocated > size  # with the nodes of its extent tree
    assert files.read(b"before", limit=10) + files.read(b"after", limit=10) == b"beforeafter"
    disk.close()
    assert f"Size: {size}" in run("debugfs", "-R", "stat /big", path)
    run("e2fsck", "-fn", path)

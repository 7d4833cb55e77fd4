"""Which inodes differ between two file systems, on disks that storage has made."""

from pathlib import Path

from services.storage.compiler.reader import FileSystem
from tests.unit.storage.compiler.disks import MemoryDisk, apply, directory, empty_disk, file, tar
from tether.files.compare import compare
from tether.files.inodes import touched_inodes

IMAGE = tar(
    directory("etc"),
    *(file(f"etc/{number}", b"same") for number in range(40)),
    file("etc/changed", b"before"),
    file("removed", b"x"),
)
CHANGES = tar(file("etc/changed", b"after!"), file("new", b"n"), file(".wh.removed"))


def numbers(disk: MemoryDisk) -> dict[str, int]:
    return {path.decode(): info.number for path, info in FileSystem(disk).walk()}


def on_devices(directory: Path, *disks: MemoryDisk) -> list[str]:
    paths = []
    for number, disk in enumerate(disks):
        path = directory / f"disk{number}"
        path.write_bytes(disk.data)
        paths.append(str(path))
    return paths


def test_inodes_that_are_as_they_were_are_left_out(tmp_path: Path) -> None:
    image, _ = apply(empty_disk(), IMAGE)
    disk, _ = apply(image, CHANGES)
    found = touched_inodes(*on_devices(tmp_path, disk, image))
    assert found is not None
    names = numbers(disk)
    assert {names["etc/changed"], names["new"], numbers(image)["removed"]} <= found
    assert not {names[f"etc/{number}"] for number in range(40)} & found


def test_to_read_a_file_is_not_to_touch_it(tmp_path: Path) -> None:
    image, _ = apply(empty_disk(), IMAGE)
    disk = image.copy()
    # Some time of access in each inode of the first table.
    descriptor = disk.read(4096, 32)
    table = int.from_bytes(descriptor[8:12], "little") * 4096
    for number in range(64):
        disk.damage(table + number * 256 + 8, b"\x01\x02\x03\x04")
    assert touched_inodes(*on_devices(tmp_path, disk, image)) == set()


def test_another_form_is_not_guessed_at(tmp_path: Path) -> None:
    image, _ = apply(empty_disk(), IMAGE)
    odd = image.copy()
    odd.damage(1024 + 0x60, bytes([odd.read(1024 + 0x60, 1)[0] | 0x80]))
    for pair in ((odd, odd), (odd, image), (MemoryDisk(bytes(8192)), image)):
        assert touched_inodes(*on_devices(tmp_path, *pair)) is None


def test_only_what_was_touched_is_looked_at(tmp_path: Path) -> None:
    disk, image = tmp_path / "disk", tmp_path / "image"
    for root in (disk, image):
        (root / "same").mkdir(parents=True)
    (image / "same/file").write_text("x")
    (disk / "same/file").hardlink_to(image / "same/file")
    (disk / "new").touch()
    own = {path.lstat().st_ino for path in (disk, disk / "same", disk / "new")}
    assert [str(one.path) for one in compare(str(disk), str(image), own)] == ["/new"]

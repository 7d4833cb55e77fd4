"""What a file system holds before any layer: nothing."""

from __future__ import annotations

import hashlib

from services.storage.compiler import DEFAULT_SIZE, FileSystem
from services.storage.compiler.base import FORMAT_VERSION, format_disk
from tests.unit.storage.compiler.disks import (
    apply,
    check,
    compile_all,
    directory,
    empty_disk,
    file,
    symlink,
    tar,
    tree,
)


def test_a_base_is_sound_and_its_root_empty() -> None:
    check(empty_disk())
    files = FileSystem(empty_disk())
    assert [path for path, _ in files.walk()] == [b""]
    assert files.stat(b"").links == 2


def test_the_first_inode_that_isn_t_reserved_is_the_first_layer_s() -> None:
    files = compile_all(tar(file("a"), file("b")))
    assert [files.stat(name).number for name in (b"a", b"b")] == [11, 12]


def test_an_image_has_no_more_in_its_root_than_its_layers() -> None:
    files = compile_all(tar(file("a", b"x")), tar(directory("d")))
    assert files.names(b"") == [b"a", b"d"]
    assert files.stat(b"").links == 3


def test_lost_and_found_is_a_name_like_any_other() -> None:
    disk, _ = apply(
        empty_disk(),
        tar(directory("lost+found", 0o700, owner=(3, 4)), file("lost+found/#12", b"x")),
    )
    files = FileSystem(disk)
    assert tree(files) == {"lost+found": "directory", "lost+found/#12": "file x"}
    found = files.stat(b"lost+found")
    assert (found.mode & 0o7777, found.uid, found.gid) == (0o700, 3, 4)
    for layer, left in (
        (tar(file(".wh.lost+found")), {}),
        (tar(file(".wh..wh..opq")), {}),
        (tar(file("lost+found", b"f")), {"lost+found": "file f"}),
        (tar(symlink("lost+found", "etc")), {"lost+found": "link etc"}),
    ):
        child, _ = apply(disk, layer)
        assert tree(FileSystem(child)) == left


class _Written:
    """A disk that keeps what is written to it."""

    def __init__(self) -> None:
        self.blocks: dict[int, bytes] = {}

    def write(self, offset: int, *parts: memoryview) -> None:
        self.blocks[offset] = b"".join(parts)

    def digest(self) -> str:
        found = hashlib.sha256()
        for offset, data in sorted(self.blocks.items()):
            found.update(b"%d %d " % (offset, len(data)) + data)
        return found.hexdigest()


def test_a_base_of_other_bytes_has_another_version() -> None:
    # A store keeps the base that it has, and layers fit no other: who changes what is written
    # here raises the version and puts the new digest in its place.
    disk = _Written()
    format_disk(disk, DEFAULT_SIZE, bytes(range(32)))
    assert (FORMAT_VERSION, disk.digest()) == (
        2,
        "4ab21cb97cd3a35945d34a6e88fd335a5b7f922849da5ec11a5b4d76715c21a6",
    )

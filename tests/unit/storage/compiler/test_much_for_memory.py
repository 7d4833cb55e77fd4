"""What is set aside where a layer has too much for memory, of which nothing may be seen in it."""

from __future__ import annotations

import pytest

from services.storage.compiler import FileSystem, inodes
from services.storage.compiler import directories as names
from tests.unit.storage.compiler.disks import (
    MemoryDisk,
    apply,
    directory,
    empty_disk,
    file,
    hard_link,
    symlink,
    tar,
)

DIRECTORIES = 30
TARGET = "there/" + "./" * 60 + "d1"


def to_and_fro() -> list[bytes]:
    """Layers that come back to each of their directories, through links too, and take some away."""
    first = tar(
        symlink("there", "/"),
        symlink("link", TARGET),
        *(
            file(f"d{at}/sub/{turn}-{'x' * at}", b"content" * at)
            for turn in range(6)
            for at in range(DIRECTORIES)
        ),
        file("link/through-a-link", b"1"),
        *(hard_link(f"d{at}/again", f"d{at}/sub/0-{'x' * at}") for at in range(DIRECTORIES)),
    )
    second = tar(
        *(
            member
            for at in range(0, DIRECTORIES, 3)
            for member in (file(f"d{at}/.wh.sub", b""), file(f"d{at + 1}/sub/new", b"2"))
        ),
        file("link/once-more", b"3"),
        directory("link2"),
        file("d2/.wh..wh..opq", b""),
        file("d2/alone", b""),
    )
    return [first, second]


def compiled(layers: list[bytes]) -> MemoryDisk:
    disk = empty_disk()
    for layer in layers:
        disk, _ = apply(disk, layer)
    return disk


def test_what_is_set_aside_shows_in_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = to_and_fro()
    expected = compiled(layers)
    assert FileSystem(expected).names(b"d1").count(b"once-more") == 1
    brought: list[int] = []
    bring_back = names.Shelf.bring_back

    def counted(shelf: names.Shelf, found: names.Directory) -> dict[bytes, int]:
        brought.append(found.number)
        return bring_back(shelf, found)

    monkeypatch.setattr(names.Shelf, "bring_back", counted)
    monkeypatch.setattr(names, "NAMES_BYTES", 2000)
    monkeypatch.setattr(inodes, "KEPT_BLOCKS", 2)
    assert compiled(layers).data == expected.data
    assert len(brought) > DIRECTORIES


def test_one_directory_that_is_too_large_alone_comes_back_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = [tar(*(file(f"d/{n}", b"") for n in range(1000)))]
    expected = compiled(layers)
    monkeypatch.setattr(names, "NAMES_BYTES", 30_000)
    shelves: list[names.Shelf] = []
    settle = names.Shelf.settle

    def seen(shelf: names.Shelf) -> None:
        shelves.append(shelf)
        settle(shelf)

    monkeypatch.setattr(names.Shelf, "settle", seen)
    assert compiled(layers).data == expected.data
    assert 0 < shelves[-1].brought_back < 10_000


def test_a_layer_that_goes_to_and_fro_without_end_stays_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = to_and_fro()
    expected = compiled(layers)
    monkeypatch.setattr(names, "NAMES_BYTES", 2000)
    monkeypatch.setattr(names, "MOST_BROUGHT_BACK", 100)
    assert compiled(layers).data == expected.data

"""What is set aside where a layer has too much for memory, of which nothing may be seen in it."""

from __future__ import annotations

from random import Random

import pytest

from services.storage.compiler import FileSystem, LayerTooLarge, directories, inodes, many_names
from services.storage.compiler.ext4.htree import in_order, legacy_hash
from services.storage.compiler.many_names import ManyNames, NameLog
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


@pytest.fixture(scope="module")
def expected() -> bytes:
    """The disk when all stays in memory."""
    return compiled(to_and_fro()).data


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of directories, each time that one is brought back."""
    numbers: list[int] = []
    bring_back = directories.Directories._bring_back

    def counted(known: directories.Directories, number: int, place: int) -> directories.Directory:
        numbers.append(number)
        return bring_back(known, number, place)

    monkeypatch.setattr(directories.Directories, "_bring_back", counted)
    monkeypatch.setattr(directories, "MEMORY_BYTES", 2000)
    return numbers


def test_what_is_set_aside_shows_in_no_byte(
    monkeypatch: pytest.MonkeyPatch, expected: bytes, brought: list[int]
) -> None:
    monkeypatch.setattr(inodes, "KEPT_BLOCKS", 2)
    disk = compiled(to_and_fro())
    assert FileSystem(disk).names(b"d1").count(b"once-more") == 1
    assert disk.data == expected
    assert len(brought) > DIRECTORIES


def test_names_in_a_file_show_in_no_byte(
    monkeypatch: pytest.MonkeyPatch, expected: bytes, brought: list[int]
) -> None:
    monkeypatch.setattr(directories, "LARGE_BYTES", 0)
    monkeypatch.setattr(directories, "LARGE_ON_DISK", 0)
    assert compiled(to_and_fro()).data == expected
    assert not brought


def test_an_index_of_names_in_a_file_is_the_same(
    monkeypatch: pytest.MonkeyPatch, brought: list[int]
) -> None:
    named = [f"{n}-{'x' * (n % 90)}" for n in range(3000)]
    layers = [
        tar(file("f", b""), *(hard_link(f"d/{name}", "f") for name in named)),
        tar(
            *(file(f"d/.wh.{name}", b"") for name in named[::3]),
            *(file(f"d/{name}", b"1") for name in named[::20]),
            *(hard_link(f"d/{name}", "f") for name in named[::7]),
        ),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(directories, "MEMORY_BYTES", 1 << 30)
        expected = compiled(layers).data
    monkeypatch.setattr(directories, "MEMORY_BYTES", 40_000)
    monkeypatch.setattr(directories, "LARGE_BYTES", 20_000)
    monkeypatch.setattr(directories, "LARGE_ON_DISK", 20_000)
    assert compiled(layers).data == expected
    assert len(brought) < 20


def test_members_that_go_to_and_fro_without_end_find_names_in_a_file(
    monkeypatch: pytest.MonkeyPatch, expected: bytes, brought: list[int]
) -> None:
    monkeypatch.setattr(directories, "MOST_BROUGHT_BACK", 10)
    monkeypatch.setattr(directories, "FEW_NAMES", 1)
    assert compiled(to_and_fro()).data == expected
    assert 0 < len(brought) < 6 * DIRECTORIES


def test_many_names_are_what_a_dictionary_is() -> None:
    random = Random(4)
    names, plain = ManyNames(NameLog(None)), dict[bytes, int]()
    for turn in range(10_000):
        name = b"%d" % random.randrange(3000) * random.randrange(1, 60)
        if random.randrange(3):
            names[name] = plain[name] = turn << 20
        elif name in plain:
            assert names.pop(name) == plain.pop(name)
        else:
            assert name not in names
    assert len(names) == len(plain) > 1000
    assert all(names.get(name) == entry for name, entry in plain.items())
    assert dict(names.items()) == plain
    assert list(names.oldest_first()) == list(plain.items())
    assert list(names.in_order(legacy_hash)) == list(in_order(plain))
    with pytest.raises(KeyError):
        names.pop(b"none")


def test_names_of_one_hash_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_names, "MOST_SORTED", 50)
    names = ManyNames(NameLog(None))
    for number in range(100):
        names[b"%d" % number] = number
    assert len(list(names.in_order(legacy_hash))) == 100
    with pytest.raises(LayerTooLarge, match="more than 50 names of the same hash"):
        list(names.in_order(lambda _name: 7))

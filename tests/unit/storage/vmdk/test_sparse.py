"""Writing and reading VMDK chains."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.vmdk import (
    GRAIN,
    MAX_DEPTH,
    Chain,
    ChainBroken,
    SparseWriter,
    VmdkCorrupt,
    VmdkError,
    content_id,
    create_disk,
)
from services.storage.vmdk.format import NO_PARENT_CID, Descriptor, Header, Layout
from tests.descriptors import open_descriptors

SIZE = 64 << 20


def write_disk(
    path: Path, writes: dict[int, bytes], parent: Path | None = None, size: int = SIZE
) -> None:
    """Make a disk with bytes at offsets."""
    chain = Chain(parent) if parent else None
    try:
        with SparseWriter(path, size, content_id(path.name), chain, durable=False) as writer:
            for offset, data in writes.items():
                writer.write(offset, memoryview(data))
            writer.seal()
    finally:
        if chain:
            chain.close()


def test_what_was_written_is_read_and_the_rest_is_zeros(tmp_path: Path) -> None:
    write_disk(tmp_path / "a.vmdk", {4096: b"x" * 4096, 40 << 20: b"y" * (3 * GRAIN)})
    with Chain(tmp_path / "a.vmdk") as chain:
        assert chain.read(0, 4096) == bytes(4096)
        assert chain.read(4095, 3) == b"\0xx"
        assert chain.read((40 << 20) - 2, 4) == b"\0\0yy"
        assert chain.read((40 << 20) + 3 * GRAIN - 1, 2) == b"y\0"
        assert chain.size == SIZE


def test_a_child_shows_its_parent_where_it_wasn_t_written(tmp_path: Path) -> None:
    write_disk(tmp_path / "a.vmdk", {0: b"a" * (2 * GRAIN)})
    write_disk(tmp_path / "b.vmdk", {4096: b"b" * 512}, tmp_path / "a.vmdk")
    with Chain(tmp_path / "b.vmdk") as chain:
        assert chain.read(4095, 514) == b"a" + b"b" * 512 + b"a"
        assert chain.read(GRAIN, 16) == b"a" * 16
        assert [path.name for path in chain.paths] == ["b.vmdk", "a.vmdk"]


def test_a_grain_written_twice_keeps_the_later_bytes(tmp_path: Path) -> None:
    write_disk(tmp_path / "a.vmdk", {0: b"a" * GRAIN})
    path = tmp_path / "b.vmdk"
    write_disk(path, {0: b"b" * 4096, 4096: b"c" * 4096}, tmp_path / "a.vmdk")
    with Chain(path) as chain:
        assert chain.read(0, 8193) == b"b" * 4096 + b"c" * 4096 + b"a"
    assert path.stat().st_size == Layout.of(SIZE).first_grain * 512 + GRAIN


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 2047), st.integers(1, 600), st.integers(1, 255)),
            max_size=6,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_writes_read_back_as_from_a_plain_disk(
    tmp_path_factory: pytest.TempPathFactory, layers: list[list[tuple[int, int, int]]]
) -> None:
    directory = tmp_path_factory.mktemp("chain")
    expected = bytearray(2048 * 512)
    parent: Path | None = None
    for number, layer in enumerate(layers):
        writes = {}
        for sector, count, byte in layer:
            count = min(count, 2048 - sector)
            writes[sector * 512] = bytes([byte]) * (count * 512)
        for offset, data in writes.items():
            expected[offset : offset + len(data)] = data
        path = directory / f"{number}.vmdk"
        write_disk(path, writes, parent, size=2048 * 512)
        parent = path
    assert parent is not None
    with Chain(parent) as chain:
        assert chain.read(0, len(expected)) == bytes(expected)


def test_a_sealed_file_is_read_only_and_appears_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.vmdk"
    with SparseWriter(path, SIZE, 1) as writer:
        writer.write(0, memoryview(bytes(512)))
        assert not path.exists()
        writer.seal()
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert os.listdir(tmp_path) == ["a.vmdk"]


def test_a_file_that_isn_t_sealed_leaves_nothing(tmp_path: Path) -> None:
    with SparseWriter(tmp_path / "a.vmdk", SIZE, 1) as writer:
        writer.write(0, memoryview(bytes(512)))
    assert os.listdir(tmp_path) == []


def test_an_empty_disk_is_small_and_writable(tmp_path: Path) -> None:
    write_disk(tmp_path / "a.vmdk", {0: b"a" * 512}, size=8 << 30)
    create_disk(tmp_path / "c.vmdk", parent=tmp_path / "a.vmdk", name="container")
    found = (tmp_path / "c.vmdk").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_blocks * 512 <= 64 << 10
    with Chain(tmp_path / "c.vmdk") as chain:
        assert chain.size == 8 << 30
        assert chain.read(0, 2) == b"aa"


def test_an_empty_disk_without_a_parent_reads_as_zeros(tmp_path: Path) -> None:
    create_disk(tmp_path / "v.vmdk", size=1 << 30, name="volume")
    with Chain(tmp_path / "v.vmdk") as chain:
        assert chain.read((1 << 30) - 512, 512) == bytes(512)


def test_the_parent_is_named_relative_to_the_child(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    write_disk(tmp_path / "one/a.vmdk", {0: b"a" * 512})
    create_disk(tmp_path / "two/b.vmdk", parent=tmp_path / "one/a.vmdk", name="b")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("one", "two"):
        (tmp_path / name).rename(moved / name)
    with Chain(moved / "two/b.vmdk") as chain:
        assert chain.read(0, 1) == b"a"


def test_a_replaced_parent_is_noticed(tmp_path: Path) -> None:
    write_disk(tmp_path / "a.vmdk", {})
    create_disk(tmp_path / "b.vmdk", parent=tmp_path / "a.vmdk", name="b")
    write_disk(tmp_path / "other.vmdk", {})
    (tmp_path / "other.vmdk").rename(tmp_path / "a.vmdk")
    with pytest.raises(ChainBroken, match="made on content"):
        Chain(tmp_path / "b.vmdk")


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    write_disk(tmp_path / "a.vmdk", {})
    create_disk(tmp_path / "b.vmdk", parent=tmp_path / "a.vmdk", name="b")
    (tmp_path / "a.vmdk").unlink()
    with pytest.raises(ChainBroken, match="is missing"):
        Chain(tmp_path / "b.vmdk")


def test_a_chain_that_loops_is_refused(tmp_path: Path) -> None:
    layout = Layout.of(SIZE)
    text = Descriptor(7, 7, "a.vmdk").text("a.vmdk", layout.capacity)
    directory = layout.directory_bytes(layout.directory)
    with (tmp_path / "a.vmdk").open("wb") as file:
        file.write(layout.header() + text)
        file.seek(layout.directory * 512)
        file.write(directory)
        file.truncate(layout.first_grain * 512)
    before = open_descriptors()
    with pytest.raises(ChainBroken, match=f"over {MAX_DEPTH} levels"):
        Chain(tmp_path / "a.vmdk")
    assert not open_descriptors() - before


def test_no_layer_gets_a_content_id_with_a_meaning() -> None:
    ids = {content_id(str(number)) for number in range(1000)}
    assert len(ids) == 1000
    assert not ids & {NO_PARENT_CID, 0xFFFFFFFE}
    assert content_id("sha256:abc") == content_id("sha256:abc")


@pytest.mark.parametrize("size", [0, -GRAIN, GRAIN + 512, (2 << 40) + GRAIN])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(VmdkError):
        Layout.of(size)


@pytest.mark.parametrize("name", ['a"b.vmdk', "a\nCID=0.vmdk", "a\0.vmdk"])
def test_a_name_can_t_forge_a_descriptor(name: str) -> None:
    with pytest.raises(VmdkError):
        Descriptor(1).text(name, 128)
    with pytest.raises(VmdkError):
        Descriptor(1, 2, name).text("disk.vmdk", 128)


def test_a_descriptor_reads_back(tmp_path: Path) -> None:
    text = Descriptor(0xABC, 0x1, "../x/disk.vmdk").text("disk.vmdk", 128)
    assert Descriptor.parse(text) == Descriptor(0xABC, 0x1, "../x/disk.vmdk")


@given(st.binary(max_size=600))
def test_garbage_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(VmdkCorrupt):
        Header.parse(data)


@given(st.integers(0, 78), st.integers(0, 255))
def test_a_damaged_header_never_crashes_the_reader(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.vmdk"
    write_disk(path, {0: b"a" * 512}, size=1 << 20)
    data = bytearray(path.read_bytes())
    data[at] = byte
    path.chmod(0o600)
    path.write_bytes(data)
    try:
        with Chain(path) as chain:
            chain.read(0, min(chain.size, 1 << 20))
    except VmdkError:
        pass


def test_writing_outside_the_disk_is_refused(tmp_path: Path) -> None:
    with SparseWriter(tmp_path / "a.vmdk", SIZE, 1) as writer:
        for offset, length in ((SIZE, 512), (512, 100), (100, 512)):
            with pytest.raises(ValueError, match="of a disk of"):
                writer.write(offset, memoryview(bytes(length)))
    write_disk(tmp_path / "a.vmdk", {})
    with Chain(tmp_path / "a.vmdk") as chain, pytest.raises(ValueError, match="of a disk of"):
        chain.read(SIZE - 1, 2)


def test_a_cut_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.vmdk"
    write_disk(path, {0: b"a" * (2 * GRAIN)})
    path.chmod(0o600)
    os.truncate(path, path.stat().st_size - GRAIN)
    with Chain(path) as chain, pytest.raises(VmdkCorrupt, match="is cut"):
        chain.read(GRAIN, 512)

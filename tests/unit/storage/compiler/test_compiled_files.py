"""What `compile_layer` leaves on the host's disk, and what it costs."""

from __future__ import annotations

import errno
import hashlib
import io
import multiprocessing
import os
import pickle
import stat
import tarfile
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from services.storage.compiler import (
    CompilerError,
    DiskCorrupt,
    DiskFull,
    FileSystem,
    LayerInfo,
    LayerInvalid,
    LayerTooLarge,
    Limits,
    compile_layer,
    create_base,
    create_volume,
)
from services.storage.vmdk import Chain
from tests.unit.storage.compiler.disks import directory, file, tar

LAYER = tar(directory("d"), file("d/f", b"x" * 10_000), file("g", b"y"))
SIZE = 64 << 20


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base disk."""
    path = tmp_path / "base.vmdk"
    create_base(path, SIZE, durable=False)
    return path


def compile_(data: bytes, parent: Path, out: Path, chain_id: str = "sha256:1") -> LayerInfo:
    """Compile from memory."""
    return compile_layer(io.BytesIO(data), parent, out, chain_id=chain_id, durable=False)


def test_a_layer_is_sealed_and_alone(base: Path, tmp_path: Path) -> None:
    info = compile_(LAYER, base, tmp_path / "layer.vmdk")
    assert sorted(os.listdir(tmp_path)) == ["base.vmdk", "layer.vmdk"]
    found = (tmp_path / "layer.vmdk").stat()
    assert stat.S_IMODE(found.st_mode) == 0o444
    assert info.bytes_written == found.st_size
    assert info.changed_bytes >= found.st_blocks * 512 - (64 << 10)
    assert (info.size, info.entries, info.bytes_read) == (SIZE, 3, len(LAYER))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (LAYER[:700], LayerInvalid),
        (tar(file("../x", b"")), LayerInvalid),
        (tar(file("f", bytes(65 << 20))), DiskFull),
    ],
)
def test_a_refused_layer_leaves_nothing(
    base: Path, tmp_path: Path, data: bytes, error: type[CompilerError]
) -> None:
    with pytest.raises(error):
        compile_(data, base, tmp_path / "layer.vmdk")
    assert os.listdir(tmp_path) == ["base.vmdk"]


@pytest.mark.parametrize("call", ["pwrite", "pwritev", "fsync", "rename", "ftruncate"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_or_failing_store_leaves_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            compile_layer(io.BytesIO(LAYER), base, tmp_path / "layer.vmdk", chain_id="c")
    assert os.listdir(tmp_path) == ["base.vmdk"]
    compile_(LAYER, base, tmp_path / "layer.vmdk")


def test_short_writes_are_continued(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_(LAYER, base, tmp_path / "layer.vmdk")
    expected = (tmp_path / "layer.vmdk").read_bytes()
    write: Callable[[int, memoryview, int], int] = os.pwrite
    write_parts: Callable[[int, list[memoryview], int], int] = os.pwritev

    def some(fd: int, parts: list[memoryview], at: int) -> int:
        return write_parts(fd, [parts[0][:1000]], at)

    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:1000], at))
    monkeypatch.setattr(os, "pwritev", some)
    compile_(LAYER, base, tmp_path / "layer.vmdk")
    assert (tmp_path / "layer.vmdk").read_bytes() == expected


def test_the_same_layer_is_the_same_file_wherever_it_is_made(tmp_path: Path) -> None:
    digests = set()
    for place in ("here", "there"):
        top = tmp_path / place
        (top / "one").mkdir(parents=True)
        (top / "two").mkdir()
        create_base(top / "one/disk.vmdk", SIZE)
        compile_(LAYER, top / "one/disk.vmdk", top / "two/disk.vmdk")
        digests.add(hashlib.sha256((top / "two/disk.vmdk").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_stream_s_pieces_don_t_matter(base: Path, tmp_path: Path) -> None:
    class Trickle(io.RawIOBase):
        """Gives a few bytes at a time."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.data = io.BytesIO(LAYER)
            self.step = step

        def readable(self) -> bool:
            return True

        def readinto(self, view: bytearray) -> int:  # type: ignore[override]
            return self.data.readinto(memoryview(view)[: self.step])

    class Reader:
        """Can only `read`."""

        def __init__(self, step: int) -> None:
            self.data = io.BytesIO(LAYER)
            self.step = step

        def read(self, size: int, /) -> bytes:
            return self.data.read(min(size, self.step))

    out = tmp_path / "layer.vmdk"
    compile_(LAYER, base, out)
    expected = out.read_bytes()
    for step in (1, 7, 511, 513, 5000):
        for stream in (Trickle(step), Reader(step)):
            compile_layer(stream, base, out, chain_id="sha256:1", durable=False)
            assert out.read_bytes() == expected


def test_the_content_id_comes_from_the_chain_id(base: Path, tmp_path: Path) -> None:
    ids = set()
    for chain_id in ("sha256:1", "sha256:2"):
        compile_(LAYER, base, tmp_path / "layer.vmdk", chain_id)
        with Chain(tmp_path / "layer.vmdk") as chain:
            ids.add(chain.cid)
    assert len(ids) == 2


def test_it_runs_in_a_worker_process(base: Path, tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(LAYER)
    (tmp_path / "bad.tar").write_bytes(LAYER[:700])
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        done = pool.submit(in_worker, tmp_path / "layer.tar", base, tmp_path / "layer.vmdk")
        assert done.result(timeout=60).entries == 3
        failed = pool.submit(in_worker, tmp_path / "bad.tar", base, tmp_path / "bad.vmdk")
        with pytest.raises(LayerInvalid, match="cut short"):
            failed.result(timeout=60)


def in_worker(layer: Path, parent: Path, out: Path) -> LayerInfo:
    """What a worker process is given."""
    with layer.open("rb") as stream:
        return compile_layer(stream, parent, out, chain_id="c", limits=Limits(), durable=False)


@pytest.mark.parametrize("kind", [LayerInvalid, LayerTooLarge, DiskFull, DiskCorrupt])
def test_errors_cross_processes(kind: type[CompilerError]) -> None:
    error = pickle.loads(pickle.dumps(kind("the reason")))
    assert type(error) is kind
    assert error.reason == str(error) == "the reason"


def test_a_missing_or_damaged_parent_is_named(base: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        compile_(LAYER, tmp_path / "none.vmdk", tmp_path / "layer.vmdk")
    (tmp_path / "text.vmdk").write_bytes(b"no disk")
    with pytest.raises(DiskCorrupt, match=r"text\.vmdk"):
        compile_(LAYER, tmp_path / "text.vmdk", tmp_path / "layer.vmdk")
    base.chmod(0o600)
    os.truncate(base, base.stat().st_size - (128 << 10))
    with pytest.raises(DiskCorrupt, match=r"base\.vmdk"), FileSystem.open(base) as files:
        list(files.walk())
    with pytest.raises(DiskCorrupt, match=r"base\.vmdk"):
        compile_(LAYER, base, tmp_path / "layer.vmdk")


def test_memory_doesn_t_grow_with_files(tmp_path: Path) -> None:
    base = tmp_path / "base.vmdk"
    create_base(base, 1 << 30, durable=False)
    chunk = bytes(1 << 20)

    def peak(megabytes: int) -> int:
        info = tarfile.TarInfo("f")
        info.size = megabytes << 20
        pieces = iter([info.tobuf(), *([chunk] * megabytes), bytes(1024)])

        class Pieces:
            """A tar of one file of zeros."""

            def read(self, _size: int, /) -> bytes:
                return next(pieces, b"")

        tracemalloc.start()
        compile_layer(Pieces(), base, tmp_path / "out.vmdk", chain_id="c", durable=False)
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    small = peak(2)
    assert peak(100) < small + (1 << 20)
    assert small < 16 << 20


def test_volumes_are_their_own_and_writable(tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "two"):
        create_volume(tmp_path / name, SIZE, name=name)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        with FileSystem.open(tmp_path / name) as files:
            ids.add(files.uuid)
            assert files.names(b"") == []
    assert len(ids) == 2


@pytest.mark.parametrize("size", [0, 4096, (16 << 20) + 4096, 1 << 50])
def test_impossible_sizes_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(CompilerError):
        create_base(tmp_path / "base.vmdk", size)
    assert os.listdir(tmp_path) == []

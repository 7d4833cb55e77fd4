"""Containers' read-write disks."""

import asyncio
import errno
import threading
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from portlayer.errors import InvalidArgument
from portlayer.web.transport import Transport
from services.storage import disks, files, vmdk
from services.storage.compile_pool import CompilePool
from services.storage.disk_records import DISK
from services.storage.disks import Disk, DiskExists, DiskNotFound
from services.storage.imagec.errors import StoreFull
from services.storage.images import ImageNotFound
from services.storage.vmdk import Chain
from tests.images import Image, Layer, file, make_tar
from tests.unit.storage.conftest import BASE_SIZE, Storage, wire
from tests.unit.storage.fake_registry import FakeRegistry

IMAGE = Image(tuple(Layer(make_tar([file(name, name)])) for name in ("a", "b")))
ID = "ab" * 32


@pytest_asyncio.fixture(loop_scope="session")
async def name(storage: Storage, registry: FakeRegistry) -> str:
    registry.add(IMAGE, "x", "latest")
    await storage.pull(f"{registry.address}/x")
    return f"{registry.address}/x"


async def prepare(
    storage: Storage, image: str, container_id: str = ID, spec: bytes = b"spec"
) -> Disk:
    return await storage.disks.prepare(
        storage.store, storage.images.usable, container_id, image, spec
    )


async def test_a_disk_is_an_empty_child_of_the_images_top_layer(
    storage: Storage, name: str
) -> None:
    disk = await prepare(storage, name)
    assert disk.chain[0] == storage.root / "containers" / ID / "disk.vmdk"
    assert list(disk.chain[1:]) == storage.store.layers.disks(storage.images.find(name).chain_id)
    assert disk.record.size_bytes == BASE_SIZE
    assert disk.specification == b"spec"
    with Chain(disk.chain[0]) as chain:
        assert chain.size == BASE_SIZE
    assert disk.chain[0].stat().st_mode & 0o777 == 0o600
    assert storage.disks.writable_bytes(ID) < 1 << 20


async def test_the_same_request_again_gives_the_same_disk(storage: Storage, name: str) -> None:
    first = await prepare(storage, name)
    assert await prepare(storage, name) == first
    await storage.removal.remove(name, force=True)
    assert await prepare(storage, name) == first


async def test_the_same_request_many_times_at_once_makes_one_disk(
    storage: Storage, name: str
) -> None:
    made = await asyncio.gather(*(prepare(storage, name) for _ in range(8)))
    assert len({disk.chain for disk in made}) == 1
    assert [path.name for path in (storage.root / "containers").iterdir()] == [ID]


async def test_what_is_removed_while_it_is_made_is_gone(
    storage: Storage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    making, go_on = threading.Event(), threading.Event()

    def create_disk(*arguments: Any, **options: Any) -> None:
        making.set()
        assert go_on.wait(60)
        vmdk.create_disk(*arguments, **options)

    monkeypatch.setattr(disks, "create_disk", create_disk)
    made = asyncio.create_task(prepare(storage, name))
    assert await asyncio.to_thread(making.wait, 60)
    made.cancel()
    removed = asyncio.create_task(storage.disks.remove(storage.store, ID))
    # It has its first steps before the disk is there.
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await made
    await removed
    await storage.disks.settle()
    assert list((storage.root / "containers").iterdir()) == []
    with pytest.raises(DiskNotFound):
        await storage.disks.get(ID)


async def test_another_request_of_that_id_is_refused(storage: Storage, name: str) -> None:
    await prepare(storage, name)
    with pytest.raises(DiskExists):
        await prepare(storage, name, spec=b"other")
    with pytest.raises(DiskExists):
        await prepare(storage, IMAGE.id)


@pytest.mark.parametrize("container_id", ["", "../x", ".new-1", "a/b", "x" * 129, "a\0b"])
async def test_an_id_that_could_be_a_path_is_refused(
    storage: Storage, name: str, container_id: str
) -> None:
    with pytest.raises(InvalidArgument):
        await prepare(storage, name, container_id)


async def test_an_unknown_image_is_refused(storage: Storage) -> None:
    with pytest.raises(ImageNotFound, match="No such image: nosuch:latest"):
        await prepare(storage, "nosuch")


async def test_the_specification_can_be_replaced_and_outlives_a_restart(
    storage: Storage, name: str, transport: Transport, pool: CompilePool
) -> None:
    await prepare(storage, name)
    await storage.disks.put_specification(ID, b"newer")
    again = wire(storage.root, transport, pool)
    disk = await again.disks.get(ID)
    assert disk.specification == b"newer"
    assert disk.record == (await storage.disks.get(ID)).record
    # What was asked for at first still counts as the request.
    assert (await prepare(again, name)).specification == b"newer"


async def test_removal_is_idempotent(storage: Storage, name: str) -> None:
    await prepare(storage, name)
    for _ in range(2):
        await storage.disks.remove(storage.store, ID)
    await storage.disks.settle()
    assert list((storage.root / "containers").iterdir()) == []
    with pytest.raises(DiskNotFound):
        await storage.disks.get(ID)
    with pytest.raises(DiskNotFound):
        await storage.disks.put_specification(ID, b"")


async def test_a_removal_whose_caller_goes_in_the_middle_is_done_all_the_same(
    storage: Storage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing, go_on = threading.Event(), threading.Event()

    def sync_directory(path: Path) -> None:
        syncing.set()
        assert go_on.wait(60)
        files.sync_directory(path)

    await prepare(storage, name)
    await storage.removal.remove(name, force=True)
    monkeypatch.setattr(disks, "sync_directory", sync_directory)
    removed = asyncio.create_task(storage.disks.remove(storage.store, ID))
    assert await asyncio.to_thread(syncing.wait, 60)
    removed.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await removed
    await storage.disks.settle()
    assert list((storage.root / "containers").iterdir()) == []
    assert storage.store.layers.all() == []


async def test_a_removal_that_failed_can_be_repeated(
    storage: Storage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(storage, name)

    def fail(*_args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(disks, "move_aside", fail)
        with pytest.raises(OSError, match="Input/output error"):
            await storage.disks.remove(storage.store, ID)
    await storage.disks.remove(storage.store, ID)
    await storage.disks.settle()
    assert list((storage.root / "containers").iterdir()) == []


async def test_nobody_waits_until_a_small_disk_is_deleted(
    storage: Storage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def delete(path: Path) -> None:
        begun.release()
        assert go_on.wait(60)
        files.delete(path)

    monkeypatch.setattr(disks, "delete", delete)
    await prepare(storage, name)
    await storage.disks.remove(storage.store, ID)
    with pytest.raises(DiskNotFound):
        await storage.disks.get(ID)
    # Its ID is free, though its files are there still, out of sight.
    await prepare(storage, name)
    there = {path.name for path in (storage.root / "containers").iterdir()}
    assert len(there) == 2
    assert ID in there
    monkeypatch.setattr(disks, "WAITED_FOR_BYTES", 0)
    removed = asyncio.create_task(storage.disks.remove(storage.store, ID))
    for _ in range(2):
        assert await asyncio.to_thread(begun.acquire, timeout=60)
    assert not removed.done()
    go_on.set()
    await removed
    await storage.disks.settle()
    assert list((storage.root / "containers").iterdir()) == []


async def test_where_there_is_no_room_what_was_removed_is_waited_for(
    storage: Storage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted, go_on = [], threading.Event()

    def delete(path: Path) -> None:
        assert go_on.wait(60)
        files.delete(path)
        deleted.append(path)

    def create_disk(*arguments: Any, **options: Any) -> None:
        go_on.set()
        if not deleted:
            raise OSError(errno.ENOSPC, "No space left on device")
        vmdk.create_disk(*arguments, **options)

    await prepare(storage, name)
    monkeypatch.setattr(disks, "delete", delete)
    monkeypatch.setattr(disks, "create_disk", create_disk)
    await storage.disks.remove(storage.store, ID)
    await prepare(storage, name)
    assert len(deleted) == 1


async def test_a_full_disk_says_so_and_leaves_nothing(
    storage: Storage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disks, "create_disk", full)
    with pytest.raises(StoreFull, match="no space left on device"):
        await prepare(storage, name)
    assert list((storage.root / "containers").iterdir()) == []


async def test_a_disk_without_a_record_is_kept_and_not_shown(
    storage: Storage, name: str, transport: Transport, pool: CompilePool
) -> None:
    await prepare(storage, name)
    (storage.root / "containers" / ID / "meta.json").write_text("{")
    again = wire(storage.root, transport, pool)
    assert await again.disks.page("") == ([], "")
    assert (storage.root / "containers" / ID / "disk.vmdk").exists()


async def test_disks_are_listed_a_page_at_a_time_without_opening_their_chains(
    storage: Storage, name: str, transport: Transport, pool: CompilePool
) -> None:
    ids = [f"{number:064x}" for number in range(5)]
    for container_id in reversed(ids):
        await prepare(storage, name, container_id, b"x" * 2000)
    again = wire(storage.root, transport, pool).disks
    for record in again.records():
        (again.directory / record.container_id / DISK).unlink()
    found: list[str] = []
    pages, after = 0, ""
    while pages == 0 or after:
        page, after = await again.page(after, limit=3000)
        assert all(disk.specification == b"x" * 2000 for disk in page)
        found += [disk.record.container_id for disk in page]
        pages += 1
    assert (found, pages) == (ids, 3)

"""One image store of several owners and processes: nobody takes away what another needs.

Each `ImageStore` has locks, leases and an index of its own, as in a process of its own.
"""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path

import pytest

from portlayer.web.transport import Transport
from services.storage.commons import Commons
from services.storage.compile_pool import CompilePool
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import StoreFull
from services.storage.images import ImageNotFound
from services.storage.leases import Leases
from services.storage.leaving import leave
from services.storage.locks import FileLock, Presence, is_held, turn
from tests.images import Image, Layer, file, make_tar
from tests.unit.storage.conftest import BASE_SIZE, Storage, wire
from tests.unit.storage.fake_registry import FakeRegistry

IMAGE = Image(tuple(Layer(make_tar([file(name, name)])) for name in ("below", "above")))
CONTAINER = "cd" * 32


class Hosts:
    """Two virtual container hosts on one store, and a replica of the first."""

    def __init__(self, root: Path, transport: Transport, pool: CompilePool) -> None:
        self.images = root / "shared"
        self.one = wire(root / "one", transport, pool, owner="11111111", images=self.images)
        self.other = wire(root / "other", transport, pool, owner="22222222", images=self.images)
        self.replica = wire(root / "one", transport, pool, owner="11111111", images=self.images)
        self.all = (self.one, self.other, self.replica)

    def files(self) -> list[str]:
        """Files of images, layers, blobs and what keeps them."""
        kinds = ("layers", "blobs", "images", "references", "pins", "leases")
        return sorted(
            str(path.relative_to(self.images))
            for kind in kinds
            for path in (self.images / kind).rglob("*")
            if path.is_file() and path.name != "base.vmdk"
        )


@pytest.fixture
def hosts(tmp_path: Path, transport: Transport, pool: CompilePool) -> Hosts:
    return Hosts(tmp_path, transport, pool)


@pytest.fixture
def name(registry: FakeRegistry) -> str:
    registry.add(IMAGE, "x", "latest")
    return f"{registry.address}/x"


async def container(storage: Storage, image: str) -> None:
    await storage.disks.prepare(
        storage.store, storage.images.usable, CONTAINER, image, b"specification"
    )


async def test_pulls_of_all_at_once_fetch_each_blob_once(
    hosts: Hosts, name: str, registry: FakeRegistry
) -> None:
    await asyncio.gather(*(storage.pull(name) for storage in hosts.all))
    for layer in IMAGE.layers:
        assert len(registry.fetched(layer.digest)) == 1
    for storage in hosts.all:
        await storage.store.refresh()
        assert storage.images.usable(name).id == IMAGE.id


async def test_an_image_goes_with_its_last_owner(hosts: Hosts, name: str) -> None:
    for storage in (hosts.one, hosts.other):
        await storage.pull(name)
    await hosts.one.removal.remove(name, force=False)
    await hosts.other.store.refresh()
    assert hosts.other.images.usable(name).id == IMAGE.id
    with pytest.raises(ImageNotFound):
        hosts.one.images.find(name)
    await hosts.other.removal.remove(name, force=False)
    assert hosts.files() == []


async def test_layers_below_anybodys_container_stay(hosts: Hosts, name: str) -> None:
    for storage in (hosts.one, hosts.other):
        await storage.pull(name)
    await container(hosts.other, name)
    await hosts.other.removal.remove(name, force=True)
    await hosts.one.removal.remove(name, force=True)
    await hosts.one.store.sweep()
    disk = await hosts.other.disks.get(CONTAINER)
    assert all(path.exists() for path in disk.chain)
    await hosts.other.disks.remove(hosts.other.store, CONTAINER)
    assert hosts.files() == []


async def test_replicas_see_one_another(hosts: Hosts, name: str) -> None:
    await hosts.one.pull(name)
    await hosts.replica.store.refresh()
    await hosts.replica.images.tag(name, "again")
    await hosts.one.store.refresh()
    assert hosts.one.images.find("again").id == IMAGE.id
    await container(hosts.one, "again")
    assert (await hosts.replica.disks.get(CONTAINER)).specification == b"specification"
    await hosts.replica.disks.remove(hosts.replica.store, CONTAINER)
    assert list(hosts.one.disks.chains_in_use()) == []
    assert (await hosts.one.disks.page(""))[0] == []


async def test_a_lease_of_one_keeps_what_the_other_removes(hosts: Hosts, name: str) -> None:
    await hosts.one.pull(name)
    image = hosts.one.images.find(name)
    async with hosts.other.store.lease() as lease:
        await lease.hold(
            blobs=[layer.blob for layer in image.layers],
            layers=[layer.chain_id for layer in image.layers],
        )
        assert hosts.other.store.whole(image)
        await hosts.one.removal.remove(name, force=False)
        assert hosts.other.store.whole(image)
        await hosts.one.store.sweep()
        assert hosts.other.store.whole(image)
    assert hosts.files() == []


async def test_the_lease_of_a_process_that_ended_keeps_nothing(hosts: Hosts, name: str) -> None:
    await hosts.one.pull(name)
    image = hosts.one.images.find(name)
    lease = hosts.images / "leases" / "deadbeef-0.json"
    lease.write_text(json.dumps({"blobs": [image.layers[0].blob], "layers": []}))
    await hosts.one.removal.remove(name, force=False)
    assert hosts.files() == []


async def test_a_sweep_leaves_what_another_process_has_in_hand(hosts: Hosts) -> None:
    store = hosts.one.store
    presence = Presence(hosts.images / "processes", "0badf00d")
    hex_digits = "ab" * 32
    held = FileLock.take(hosts.images / "turns" / store.layers.turn(Digest(f"sha256:{hex_digits}")))
    making = [
        store.blobs.directory / ".new-0badf00d-1234",
        store.layers.directory / ".new-0badf00d-5678",
        store.layers.directory / f"{hex_digits}.vmdk",
        store.layers.directory / f".{hex_digits}.vmdk.0123.partial",
    ]
    for path in making:
        path.write_bytes(b"half")
    await store.sweep()
    assert all(path.exists() for path in making)
    held.release()
    presence.close()
    await store.sweep()
    assert not any(path.exists() for path in making)


async def test_who_leaves_takes_what_is_needed_by_nobody_else(hosts: Hosts, name: str) -> None:
    await hosts.one.pull(name)
    await hosts.other.pull(name)
    await container(hosts.other, name)
    leave(hosts.images, owner="22222222", base_size=BASE_SIZE)
    await hosts.one.store.refresh()
    assert hosts.one.images.usable(name).id == IMAGE.id
    assert not (hosts.images / "pins" / "22222222").exists()
    leave(hosts.images, owner="11111111", base_size=BASE_SIZE)
    assert hosts.files() == []


async def test_a_full_quota_is_refused_with_its_figures(
    tmp_path: Path, transport: Transport, pool: CompilePool, name: str
) -> None:
    small = wire(tmp_path, transport, pool, quota=100)
    size = sum(len(layer.blob) for layer in IMAGE.layers)
    with pytest.raises(StoreFull) as refused:
        await small.pull(name)
    assert refused.value.message == (
        "the image store's quota of 100 bytes would be exceeded: "
        f"0 bytes are in use and {size} bytes more are needed"
    )
    assert small.files() == []
    # Enough for what is sent, and not for the disks that are made of it.
    scant = wire(tmp_path, transport, pool, quota=size + 70_000)
    with pytest.raises(StoreFull, match=r"quota of .* would be exceeded: .* more are needed"):
        await scant.pull(name)
    assert scant.files() == []
    enough = wire(tmp_path, transport, pool, quota=1 << 20)
    await enough.pull(name)


def test_turns_of_who_was_killed_are_forgotten_and_others_are_not(tmp_path: Path) -> None:
    commons = Commons(tmp_path, lambda: None)
    held, killed = (FileLock.take(commons.turns / name) for name in ("held", "killed"))
    # As the kernel does when a process ends: the lock is gone, its file is not.
    killed.release()
    commons.forget_turns()
    assert [path.name for path in commons.turns.iterdir()] == ["held"]
    held.release(remove=True)
    commons.close()


async def test_a_turn_is_waited_for_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    held = FileLock.take(path)
    assert is_held(path)
    order: list[str] = []

    async def second() -> None:
        async with turn(path):
            order.append("second")

    waiting = asyncio.create_task(second())
    given_up = asyncio.create_task(second())
    await asyncio.sleep(0)  # both have begun to wait
    given_up.cancel()
    await asyncio.wait([given_up])
    order.append("first")
    held.release(remove=True)
    async with asyncio.timeout(60):
        await waiting
    async with turn(path):
        pass
    assert order == ["first", "second"]
    # Who gave up gets the lock once more, in its thread, and lets go of it.
    async with asyncio.timeout(60):
        while path.exists():  # noqa: ASYNC110 — a turn of the loop is the event
            await asyncio.sleep(0)


async def test_a_turn_ends_also_where_its_file_can_not_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "turn"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", broken)
        async with turn(path):
            pass
    assert path.exists()
    assert not is_held(path)


def test_a_lease_that_ends_while_all_are_looked_at_holds_nothing(tmp_path: Path) -> None:
    presence = Presence(tmp_path / "processes", "0badf00d")
    leases = Leases(tmp_path / "leases", presence)
    digest = f"sha256:{'ab' * 32}"
    held = {"blobs": [digest], "layers": []}
    (leases.directory / "0badf00d-1.json").write_text(json.dumps(held))
    # Listed, and not there when it is read.
    (leases.directory / "0badf00d-2.json").symlink_to(tmp_path / "gone")
    assert leases.held() == ({Digest(digest)}, set())
    presence.close()

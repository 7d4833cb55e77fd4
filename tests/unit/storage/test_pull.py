"""Whole pulls: from a registry that may misbehave into chains of disks."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portlayer.web.transport import Transport
from services.storage import compile_pool
from services.storage.compile_pool import CompilePool, LayerLimits
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.progress import Status
from services.storage.vmdk import Chain
from services.storage.worker_process import WorkerProcess
from tests.images import (
    Image,
    Layer,
    busybox_image,
    directory,
    file,
    make_tar,
    multi_layer_image,
    whiteout_image,
)
from tests.unit.storage.conftest import Storage, wire
from tests.unit.storage.fake_registry import (
    FakeRegistry,
    problem,
    serving,
)

SMALL = replace(multi_layer_image(3), layers=multi_layer_image(3).layers[1:])


def name(registry: FakeRegistry, path: str = "x:latest") -> str:
    return f"{registry.address}/{path}"


def only(*entries: str) -> Image:
    return Image(tuple(Layer(make_tar([file(entry, entry)])) for entry in entries))


async def test_a_pull_makes_a_disk_a_layer(storage: Storage, registry: FakeRegistry) -> None:
    image = whiteout_image()
    registry.add(image, "x", "latest")
    pulled = await storage.pull(name(registry))
    assert (pulled.image_id, pulled.digest, pulled.downloaded) == (image.id, image.digest, True)
    stored = storage.images.find(name(registry))
    assert [layer.chain_id for layer in stored.layers] == list(image.chain_ids)
    disks = storage.store.layers.disks(stored.chain_id)
    assert len(disks) == len(image.layers) + 1
    with Chain(disks[0]) as chain:
        assert [path.resolve() for path in chain.paths] == disks
    assert all(disk.stat().st_mode & 0o777 == 0o444 for disk in disks)


async def test_progress_is_told_in_dockers_words(storage: Storage, registry: FakeRegistry) -> None:
    registry.add(SMALL, "lib/x", "v1")
    await storage.pull(name(registry, "lib/x:v1"))
    first = storage.lines[0]
    assert (first.id, first.status, first.text) == ("v1", Status.PULLING_FROM, "lib/x")
    short = SMALL.layers[0].digest[7:19]
    assert [line.status for line in storage.lines if line.id == short] == [
        Status.PULLING_LAYER,
        Status.DOWNLOADING,
        Status.VERIFYING_CHECKSUM,
        Status.DOWNLOAD_COMPLETE,
        Status.EXTRACTING,
        Status.PULL_COMPLETE,
    ]


async def test_an_image_that_is_there_costs_one_manifest(
    storage: Storage, registry: FakeRegistry
) -> None:
    registry.add(SMALL, "x", "latest")
    await storage.pull(name(registry))
    registry.requests.clear()
    storage.lines.clear()
    pulled = await storage.pull(name(registry))
    assert not pulled.downloaded
    assert [request.path for request in registry.requests] == ["/v2/x/manifests/latest"]
    assert [line.status for line in storage.lines] == [Status.PULLING_FROM]


async def test_an_index_that_is_there_costs_one_manifest_too(
    storage: Storage, registry: FakeRegistry
) -> None:
    digest = registry.add_index([replace(SMALL, architecture="arm64"), SMALL], "x", "latest")
    pulled = await storage.pull(name(registry))
    assert (pulled.digest, pulled.image_id) == (digest, SMALL.id)
    registry.requests.clear()
    assert not (await storage.pull(name(registry))).downloaded
    assert len(registry.requests) == 1
    use = storage.images.use(storage.images.find(name(registry)))
    assert use.digests == (f"{registry.address}/x@{digest}",)


async def test_a_pull_by_digest_gives_no_tag(storage: Storage, registry: FakeRegistry) -> None:
    registry.add(SMALL, "x")
    reference = name(registry, f"x@{SMALL.digest}")
    await storage.pull(reference)
    assert storage.lines[0].id == reference
    image = storage.images.find(reference)
    assert storage.images.use(image).tags == {}
    assert storage.images.use(image).digests == (reference,)


async def test_layers_that_another_image_brought_are_not_fetched_again(
    storage: Storage, registry: FakeRegistry
) -> None:
    registry.add(only("a", "b"), "x", "latest")
    registry.add(only("a", "c"), "y", "latest")
    await storage.pull(name(registry))
    registry.requests.clear()
    storage.lines.clear()
    await storage.pull(name(registry, "y:latest"))
    assert storage.lines[1].status is Status.ALREADY_EXISTS
    assert len(registry.fetched("/blobs/")) == 2  # the configuration and one layer


async def test_layers_that_change_nothing_have_no_disk(
    storage: Storage, registry: FakeRegistry
) -> None:
    empty = Layer(make_tar([]))
    image = Image((empty, Layer(make_tar([file("a")])), empty, empty))
    registry.add(image, "x", "latest")
    await storage.pull(name(registry))
    stored = storage.images.find(name(registry))
    assert len(storage.store.layers.all()) == 4
    assert len(storage.store.layers.disks(stored.chain_id)) == 2


async def test_an_image_without_layers(storage: Storage, registry: FakeRegistry) -> None:
    registry.add(Image(()), "x", "latest")
    await storage.pull(name(registry))
    stored = storage.images.find(name(registry))
    assert storage.store.layers.disks(stored.chain_id) == [storage.store.layers.base_disk]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
async def test_every_compression_gives_the_same_disk(
    storage: Storage, registry: FakeRegistry, compression: str
) -> None:
    tar = make_tar([directory("d"), file("d/f", b"content" * 1000)])
    image = Image((Layer(tar, compression),))  # type: ignore[arg-type]
    registry.add(image, "x", "latest")
    await storage.pull(name(registry))
    with Chain(storage.store.layers.disk(storage.images.find(name(registry)).chain_id)) as chain:
        assert chain.cid


async def test_a_mirror_is_asked_before_docker_hub_without_credentials(
    tmp_path: Path, transport: Transport, pool: CompilePool, registry: FakeRegistry
) -> None:
    async with serving() as broken:
        broken.always["/v2/library/x/manifests/latest"] = lambda _request: problem(
            404, "MANIFEST_UNKNOWN", "manifest unknown"
        )
        mirrors = (f"http://{broken.address}", f"http://{registry.address}")
        storage = wire(tmp_path, transport, pool, mirrors)
        registry.add(SMALL, "library/x", "latest")
        pulled = await storage.pull("x", Credentials("hub-user", "hub-secret"))
        assert pulled.reference.familiar == "x:latest"
        assert broken.fetched("manifests")
        requests = [*broken.requests, *registry.requests]
        assert all("authorization" not in request.headers for request in requests)
    assert storage.images.find("docker.io/library/x").id == SMALL.id


async def test_a_worker_that_dies_fails_its_pull_alone(
    storage: Storage, registry: FakeRegistry, pool: CompilePool
) -> None:
    registry.add(busybox_image(), "x", "latest")
    await storage.pull(name(registry))
    for worker in pool._idle:
        os.kill(worker.pid, signal.SIGKILL)
        await worker._process.wait()
    registry.add(only("z"), "y", "latest")
    await storage.pull(name(registry, "y:latest"))


async def test_an_image_removed_while_it_is_pulled_again_is_whole(
    storage: Storage, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(SMALL, "x", "latest")
    await storage.pull(name(registry))
    commit = storage.store.commit

    async def removed_just_before(*args: Any) -> bool:
        await storage.removal.remove(SMALL.id, force=False)
        return await commit(*args)

    monkeypatch.setattr(storage.store, "commit", removed_just_before)
    assert (await storage.pull(name(registry))).downloaded
    image = storage.images.usable(name(registry))
    assert storage.store.catalogue.config(image.id) == SMALL.config_bytes


async def test_idle_workers_go_after_a_while(
    tmp_path: Path,
    transport: Transport,
    registry: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compile_pool, "IDLE_SECONDS", 0.0)
    registry.add(SMALL, "x", "latest")
    started: list[int] = []
    start = WorkerProcess.start

    async def remembered() -> WorkerProcess:
        worker = await start()
        started.append(worker.pid)
        return worker

    monkeypatch.setattr(WorkerProcess, "start", remembered)
    pool = CompilePool(2, LayerLimits())
    await wire(tmp_path, transport, pool).pull(name(registry))
    assert started
    await pool.close()  # waits for those that are on their way out
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


async def test_a_moved_tag_leaves_the_old_image_without_it(
    storage: Storage, registry: FakeRegistry
) -> None:
    old, new = only("a"), only("b")
    registry.add(old, "x", "latest")
    await storage.pull(name(registry))
    registry.add(new, "x", "latest")
    assert (await storage.pull(name(registry))).downloaded
    assert storage.images.find(name(registry)).id == new.id
    assert storage.images.use(storage.images.find(old.id)).tags == {}


async def test_the_store_knows_its_images_again_after_a_restart(
    storage: Storage, registry: FakeRegistry, transport: Transport, pool: CompilePool
) -> None:
    registry.add(SMALL, "x", "latest")
    await storage.pull(name(registry))
    before = storage.files()
    again = wire(storage.root, transport, pool)
    assert again.files() == before
    assert again.images.find(name(registry)) == storage.images.find(name(registry))
    assert again.images.use(again.images.find(SMALL.id)) == storage.images.use(
        storage.images.find(SMALL.id)
    )
    registry.requests.clear()
    assert not (await again.pull(name(registry))).downloaded

"""Whole pulls: from a registry that may misbehave into chains of disks."""

import asyncio
import errno
import gzip
import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portlayer.errors import VicError
from services.storage import compile_pool
from services.storage.blobs import BlobStore
from services.storage.compile_pool import CompiledLayer, CompilePool, LayerLimits
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.blob_feed import BlobFeed
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import (
    DigestMismatch,
    InvalidLayer,
    InvalidManifest,
    ManifestNotFound,
    RegistryUnauthorized,
    StoreFull,
)
from services.storage.imagec.manifest import Platform
from services.storage.imagec.progress import Progress, Status
from services.storage.imagec.pull import Pulled
from services.storage.imagec.reference import parse_reference
from services.storage.imagec.transport import Transport
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
    Answer,
    FakeRegistry,
    Request,
    asks_basic,
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


async def test_five_pulls_at_once_fetch_everything_once(
    storage: Storage, registry: FakeRegistry
) -> None:
    image = only("a", "b", "c", "d")
    registry.add(image, "x", "latest")
    pulled = await asyncio.gather(*(storage.pull(name(registry)) for _ in range(5)))
    assert {result.image_id for result in pulled} == {image.id}
    for layer in image.layers:
        assert len(registry.fetched(layer.digest)) == 1
    assert len(storage.store.layers.all()) == 4


async def test_one_that_leaves_does_not_stop_the_others(
    storage: Storage, registry: FakeRegistry
) -> None:
    image = only("a")
    registry.add(image, "x", "latest")
    hold, reached = asyncio.Event(), asyncio.Event()
    blob = image.layers[0]

    def slow(_request: Request) -> Answer:
        reached.set()
        return Answer(body=blob.blob, hold=hold)

    registry.faults[f"/v2/x/blobs/{blob.digest}"] = [slow]
    first, second = (asyncio.create_task(storage.pull(name(registry))) for _ in range(2))
    await reached.wait()
    first.cancel()
    await asyncio.wait([first])
    hold.set()
    assert (await second).image_id == image.id
    assert len(registry.fetched(blob.digest)) == 1


async def test_the_last_one_that_leaves_stops_it_and_leaves_nothing(
    storage: Storage, registry: FakeRegistry
) -> None:
    image = only("a", "b")
    registry.add(image, "x", "latest")
    hold, reached = asyncio.Event(), asyncio.Event()

    def stall(_request: Request) -> Answer:
        reached.set()
        return Answer(body=image.layers[1].blob, hold=hold)

    registry.faults[f"/v2/x/blobs/{image.layers[1].digest}"] = [stall]
    tasks = [asyncio.create_task(storage.pull(name(registry))) for _ in range(2)]
    await reached.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert storage.files() == []


class Watched:
    """Tells when a pull has come to its layers."""

    def __init__(self) -> None:
        self.planned = asyncio.Event()

    def __call__(self, line: Progress) -> None:
        if line.status is Status.PULLING_LAYER:
            self.planned.set()


async def pull_once_planned(storage: Storage, reference: str) -> asyncio.Task[Pulled]:
    """Begin a pull and let it come to what the others are doing."""
    watched = Watched()
    parsed = parse_reference(reference)
    task = asyncio.create_task(storage.puller.pull(parsed, Credentials(), None, watched))
    await asyncio.wait_for(watched.planned.wait(), 60)
    for _ in range(20):
        await asyncio.sleep(0)
    return task


async def test_a_blob_published_as_its_pull_is_cancelled_serves_the_next_pull(
    storage: Storage, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = only("a")
    registry.add(image, "x", "latest")
    loop = asyncio.get_running_loop()
    published, go_on = asyncio.Event(), threading.Event()
    publish = BlobStore.publish

    def slowly(store: BlobStore, feed: BlobFeed) -> None:
        publish(store, feed)
        loop.call_soon_threadsafe(published.set)
        assert go_on.wait(60)

    monkeypatch.setattr(BlobStore, "publish", slowly)
    first = asyncio.create_task(storage.pull(name(registry)))
    await asyncio.wait_for(published.wait(), 60)
    first.cancel()
    second = await pull_once_planned(storage, name(registry))
    go_on.set()
    await asyncio.wait([first])
    assert first.cancelled()
    assert (await second).image_id == image.id
    assert storage.store.blobs.path(Digest(image.layers[0].digest)).exists()
    assert len(registry.fetched(image.layers[0].digest)) == 1


async def test_a_layer_is_not_begun_again_before_its_cancelled_compilation_has_ended(
    storage: Storage, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = only("a")
    registry.add(image, "x", "latest")
    compile_layer = CompilePool.compile
    compiling: list[Path] = []
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def observed(pool: CompilePool, *args: Any, **kwargs: Any) -> CompiledLayer:
        assert compiling == []
        compiling.append(kwargs["out"])
        try:
            if not reached.is_set():
                reached.set()
                await asyncio.Event().wait()
            return await compile_layer(pool, *args, **kwargs)
        finally:
            await go_on.wait()  # as a worker takes its time to die
            compiling.clear()

    monkeypatch.setattr(CompilePool, "compile", observed)
    first = asyncio.create_task(storage.pull(name(registry)))
    await asyncio.wait_for(reached.wait(), 60)
    first.cancel()
    second = await pull_once_planned(storage, name(registry))
    go_on.set()
    assert (await second).image_id == image.id
    assert first.cancelled()


async def failing(storage: Storage, reference: str, kind: type[VicError], words: str) -> None:
    with pytest.raises(kind, match=words):
        await storage.pull(reference)
    assert storage.files() == []


async def test_a_corrupt_layer_leaves_nothing_behind(
    storage: Storage, registry: FakeRegistry
) -> None:
    image = only("a", "b", "c")
    registry.add(image, "x", "latest")
    blob = image.layers[2]
    registry.blobs[blob.digest] = blob.blob[:-1] + b"\xff"
    await failing(storage, name(registry), DigestMismatch, "layer verification failed")


async def test_a_layer_with_another_diff_id_leaves_nothing_behind(
    storage: Storage, registry: FakeRegistry
) -> None:
    image, other = only("a", "b"), only("a", "c")
    config = image.config_bytes
    manifest = json.loads(image.manifest_bytes)
    manifest["layers"] = json.loads(other.manifest_bytes)["layers"]
    registry.add(image, "x")
    registry.add(other, "x")
    registry.manifests["x/latest"] = (image.media_type, json.dumps(manifest).encode())
    assert config in registry.blobs.values()
    await failing(storage, name(registry), DigestMismatch, "diff ID")


@pytest.mark.parametrize(
    ("tar", "words"),
    [
        (make_tar([file("a", b"x" * 5000)])[:2000], "cut|end|truncat|missing|short"),
        (b"this is no tar at all" * 100, "tar|header|checksum"),
        (make_tar([file("big", bytes(70 << 20))]), "more than 67108864 bytes"),
    ],
    ids=["cut", "garbage", "too large"],
)
async def test_a_layer_that_is_no_sound_tar_leaves_nothing_behind(
    storage: Storage, registry: FakeRegistry, tar: bytes, words: str
) -> None:
    registry.add(Image((Layer(tar),)), "x", "latest")
    await failing(storage, name(registry), InvalidLayer, words)


async def test_trailing_bytes_behind_the_gzip_stream_are_refused(
    storage: Storage, registry: FakeRegistry
) -> None:
    tar = make_tar([file("a")])
    layer = Layer(tar)
    layer.__dict__["blob"] = gzip.compress(tar, mtime=0) + b"trailing garbage"
    registry.add(Image((layer,)), "x", "latest")
    await failing(storage, name(registry), InvalidLayer, "stream")


async def test_unknown_tags_and_wrong_passwords(storage: Storage, registry: FakeRegistry) -> None:
    await failing(
        storage, name(registry), ManifestNotFound, "not found: manifest unknown: manifest unknown"
    )
    registry.add(SMALL, "x", "latest")
    registry.authenticate = asks_basic("me", "secret")
    with pytest.raises(RegistryUnauthorized):
        await storage.pull(name(registry), Credentials("me", "wrong"))
    assert storage.files() == []
    assert (await storage.pull(name(registry), Credentials("me", "secret"))).image_id == SMALL.id


async def test_a_full_disk_says_so_and_leaves_nothing(
    storage: Storage, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(SMALL, "x", "latest")

    def full(_feed: BlobFeed, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BlobFeed, "write", full)
    await failing(storage, name(registry), StoreFull, "no space left on device")


async def test_an_image_for_another_system_is_refused(
    storage: Storage, registry: FakeRegistry
) -> None:
    registry.add(replace(SMALL, os="windows"), "x", "latest")
    await failing(storage, name(registry), InvalidManifest, "cannot be used on this platform")
    registry.add_index([replace(SMALL, architecture="s390x")], "x", "latest")
    await failing(storage, name(registry), InvalidManifest, "no matching manifest for linux/amd64")


async def test_a_platform_that_was_asked_for_must_be_the_images(
    storage: Storage, registry: FakeRegistry
) -> None:
    registry.add(SMALL, "x", "latest")
    reference = parse_reference(name(registry))
    wanted = Platform("linux", "arm64")
    with pytest.raises(ManifestNotFound, match="does not match the specified platform"):
        await storage.puller.pull(reference, Credentials(), wanted, storage.lines.append)
    registry.add_index([SMALL, replace(SMALL, architecture="arm64")], "x", "latest")
    pulled = await storage.puller.pull(reference, Credentials(), wanted, storage.lines.append)
    assert storage.images.find(pulled.image_id).config.platform == wanted


async def test_layers_and_diff_ids_must_be_as_many(
    storage: Storage, registry: FakeRegistry
) -> None:
    image = only("a", "b")
    registry.add(image, "x")
    manifest = json.loads(image.manifest_bytes)
    manifest["layers"].pop()
    registry.manifests["x/latest"] = (image.media_type, json.dumps(manifest).encode())
    await failing(storage, name(registry), InvalidManifest, "1 layers.* 2 diff IDs")


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

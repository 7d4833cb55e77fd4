"""Pulls of the same at once: one download, one compilation, and who may leave."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from services.storage.blobs import BlobStore
from services.storage.compile_pool import CompiledLayer, CompilePool
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.blob_feed import BlobFeed
from services.storage.imagec.digest import Digest
from services.storage.imagec.progress import Progress, Status
from services.storage.imagec.pull import Pulled
from services.storage.imagec.reference import parse_reference
from tests.unit.storage.conftest import Storage
from tests.unit.storage.fake_registry import (
    Answer,
    FakeRegistry,
    Request,
)
from tests.unit.storage.test_pull import name, only


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
    first, second = [await pull_once_planned(storage, name(registry)) for _ in range(2)]
    await asyncio.wait_for(reached.wait(), 60)
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
    tasks = [await pull_once_planned(storage, name(registry)) for _ in range(2)]
    await asyncio.wait_for(reached.wait(), 60)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert storage.files() == []


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

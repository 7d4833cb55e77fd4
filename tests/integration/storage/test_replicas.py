"""Two storage processes of one instance on one state directory, PostgreSQL named as its database.

Storage keeps nothing in a database: the store's files and locks are what its replicas share. That
a database is named, as an instance with replicas of other facets does, must change nothing.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any, Self

import grpc
import pytest
from vic.storage.v1 import disk_pb2, image_pb2, volume_pb2

from portlayer.errors import FailedPrecondition, domain_errors
from tests.databases import postgresql
from tests.images import Image, Layer, Registry, file, make_tar
from tests.integration.storage.service import Service, storage_service

IMAGE = Image(tuple(Layer(make_tar([file(f"noise-{n}", os.urandom(6 << 20))])) for n in range(3)))
CONTAINER = "ab" * 32


@pytest.fixture
async def replicas() -> AsyncIterator[tuple[Service, Service]]:
    """Both run; one of them has laid out the directory."""
    with postgresql() as url:
        async with storage_service(database_url=url) as one:
            other = Service(one.data, "storage-2")
            try:
                await other.start()
                yield one, other
            finally:
                await other.stop(9)


async def test_two_replicas_that_pull_one_image_download_it_once_and_a_volume_has_one_writer(
    replicas: tuple[Service, Service], registry: Registry
) -> None:
    one, other = replicas
    watches = [await Watch.begin(replica) for replica in replicas]
    reference = registry.push(IMAGE, "once")
    pulls = await asyncio.gather(*(replica.pull(reference) for replica in replicas * 2))
    assert {pull.result.image_id for pull in pulls} == {IMAGE.id}
    # Who downloads tells how far it is; who only waits has nothing to tell.
    arrived = [
        {
            line.id
            for pull in pulls[side::2]
            for line in pull.lines
            if line.status == image_pb2.PROGRESS_STATUS_DOWNLOADING
        }
        for side in (0, 1)
    ]
    assert arrived[0].isdisjoint(arrived[1])
    assert arrived[0] | arrived[1] == {layer.digest[7:19] for layer in IMAGE.layers}
    kept = [path for path in one.files() if "/blobs/" in path]
    assert len(kept) == len(IMAGE.layers)
    assert (await other.image(reference)).id == (await one.image(reference)).id
    await check_one_writer(one, other)
    for watch in watches:
        await watch.check(pulls=4)


class Watch:
    """What a client of one replica hears of images and of volumes."""

    def __init__(self, images: AsyncIterator[Any], volumes: AsyncIterator[Any]) -> None:
        self._images = images
        self._volumes = volumes

    @classmethod
    async def begin(cls, replica: Service) -> Self:
        """Watch from now on."""
        images = replica.images.WatchEvents(image_pb2.ImageServiceWatchEventsRequest())
        volumes = replica.volumes.WatchEvents(volume_pb2.VolumeServiceWatchEventsRequest())
        streams = aiter(images), aiter(volumes)
        for stream in streams:
            assert (await anext(stream)).HasField("started")
        return cls(*streams)

    async def check(self, pulls: int) -> None:
        """See that each was told once, whichever replica did it."""
        async with asyncio.timeout(60):
            told = [(await anext(self._images)).event for _ in range(pulls)]
            kinds = [(await anext(self._volumes)).event.kind for _ in range(4)]
        assert {event.kind for event in told} == {image_pb2.IMAGE_EVENT_KIND_PULL}
        assert len({event.sequence for event in told}) == pulls
        # Only one of the containers that wanted it had it.
        assert kinds == [
            volume_pb2.VOLUME_EVENT_KIND_CREATE,
            volume_pb2.VOLUME_EVENT_KIND_MOUNT,
            volume_pb2.VOLUME_EVENT_KIND_UNMOUNT,
            volume_pb2.VOLUME_EVENT_KIND_DESTROY,
        ]


async def check_one_writer(one: Service, other: Service) -> None:
    """Have containers want one volume at once, half of them of each replica."""
    containers = [f"{number:064x}" for number in range(10)]
    use = volume_pb2.VolumeUse(name="data", target="/data")

    async def attach(number: int) -> None:
        volumes = (one, other)[number % 2].volumes
        name = containers[number]
        await volumes.Reserve(volume_pb2.ReserveRequest(container_id=name, volumes=[use]))
        with domain_errors():
            await volumes.Attach(volume_pb2.AttachRequest(container_id=name, boot_id="first"))

    attempts = (attach(number) for number in range(10))
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert outcomes.count(None) == 1
    refusals = [outcome for outcome in outcomes if isinstance(outcome, FailedPrecondition)]
    assert len(refusals) == 9
    assert {"volume data is attached to container " in one.message for one in refusals} == {True}
    for side in (one, other):
        assert len((await side.volumes.ListUses(volume_pb2.ListUsesRequest())).uses) == 10
    for name in containers:
        await one.volumes.Release(volume_pb2.ReleaseRequest(container_id=name))
    assert not (await other.volumes.ListUses(volume_pb2.ListUsesRequest())).uses
    await other.volumes.Remove(volume_pb2.VolumeServiceRemoveRequest(name="data"))
    assert not (await one.volumes.List(volume_pb2.VolumeServiceListRequest())).volumes


async def test_a_replica_that_is_killed_leaves_its_work_to_the_other(
    replicas: tuple[Service, Service], registry: Registry
) -> None:
    one, other = replicas
    reference = registry.push(IMAGE, "killed")
    begun = asyncio.Event()

    async def pull_with_one() -> None:
        async for response in one.images.Pull(image_pb2.PullRequest(reference=reference)):
            if response.progress.status == image_pb2.PROGRESS_STATUS_DOWNLOADING:
                begun.set()

    doomed = asyncio.create_task(pull_with_one())
    await asyncio.wait_for(begun.wait(), 60)
    waiting = asyncio.create_task(other.pull(reference))
    os.kill(one.pid, signal.SIGKILL)
    with pytest.raises(grpc.aio.AioRpcError):
        await asyncio.wait_for(doomed, 60)
    await one.stop()
    assert (await asyncio.wait_for(waiting, 120)).result.image_id == IMAGE.id
    disk = await other.disk(reference, CONTAINER)
    await one.start()
    again = await one.disks.Get(disk_pb2.DiskServiceGetRequest(container_id=CONTAINER))
    assert list(again.disk.chain) == list(disk.chain)
    assert not [path for path in one.files() if "/.new-" in path or path.endswith(".partial")]

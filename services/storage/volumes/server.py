"""The RPC shell of VolumeService: decode, call, encode; nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from vic.storage.v1 import volume_pb2 as pb
from vic.storage.v1 import volume_pb2_grpc

from portlayer.journal import Journal
from services.storage.pruning import LabelRule
from services.storage.volumes import messages
from services.storage.volumes.catalogue import Volumes
from services.storage.volumes.holding import Holding
from services.storage.volumes.index import Volume
from services.storage.volumes.uses import Uses

Context = grpc.aio.ServicerContext[Any, Any]


class VolumeServicer(volume_pb2_grpc.VolumeServiceServicer):
    """Serves vic.storage.v1.VolumeService. See the contract for what each call does."""

    def __init__(self, volumes: Volumes, holding: Holding, uses: Uses, journal: Journal) -> None:
        self._volumes = volumes
        self._holding = holding
        self._uses = uses
        self._journal = journal

    def _volume(self, volume: Volume) -> pb.Volume:
        return messages.volume(volume, self._uses.of(volume.record.name))

    async def Create(
        self, request: pb.VolumeServiceCreateRequest, context: Context
    ) -> pb.VolumeServiceCreateResponse:
        """See the contract."""
        volume, _ = await self._volumes.create(
            request.name, request.driver, request.labels, request.options
        )
        return pb.VolumeServiceCreateResponse(volume=self._volume(volume))

    async def Get(
        self, request: pb.VolumeServiceGetRequest, context: Context
    ) -> pb.VolumeServiceGetResponse:
        """See the contract."""
        return pb.VolumeServiceGetResponse(volume=self._volume(self._volumes.get(request.name)))

    async def List(
        self, request: pb.VolumeServiceListRequest, context: Context
    ) -> pb.VolumeServiceListResponse:
        """See the contract."""
        return pb.VolumeServiceListResponse(
            volumes=[self._volume(volume) for volume in self._volumes.all()]
        )

    async def Remove(
        self, request: pb.VolumeServiceRemoveRequest, context: Context
    ) -> pb.VolumeServiceRemoveResponse:
        """See the contract."""
        await self._volumes.remove(request.name, force=request.force)
        return pb.VolumeServiceRemoveResponse()

    async def Grow(self, request: pb.GrowRequest, context: Context) -> pb.GrowResponse:
        """See the contract."""
        volume = await self._volumes.grow(request.name, request.size_bytes)
        return pb.GrowResponse(volume=self._volume(volume))

    async def Prune(
        self, request: pb.VolumeServicePruneRequest, context: Context
    ) -> pb.VolumeServicePruneResponse:
        """See the contract."""
        removed, reclaimed = await self._volumes.prune(
            everything=request.all,
            rules=[LabelRule.parse(text) for text in request.label_filters],
        )
        return pb.VolumeServicePruneResponse(removed_names=removed, reclaimed_bytes=reclaimed)

    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> pb.ReserveResponse:
        """See the contract."""
        wanted = [messages.use(use) for use in request.volumes]
        reserved = await self._holding.reserve(request.container_id, wanted)
        return pb.ReserveResponse(volumes=[self._volume(volume) for volume in reserved])

    async def Release(self, request: pb.ReleaseRequest, context: Context) -> pb.ReleaseResponse:
        """See the contract."""
        await self._holding.release(request.container_id, remove_anonymous=request.remove_anonymous)
        return pb.ReleaseResponse()

    async def Attach(self, request: pb.AttachRequest, context: Context) -> pb.AttachResponse:
        """See the contract."""
        disks = await self._holding.attach(
            request.container_id, request.boot_id, read_only=request.read_only
        )
        return pb.AttachResponse(disks=[messages.attached_disk(disk) for disk in disks])

    async def Detach(self, request: pb.DetachRequest, context: Context) -> pb.DetachResponse:
        """See the contract."""
        await self._holding.detach(request.container_id, request.boot_id)
        return pb.DetachResponse()

    async def ListUses(self, request: pb.ListUsesRequest, context: Context) -> pb.ListUsesResponse:
        """See the contract."""
        return pb.ListUsesResponse(
            uses=[
                pb.ContainerUse(
                    container_id=use.container_id,
                    boot_id=attachment.boot_id if attachment is not None else "",
                )
                for use in self._uses.all()
                for attachment in (self._uses.attachment(use.container_id),)
            ]
        )

    async def ListStores(
        self, request: pb.ListStoresRequest, context: Context
    ) -> pb.ListStoresResponse:
        """See the contract."""
        return pb.ListStoresResponse(
            stores=[messages.store(store) for store in self._volumes.stores]
        )

    async def WatchEvents(
        self, request: pb.VolumeServiceWatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.VolumeServiceWatchEventsResponse]:
        """See the contract."""
        since = request.since.ToNanoseconds() if request.HasField("since") else 0
        until = request.until.ToNanoseconds() if request.HasField("until") else 0
        after = self._journal.start_of(request.after_sequence, since)
        started = pb.VolumeEventsStarted(sequence=self._journal.newest)
        yield pb.VolumeServiceWatchEventsResponse(started=started)
        following = self._journal.follow(after, since_ns=since, until_ns=until)
        async with aclosing(following) as entries:
            async for entry in entries:
                yield pb.VolumeServiceWatchEventsResponse(event=messages.event(entry))

"""The storage facet's volumes, in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from vic.storage.v1 import volume_pb2, volume_pb2_grpc

from portlayer.errors import FailedPrecondition, InvalidArgument, NotFound, Reason


class FakeVolumes(volume_pb2_grpc.VolumeServiceServicer):
    """Volumes by name; `volumes` may be changed behind the gateway's back."""

    def __init__(self) -> None:
        self.volumes: dict[str, volume_pb2.Volume] = {}
        self.asked: list[volume_pb2.VolumeServiceCreateRequest] = []
        self.pruned: list[volume_pb2.VolumeServicePruneRequest] = []

    def add(self, name: str, **fields: Any) -> volume_pb2.Volume:
        volume = volume_pb2.Volume(name=name, driver="local", store="default", **fields)
        volume.created_at.FromSeconds(1_700_000_000)
        self.volumes[name] = volume
        return volume

    async def Create(
        self, request: volume_pb2.VolumeServiceCreateRequest, context: Any
    ) -> volume_pb2.VolumeServiceCreateResponse:
        self.asked.append(request)
        if "/" in request.name:
            raise InvalidArgument(f"create {request.name}: no", Reason.INVALID_VOLUME)
        name = request.name or "a" * 64
        volume = self.volumes.get(name) or self.add(
            name,
            labels=request.labels,
            options=request.options,
            path=f"/v/{name}/disk.vmdk",
            size_bytes=1 << 30,
            used_bytes=4096,
        )
        return volume_pb2.VolumeServiceCreateResponse(volume=volume)

    async def Get(
        self, request: volume_pb2.VolumeServiceGetRequest, context: Any
    ) -> volume_pb2.VolumeServiceGetResponse:
        return volume_pb2.VolumeServiceGetResponse(volume=self.find(request.name))

    async def List(
        self, request: volume_pb2.VolumeServiceListRequest, context: Any
    ) -> volume_pb2.VolumeServiceListResponse:
        return volume_pb2.VolumeServiceListResponse(volumes=self.volumes.values())

    async def Remove(
        self, request: volume_pb2.VolumeServiceRemoveRequest, context: Any
    ) -> volume_pb2.VolumeServiceRemoveResponse:
        if request.force and request.name not in self.volumes:
            return volume_pb2.VolumeServiceRemoveResponse()
        users = self.find(request.name).container_ids
        if users:
            message = f"remove {request.name}: volume is in use - [{', '.join(users)}]"
            raise FailedPrecondition(message, Reason.VOLUME_IN_USE, volume=request.name)
        del self.volumes[request.name]
        return volume_pb2.VolumeServiceRemoveResponse()

    async def Prune(
        self, request: volume_pb2.VolumeServicePruneRequest, context: Any
    ) -> volume_pb2.VolumeServicePruneResponse:
        self.pruned.append(request)
        gone = [v for v in self.volumes.values() if not v.container_ids]
        for volume in gone:
            del self.volumes[volume.name]
        return volume_pb2.VolumeServicePruneResponse(
            removed_names=[volume.name for volume in gone],
            reclaimed_bytes=sum(volume.used_bytes for volume in gone),
        )

    async def WatchEvents(
        self, request: volume_pb2.VolumeServiceWatchEventsRequest, context: Any
    ) -> AsyncIterator[volume_pb2.VolumeServiceWatchEventsResponse]:
        """No event ever comes."""
        started = volume_pb2.VolumeEventsStarted(sequence=1)
        yield volume_pb2.VolumeServiceWatchEventsResponse(started=started)
        if not request.HasField("until"):
            await asyncio.Event().wait()

    def find(self, name: str) -> volume_pb2.Volume:
        if name not in self.volumes:
            raise NotFound(f"get {name}: no such volume", Reason.VOLUME_NOT_FOUND, volume=name)
        return self.volumes[name]

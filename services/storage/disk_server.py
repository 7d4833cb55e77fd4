"""The RPC shell of containers' disks: decode, call, encode; nothing else."""

from __future__ import annotations

from typing import Any

import grpc
from vic.storage.v1 import disk_pb2, disk_pb2_grpc

from services.storage import messages
from services.storage.disks import DiskStore
from services.storage.image_store import ImageStore
from services.storage.images import Images

Context = grpc.aio.ServicerContext[Any, Any]


class DiskServicer(disk_pb2_grpc.DiskServiceServicer):
    """Serves vic.storage.v1.DiskService."""

    def __init__(self, store: ImageStore, images: Images, disks: DiskStore) -> None:
        self._store = store
        self._images = images
        self._disks = disks

    async def Prepare(
        self, request: disk_pb2.PrepareRequest, context: Context
    ) -> disk_pb2.PrepareResponse:
        """See the contract."""
        disk = await self._disks.prepare(
            self._store,
            self._images.usable,
            request.container_id,
            request.image,
            request.specification,
        )
        return disk_pb2.PrepareResponse(disk=messages.disk(disk))

    async def Get(
        self, request: disk_pb2.DiskServiceGetRequest, context: Context
    ) -> disk_pb2.DiskServiceGetResponse:
        """See the contract."""
        disk = await self._disks.get(request.container_id)
        return disk_pb2.DiskServiceGetResponse(disk=messages.disk(disk))

    async def List(
        self, request: disk_pb2.DiskServiceListRequest, context: Context
    ) -> disk_pb2.DiskServiceListResponse:
        """See the contract."""
        disks, following = await self._disks.page(request.page_token)
        return disk_pb2.DiskServiceListResponse(
            disks=[messages.listed_disk(disk) for disk in disks], next_page_token=following
        )

    async def PutSpecification(
        self, request: disk_pb2.PutSpecificationRequest, context: Context
    ) -> disk_pb2.PutSpecificationResponse:
        """See the contract."""
        await self._disks.put_specification(request.container_id, request.specification)
        return disk_pb2.PutSpecificationResponse()

    async def Remove(
        self, request: disk_pb2.DiskServiceRemoveRequest, context: Context
    ) -> disk_pb2.DiskServiceRemoveResponse:
        """See the contract."""
        await self._disks.remove(self._store, request.container_id)
        return disk_pb2.DiskServiceRemoveResponse()

"""The other facets, as this one calls them."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
from vic.interaction.v1 import process_pb2_grpc
from vic.network.v1 import network_pb2_grpc
from vic.storage.v1 import disk_pb2_grpc, image_pb2_grpc, volume_pb2_grpc

from portlayer.client import open_channel
from portlayer.identity import Credentials, Role
from portlayer.settings import FacetSettings


@dataclass(frozen=True)
class Peers:
    """Stubs of the facets that exec needs."""

    images: "image_pb2_grpc.ImageServiceAsyncStub"
    disks: "disk_pb2_grpc.DiskServiceAsyncStub"
    network: "network_pb2_grpc.NetworkServiceAsyncStub"
    processes: "process_pb2_grpc.ProcessServiceAsyncStub"
    volumes: "volume_pb2_grpc.VolumeServiceAsyncStub"


async def open_peers(
    settings: FacetSettings, credentials: Credentials, stack: AsyncExitStack
) -> Peers:
    """Open the channels; the stack closes them."""

    async def channel(role: Role) -> grpc.aio.Channel:
        return await stack.enter_async_context(
            open_channel(settings.target(role), role, settings.instance_id, credentials)
        )

    storage = await channel(Role.STORAGE)
    return Peers(
        images=image_pb2_grpc.ImageServiceStub(storage),
        disks=disk_pb2_grpc.DiskServiceStub(storage),
        network=network_pb2_grpc.NetworkServiceStub(await channel(Role.NETWORK)),
        processes=process_pb2_grpc.ProcessServiceStub(await channel(Role.INTERACTION)),
        volumes=volume_pb2_grpc.VolumeServiceStub(storage),
    )

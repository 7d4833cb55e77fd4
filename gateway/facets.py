"""The facets behind the gateway: their gRPC clients."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from vic.exec.v1.container_pb2 import Container, ContainerState
from vic.exec.v1.exec_pb2 import ListRequest
from vic.exec.v1.exec_pb2_grpc import ExecServiceStub
from vic.interaction.v1.interaction_pb2_grpc import InteractionServiceStub
from vic.network.v1.network_pb2_grpc import NetworkServiceStub
from vic.storage.v1.image_pb2_grpc import ImageServiceStub
from vic.storage.v1.volume_pb2_grpc import VolumeServiceStub

from portlayer.client import open_channel
from portlayer.errors import Cancelled, Unavailable, domain_errors
from portlayer.identity import Credentials, Role
from portlayer.settings import FacetSettings

if TYPE_CHECKING:  # the type stubs alone tell gRPC's two kinds of client apart
    from vic.exec.v1.exec_pb2_grpc import ExecServiceAsyncStub
    from vic.interaction.v1.interaction_pb2_grpc import InteractionServiceAsyncStub
    from vic.network.v1.network_pb2_grpc import NetworkServiceAsyncStub
    from vic.storage.v1.image_pb2_grpc import ImageServiceAsyncStub
    from vic.storage.v1.volume_pb2_grpc import VolumeServiceAsyncStub

Message = TypeVar("Message", covariant=True)

AWAY = (Unavailable, Cancelled)
"""What a stream ends with when its facet is stopped or restarted."""

RETRY_SECONDS = 0.5
"""Between attempts while a facet is away; nothing tells when it is back."""


class ResponseStream(AsyncIterable[Message], Protocol[Message]):
    """A call whose answer is a stream: what gRPC's two kinds of it have in common."""

    def cancel(self) -> bool:
        """End the call."""
        ...


async def read(call: ResponseStream[Message]) -> AsyncGenerator[Message, None]:
    """Give a call's responses; raises domain errors, and ends the call when it is closed."""
    try:
        with domain_errors():
            async for message in call:
                yield message
    finally:
        call.cancel()


# Calls of exec that go to another replica where theirs has just ended. Twice is as good as once:
# the gateway chooses a container's ID, and the others change nothing.
REPEATABLE = tuple(f"vic.exec.v1.ExecService/{method}" for method in ("Create", "Get", "List"))


@dataclass(frozen=True)
class Facets:
    """One client for each service that the Docker API is made of."""

    exec: "ExecServiceAsyncStub"
    interaction: "InteractionServiceAsyncStub"
    network: "NetworkServiceAsyncStub"
    images: "ImageServiceAsyncStub"
    volumes: "VolumeServiceAsyncStub"

    async def containers(self, *states: ContainerState) -> list[Container]:
        """All containers, or those in some states, newest first."""
        containers: list[Container] = []
        request = ListRequest(states=states)
        while True:
            page = await self.exec.List(request)
            containers += page.containers
            if not page.next_page_token:
                return containers
            request.page_token = page.next_page_token


@asynccontextmanager
async def connect(settings: FacetSettings, credentials: Credentials) -> AsyncIterator[Facets]:
    """Open the channels; they connect on first use and close with the context."""
    roles = (Role.EXEC, Role.INTERACTION, Role.NETWORK, Role.STORAGE)
    channels = {
        role: open_channel(
            settings.target(role),
            role,
            settings.instance_id,
            credentials,
            repeatable=REPEATABLE if role is Role.EXEC else (),
        )
        for role in roles
    }
    try:
        yield Facets(
            exec=ExecServiceStub(channels[Role.EXEC]),
            interaction=InteractionServiceStub(channels[Role.INTERACTION]),
            network=NetworkServiceStub(channels[Role.NETWORK]),
            images=ImageServiceStub(channels[Role.STORAGE]),
            volumes=VolumeServiceStub(channels[Role.STORAGE]),
        )
    finally:
        for channel in channels.values():
            await channel.close()

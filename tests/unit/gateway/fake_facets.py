"""All facets in memory, behind real gRPC servers, and the gateway's clients to them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from vic.exec.v1 import exec_pb2, exec_pb2_grpc
from vic.interaction.v1 import interaction_pb2, interaction_pb2_grpc
from vic.network.v1 import network_pb2, network_pb2_grpc
from vic.storage.v1 import image_pb2, image_pb2_grpc, volume_pb2, volume_pb2_grpc

from gateway.facets import Facets, connect
from gateway.settings import GatewaySettings
from portlayer.identity import Role
from portlayer.server import FacetServer, rpc_names
from tests.unit.gateway.fake_containers import FakeExec
from tests.unit.gateway.fake_images import FakeImages
from tests.unit.gateway.fake_interaction import FakeInteraction
from tests.unit.gateway.fake_networks import FakeNetwork
from tests.unit.gateway.fake_volumes import FakeVolumes
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority


class FakeSuite:
    """All facets behind their servers, and the gateway's clients to them."""

    facets: Facets

    def __init__(self, directory: Path, authority: TestAuthority) -> None:
        self.images = FakeImages()
        self.exec = FakeExec(self.images)
        self.interaction = FakeInteraction(self.exec)
        self.volumes = FakeVolumes()
        self.network = FakeNetwork()
        self._directory = directory
        self._authority = authority
        self._servers: dict[Role, FacetServer] = {}

    def address(self, role: Role) -> str:
        """Where a facet is served."""
        return f"unix:{self._directory}/{role.value}.sock"

    def pulled(self, name: str) -> image_pb2.Image:
        """Put an image of the registry into the store."""
        image = self.images.registry[name]
        self.images.images[image.id] = image
        return image

    async def start(self, role: Role) -> None:
        """Serve one facet, as the real one is served."""
        services = self._services(role)
        descriptors = [
            service
            for _, _, module in services
            for service in module.DESCRIPTOR.services_by_name.values()
        ]
        access = {
            name: frozenset({Role.GATEWAY})
            for descriptor in descriptors
            for name in rpc_names(descriptor)
        }
        credentials = self._authority.issue(role)
        server = FacetServer(credentials, INSTANCE, access, descriptors, reflect=False)
        for add, servicer, _ in services:
            add(servicer, server.server)
        await server.start([self.address(role)])
        self._servers[role] = server

    async def stop(self, role: Role) -> None:
        """Stop one facet at once."""
        await self._servers.pop(role).server.stop(0)

    async def close(self) -> None:
        """End every container and every server."""
        await self.interaction.close()
        for container in self.exec.containers.values():
            if container.task is not None:
                container.task.cancel()
        await asyncio.gather(*(self.stop(role) for role in list(self._servers)))

    def _services(self, role: Role) -> list[tuple[Any, Any, Any]]:
        add_interaction = interaction_pb2_grpc.add_InteractionServiceServicer_to_server
        services: dict[Role, list[tuple[Any, Any, Any]]] = {
            Role.EXEC: [(exec_pb2_grpc.add_ExecServiceServicer_to_server, self.exec, exec_pb2)],
            Role.INTERACTION: [(add_interaction, self.interaction, interaction_pb2)],
            Role.NETWORK: [
                (network_pb2_grpc.add_NetworkServiceServicer_to_server, self.network, network_pb2)
            ],
            Role.STORAGE: [
                (image_pb2_grpc.add_ImageServiceServicer_to_server, self.images, image_pb2),
                (
                    volume_pb2_grpc.add_VolumeServiceServicer_to_server,
                    self.volumes,
                    volume_pb2,
                ),
            ],
        }
        return services[role]


@asynccontextmanager
async def fake_suite(directory: Path, authority: TestAuthority) -> AsyncIterator[FakeSuite]:
    """Serve the fakes on sockets in a directory, with mTLS as the real ones have it."""
    suite = FakeSuite(directory, authority)
    roles = (Role.EXEC, Role.INTERACTION, Role.NETWORK, Role.STORAGE)
    for role in roles:
        await suite.start(role)
    settings = GatewaySettings.model_validate(
        {
            "instance_id": INSTANCE,
            "slot": 0,
            "targets": {role.value: suite.address(role) for role in roles},
        }
    )
    try:
        async with connect(settings, authority.issue(Role.GATEWAY)) as facets:
            suite.facets = facets
            yield suite
    finally:
        await suite.close()

"""Clones that are connected while they wait: an address, a network, and somebody to dial.

A clone gets a management endpoint of its own, reserved under its name. When it is used that
becomes the container's (network's Bind with ``management_of``), and interaction is told whose its
tether is.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vic.hostagent.v1 import hostagent_pb2
from vic.network.v1 import network_pb2

from portlayer.errors import VicError

if TYPE_CHECKING:  # the type stubs alone tell gRPC's two kinds of client apart
    from vic.network.v1 import network_pb2_grpc

log = logging.getLogger("vic.exec.qemu.dialling")

# The pool goes on without; the reconciler sees to what is left.
RELEASE_SECONDS = 10.0


@dataclass(frozen=True)
class Place:
    """Where a waiting clone's tether is, and where it dials."""

    endpoint: network_pb2.Endpoint
    management: hostagent_pb2.GuestManagement


class Interaction(Protocol):
    """Where tethers find interaction."""

    @property
    def server_name(self) -> str:
        """The name in its certificate."""

    async def endpoint(self) -> str:
        """Return address and port. Raises what network raises."""


class Dialling:
    """Gives clones that wait what they need to dial, and takes it back."""

    def __init__(
        self, network: "network_pb2_grpc.NetworkServiceAsyncStub", interaction: Interaction
    ) -> None:
        self._network = network
        self._interaction = interaction

    async def reserve(self, machine_id: str) -> Place | None:
        """Return a place for a clone; None where there is none now: it waits unconnected then."""
        try:
            request = network_pb2.ReserveRequest(container_id=machine_id)
            (endpoint,) = (await self._network.Reserve(request)).endpoints
            dialled = await self._interaction.endpoint()
        except VicError as error:
            log.info("%s waits unconnected: %s", machine_id, error.message)
            return None
        return Place(
            endpoint,
            hostagent_pb2.GuestManagement(
                mac_address=endpoint.mac_address,
                address=f"{endpoint.ipv4_address}/{endpoint.ipv4_prefix_length}",
                endpoint=dialled,
                server_name=self._interaction.server_name,
            ),
        )

    async def bind(self, machine_id: str) -> None:
        """Put a clone's management NIC on its network. Raises VicError."""
        await self._network.Bind(network_pb2.BindRequest(container_id=machine_id))

    async def release(self, machine_id: str) -> None:
        """Take a clone's place back, if it has one still. Idempotent."""
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._network.Release(network_pb2.ReleaseRequest(container_id=machine_id))
        except (VicError, TimeoutError) as error:
            # The reconciler finds that nobody has it.
            log.info("the address of %s is left: %s", machine_id, error)

    async def release_all(self, prefix: str) -> None:
        """Take all places back that are reserved under names with a prefix: nobody is there."""
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                listed = await self._network.ListReservations(network_pb2.ListReservationsRequest())
        except (VicError, TimeoutError) as error:
            # The reconciler does it when network is back.
            log.info("addresses of former clones are left: %s", error)
            return
        for name in listed.container_ids:
            if name.startswith(prefix):
                await self.release(name)

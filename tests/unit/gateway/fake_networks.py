"""The network facet in memory."""

import asyncio
from typing import Any

from vic.network.v1 import network_pb2, network_pb2_grpc

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    Reason,
)

BRIDGE_ID, NONE_ID = "b" * 64, "0" * 64


class FakeNetwork(network_pb2_grpc.NetworkServiceServicer):
    """The two networks that are always there."""

    def __init__(self) -> None:
        pool = network_pb2.AddressPool(subnet="172.17.0.0/16", gateway="172.17.0.1")
        bridge = network_pb2.Network(
            id=BRIDGE_ID,
            name="bridge",
            kind=network_pb2.NETWORK_KIND_BRIDGE,
            pools=[pool],
            predefined=True,
        )
        none = network_pb2.Network(
            id=NONE_ID, name="none", kind=network_pb2.NETWORK_KIND_NONE, predefined=True
        )
        self.networks = [bridge, none]
        self.asked: list[network_pb2.CreateRequest] = []
        self.pruned: list[network_pb2.PruneRequest] = []
        self.listed = asyncio.Event()
        """Set when the networks and their endpoints were listed."""
        self.refused = asyncio.Event()
        """Set when a network that is in use was to be removed."""

    async def List(
        self, request: network_pb2.ListRequest, context: Any
    ) -> network_pb2.ListResponse:
        if request.with_endpoints:
            self.listed.set()
        return network_pb2.ListResponse(networks=self.networks)

    async def Get(self, request: network_pb2.GetRequest, context: Any) -> network_pb2.GetResponse:
        return network_pb2.GetResponse(network=self.find(request.reference))

    async def Create(
        self, request: network_pb2.CreateRequest, context: Any
    ) -> network_pb2.CreateResponse:
        if any(network.name == request.name for network in self.networks):
            raise AlreadyExists(
                f"network with name {request.name} already exists", Reason.NETWORK_EXISTS
            )
        self.asked.append(request)
        network = network_pb2.Network(
            id=request.network_id,
            name=request.name,
            kind=request.kind,
            pools=request.pools,
            internal=request.internal,
            attachable=request.attachable,
            labels=request.labels,
            options=request.options,
        )
        network.created_at.GetCurrentTime()
        self.networks.append(network)
        return network_pb2.CreateResponse(network=network)

    async def Remove(
        self, request: network_pb2.RemoveRequest, context: Any
    ) -> network_pb2.RemoveResponse:
        network = self.find(request.reference)
        if network.endpoints:
            self.refused.set()
            raise FailedPrecondition(
                f"error while removing network: network {network.name} id {network.id} has "
                "active endpoints",
                Reason.ACTIVE_ENDPOINTS,
            )
        self.networks.remove(network)
        return network_pb2.RemoveResponse()

    async def Prune(
        self, request: network_pb2.PruneRequest, context: Any
    ) -> network_pb2.PruneResponse:
        self.pruned.append(request)
        gone = [n for n in self.networks if not n.predefined and not n.endpoints]
        self.networks = [n for n in self.networks if n not in gone]
        return network_pb2.PruneResponse(removed_names=[n.name for n in gone])

    def find(self, reference: str) -> network_pb2.Network:
        for network in self.networks:
            if network.name == reference or network.id.startswith(reference):
                return network
        raise NotFound("no network", Reason.NETWORK_NOT_FOUND)

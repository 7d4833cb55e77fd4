"""The RPC shell: decode, call, encode."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC

from vic.network.v1 import network_pb2 as pb
from vic.network.v1 import network_pb2_grpc

from portlayer.errors import InvalidArgument
from portlayer.interceptors import Context
from services.network import messages
from services.network.endpoints import Endpoints
from services.network.model import LabelRule
from services.network.names.answers import Answers, serves
from services.network.names.server import NameServer
from services.network.networks import Networks
from services.network.outside import OutsideHosts
from services.network.predefined import DEFAULT_NETWORK
from services.network.publications import Publications
from services.network.resolvers import Resolvers

SERVICE = pb.DESCRIPTOR.services_by_name["NetworkService"]


@dataclass(frozen=True)
class Names:
    """What knows containers' names, and what tells them to the networks."""

    answers: Answers
    server: NameServer
    outside: OutsideHosts


class NetworkServicer(network_pb2_grpc.NetworkServiceServicer):
    """Serves vic.network.v1.NetworkService.

    What is not here is answered with RPC_NOT_IMPLEMENTED, as the generated base class has it.
    """

    def __init__(
        self,
        networks: Networks,
        endpoints: Endpoints,
        *,
        driver_name: str,
        tether_port: int,
        resolvers: Callable[[], Resolvers],
        names: Names,
        publications: Publications,
    ) -> None:
        self._networks = networks
        self._endpoints = endpoints
        self._driver_name = driver_name
        self._tether_port = tether_port
        # Asked each time: the host's resolvers change while we run.
        self._resolvers = resolvers
        self._names = names
        self._publications = publications
        self._encode = messages.Encoder(networks, endpoints, names.server.listens, names.outside.of)

    async def Info(self, request: pb.InfoRequest, context: Context) -> pb.InfoResponse:
        """Tell the management network."""
        pool = self._networks.management().pool
        assert pool is not None
        return pb.InfoResponse(
            driver=self._driver_name,
            management_address=str(pool.gateway),
            management_prefix_length=pool.subnet.prefixlen,
            tether_port=self._tether_port,
            default_network=DEFAULT_NETWORK,
        )

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.CreateResponse:
        """Make a bridge network, or map an external one."""
        network = await self._networks.create(messages.plan(request))
        return pb.CreateResponse(network=self._encode.network(network))

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:
        """Return a network with its endpoints."""
        network = self._networks.find(request.reference)
        endpoints = self._endpoints.of_network(network)
        return pb.GetResponse(network=self._encode.network(network, endpoints))

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        """Return all networks that containers can join."""
        endpoints = self._endpoints.by_network() if request.with_endpoints else {}
        return pb.ListResponse(
            networks=[
                self._encode.network(network, endpoints.get(network.id, ()))
                for network in self._networks.all()
            ]
        )

    async def Remove(self, request: pb.RemoveRequest, context: Context) -> pb.RemoveResponse:
        """Remove a network."""
        await self._networks.remove(request.reference, external=request.external)
        return pb.RemoveResponse()

    async def Prune(self, request: pb.PruneRequest, context: Context) -> pb.PruneResponse:
        """Remove networks that nobody uses."""
        until = request.until.ToDatetime(UTC) if request.HasField("until") else None
        rules = [LabelRule.parse(text) for text in request.label_filters]
        removed = await self._networks.prune(until, rules)
        return pb.PruneResponse(removed_names=[network.name for network in removed])

    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> pb.ReserveResponse:
        """Give a container its addresses."""
        reservation = await self._endpoints.reserve(
            _named(request.container_id),
            request.container_name,
            request.hostname,
            messages.wishes(request.endpoints),
            messages.resolvers(request.dns_servers),
        )
        found = self._encode.reservation(reservation, self._resolvers())
        return pb.ReserveResponse(endpoints=found)

    async def GetReservation(
        self, request: pb.GetReservationRequest, context: Context
    ) -> pb.GetReservationResponse:
        """Return a container's endpoints."""
        reservation = self._endpoints.get(_named(request.container_id))
        found = self._encode.reservation(reservation, self._resolvers())
        return pb.GetReservationResponse(endpoints=found)

    async def ListReservations(
        self, request: pb.ListReservationsRequest, context: Context
    ) -> pb.ListReservationsResponse:
        """Return the containers that have endpoints."""
        return pb.ListReservationsResponse(container_ids=self._endpoints.container_ids())

    async def Bind(self, request: pb.BindRequest, context: Context) -> pb.BindResponse:
        """Connect a container's taps."""
        endpoints = await self._endpoints.bind(
            _named(request.container_id), management_only=request.management_only
        )
        connected = {endpoint.id for endpoint in endpoints}
        reservation = self._endpoints.get(request.container_id)
        found = self._encode.reservation(reservation, self._resolvers())
        return pb.BindResponse(endpoints=[e for e in found if e.id in connected])

    async def Unbind(self, request: pb.UnbindRequest, context: Context) -> pb.UnbindResponse:
        """Disconnect a container's taps."""
        await self._publications.unpublish(_named(request.container_id))
        await self._endpoints.unbind(request.container_id)
        return pb.UnbindResponse()

    async def Connect(self, request: pb.ConnectRequest, context: Context) -> pb.ConnectResponse:
        """Give a container an endpoint in one more network."""
        container_id = _named(request.container_id)
        endpoint = await self._endpoints.connect(container_id, messages.wish(request.endpoint))
        found = self._encode.reservation(self._endpoints.get(container_id), self._resolvers())
        (own,) = (message for message in found if message.id == endpoint.id)
        return pb.ConnectResponse(endpoint=own, endpoints=found)

    async def Disconnect(
        self, request: pb.DisconnectRequest, context: Context
    ) -> pb.DisconnectResponse:
        """Take a container out of a network."""
        container_id = _named(request.container_id)
        await self._endpoints.disconnect(container_id, request.network)
        found = self._encode.reservation(self._endpoints.get(container_id), self._resolvers())
        return pb.DisconnectResponse(endpoints=found)

    async def Publish(self, request: pb.PublishRequest, context: Context) -> pb.PublishResponse:
        """Open ports that lead to a container: the host's, or its own on an external network."""
        wishes = messages.port_wishes(request.ports)
        exposed = messages.exposed(request.exposed)
        forwards = await self._publications.publish(_named(request.container_id), wishes, exposed)
        return pb.PublishResponse(ports=messages.published(forwards))

    async def Unpublish(
        self, request: pb.UnpublishRequest, context: Context
    ) -> pb.UnpublishResponse:
        """Close a container's ports."""
        await self._publications.unpublish(_named(request.container_id))
        return pb.UnpublishResponse()

    async def Rename(self, request: pb.RenameRequest, context: Context) -> pb.RenameResponse:
        """Note a container's new name."""
        await self._endpoints.rename(_named(request.container_id), request.container_name)
        return pb.RenameResponse()

    async def Resolve(self, request: pb.ResolveRequest, context: Context) -> pb.ResolveResponse:
        """Answer a name as the network's name server would."""
        network = self._networks.find(request.network)
        found = self._names.answers.resolve([network], request.name) if serves(network) else []
        return pb.ResolveResponse(addresses=[str(address) for address in found])

    async def SetOutsideAlias(
        self, request: pb.SetOutsideAliasRequest, context: Context
    ) -> pb.SetOutsideAliasResponse:
        """Give an outside host a name in a network."""
        await self._names.outside.set(request.network, request.name, request.address)
        return pb.SetOutsideAliasResponse()

    async def RemoveOutsideAlias(
        self, request: pb.RemoveOutsideAliasRequest, context: Context
    ) -> pb.RemoveOutsideAliasResponse:
        """Take it away."""
        await self._names.outside.remove(request.network, request.name)
        return pb.RemoveOutsideAliasResponse()

    async def Release(self, request: pb.ReleaseRequest, context: Context) -> pb.ReleaseResponse:
        """Give a container's addresses back."""
        await self._publications.unpublish(_named(request.container_id))
        await self._endpoints.release(request.container_id)
        return pb.ReleaseResponse()

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        """Tell what happens to networks."""
        journal = self._networks.happenings.journal
        since = request.since.ToNanoseconds() if request.HasField("since") else 0
        until = request.until.ToNanoseconds() if request.HasField("until") else 0
        after = journal.start_of(request.after_sequence, since)
        started = pb.WatchEventsStarted(sequence=journal.newest)
        yield pb.WatchEventsResponse(started=started)
        following = journal.follow(after, since_ns=since, until_ns=until)
        async with aclosing(following) as entries:
            async for entry in entries:
                yield pb.WatchEventsResponse(event=messages.event(entry))


def _named(container_id: str) -> str:
    if not container_id:
        raise InvalidArgument("container_id is empty")
    return container_id

"""Between the contract's messages and the service's own values."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from google.protobuf.timestamp_pb2 import Timestamp
from vic.network.v1 import network_pb2 as pb

from portlayer.errors import InvalidArgument, NotImplementedYet, Reason
from portlayer.journal import Entry
from services.network.blocks import read4, read6
from services.network.drivers import Forward, Level, Transport
from services.network.endpoints import Endpoints
from services.network.external import PortWish
from services.network.ipam import parse_ipv4, parse_ipv6
from services.network.model import Endpoint, External, Kind, Network, Reservation, Wish
from services.network.networks import Networks
from services.network.plans import Plan
from services.network.resolvers import Resolvers
from services.network.ways import default_endpoint

_KINDS = {
    Kind.BRIDGE: pb.NETWORK_KIND_BRIDGE,
    Kind.NONE: pb.NETWORK_KIND_NONE,
    Kind.EXTERNAL: pb.NETWORK_KIND_EXTERNAL,
}
_LEVELS = {
    pb.FIREWALL_LEVEL_CLOSED: Level.CLOSED,
    pb.FIREWALL_LEVEL_OUTBOUND: Level.OUTBOUND,
    pb.FIREWALL_LEVEL_PEERS: Level.PEERS,
    pb.FIREWALL_LEVEL_PUBLISHED: Level.PUBLISHED,
    pb.FIREWALL_LEVEL_OPEN: Level.OPEN,
}
_FIREWALL_LEVELS = {level: ours for ours, level in _LEVELS.items()}
_TRANSPORTS = {pb.PROTOCOL_TCP: Transport.TCP, pb.PROTOCOL_UDP: Transport.UDP}
_PROTOCOLS = {transport: protocol for protocol, transport in _TRANSPORTS.items()}

LAST_PORT = 65_535


class Encoder:
    """Makes messages of networks and endpoints."""

    def __init__(
        self,
        networks: Networks,
        endpoints: Endpoints,
        has_names: Callable[[Network], bool],
        outside: Callable[[Network], Mapping[str, IPv4Address | IPv6Address]],
    ) -> None:
        self._networks = networks
        self._endpoints = endpoints
        self._has_names = has_names
        self._outside = outside

    def network(self, network: Network, endpoints: Iterable[Endpoint] = ()) -> pb.Network:
        """Return a network's message, with those of its endpoints that are to be shown."""
        created = Timestamp()
        created.FromDatetime(network.created_at)
        message = pb.Network(
            id=network.id,
            name=network.name,
            kind=_KINDS[network.kind],
            internal=network.internal,
            attachable=network.attachable,
            labels=dict(network.labels),
            options=dict(self._networks.shown_options(network)),
            created_at=created,
            predefined=network.predefined,
        )
        if network.pool is not None:
            pool = network.pool
            message.pools.add(
                subnet=str(pool.subnet),
                gateway=str(pool.gateway),
                ip_range="" if pool.ip_range is None else str(pool.ip_range),
                auxiliary_addresses={name: str(ip) for name, ip in pool.auxiliary.items()},
            )
        if network.pool6 is not None:
            pool6 = network.pool6
            message.enable_ipv6 = True
            message.pools.add(
                subnet=str(pool6.subnet),
                gateway=str(pool6.gateway),
                ip_range="" if pool6.ip_range is None else str(pool6.ip_range),
                auxiliary_addresses={name: str(ip) for name, ip in pool6.auxiliary.items()},
            )
        if network.external is not None:
            external = network.external
            message.external.parent = external.parent
            message.external.firewall = _FIREWALL_LEVELS[external.level]
            message.external.dns_servers.extend(str(address) for address in external.resolvers)
            message.external.publishes = external.publishes
        message.endpoints.extend(self.endpoints(endpoints, Resolvers()))
        for name, address in self._outside(network).items():
            message.outside_aliases.add(name=name, address=str(address))
        return message

    def reservation(self, reservation: Reservation, resolvers: Resolvers) -> list[pb.Endpoint]:
        """Return the messages of a container's endpoints, with the one of its default route."""
        found = self.endpoints(reservation.endpoints, resolvers)
        default = default_endpoint(reservation, self._networks.get)
        default6 = default_endpoint(reservation, self._networks.get, version=6)
        for message in found:
            message.default_route = default is not None and message.id == default.id
            message.default_route6 = default6 is not None and message.id == default6.id
        return found

    def endpoints(self, endpoints: Iterable[Endpoint], resolvers: Resolvers) -> list[pb.Endpoint]:
        """Return endpoints' messages."""
        return [self._endpoint(endpoint, resolvers) for endpoint in endpoints]

    def _endpoint(self, endpoint: Endpoint, resolvers: Resolvers) -> pb.Endpoint:
        network = self._networks.get(endpoint.network_id)
        message = pb.Endpoint(
            id=endpoint.id,
            container_id=endpoint.container_id,
            network_id=network.id,
            network_name=network.name,
            management=network.management,
            mac_address=endpoint.mac or "",
            tap_name=endpoint.port_name or "",
            port_group=self._networks.port_group(network),
            aliases=endpoint.aliases,
            bound=self._endpoints.bound(endpoint),
            external=network.external is not None,
        )
        if network.pool is not None:
            message.ipv4_address = str(endpoint.ipv4)
            message.ipv4_prefix_length = network.pool.subnet.prefixlen
            message.mtu = self._networks.segment(network).mtu
            # Nothing is behind the management gateway, and an internal network has no way out.
            if not network.management and not network.internal:
                message.ipv4_gateway = str(network.pool.gateway)
        if network.pool6 is not None and endpoint.ipv6 is not None:
            message.ipv6_address = str(endpoint.ipv6)
            message.ipv6_prefix_length = network.pool6.subnet.prefixlen
            if not network.internal:
                message.ipv6_gateway = str(network.pool6.gateway)
        if not network.management and network.kind is not Kind.NONE:
            if network.pool is not None and self._has_names(network):
                resolvers = resolvers.behind(network.pool.gateway)
                message.own_name_server = True
            elif network.external is not None and network.external.resolvers:
                resolvers = resolvers.by(network.external.resolvers)
            message.dns_servers.extend(resolvers.servers)
            message.dns_search.extend(resolvers.search)
            message.dns_options.extend(resolvers.options)
        return message


def plan(request: pb.CreateRequest) -> Plan:
    """Return what a request for a network asks for.

    Raises InvalidArgument (INVALID_NETWORK) and NotImplementedYet.
    """
    if request.HasField("external") is not (request.kind == pb.NETWORK_KIND_EXTERNAL):
        raise InvalidArgument(
            "an external network, and no other, has what `external` says", Reason.INVALID_NETWORK
        )
    if request.kind not in (
        pb.NETWORK_KIND_UNSPECIFIED,
        pb.NETWORK_KIND_BRIDGE,
        pb.NETWORK_KIND_EXTERNAL,
    ):
        raise NotImplementedYet(
            f"networks of kind {pb.NetworkKind.Name(request.kind)} are not implemented"
        )
    six = [pool for pool in request.pools if ":" in pool.subnet]
    four = [pool for pool in request.pools if ":" not in pool.subnet]
    if max(len(six), len(four)) > 1:
        # Docker's words: its bridge driver has one of each kind as well.
        raise NotImplementedYet("bridge driver doesn't support multiple subnets")
    pool = read4(four[0] if four else pb.AddressPool())
    pool6 = read6(six[0] if six else pb.AddressPool())
    return Plan(
        name=request.name,
        network_id=request.network_id,
        subnet=pool.subnet,
        gateway=pool.gateway,
        ip_range=pool.ip_range,
        auxiliary=pool.auxiliary,
        internal=request.internal,
        attachable=request.attachable,
        labels=dict(request.labels),
        options=dict(request.options),
        ipv6=request.enable_ipv6,
        subnet6=pool6.subnet,
        gateway6=pool6.gateway,
        ip_range6=pool6.ip_range,
        auxiliary6=pool6.auxiliary,
        external=_external(request.external) if request.HasField("external") else None,
    )


def _external(message: pb.External) -> External:
    level = Level.PUBLISHED
    if message.firewall != pb.FIREWALL_LEVEL_UNSPECIFIED:
        if message.firewall not in _LEVELS:
            raise InvalidArgument("unknown firewall level", Reason.INVALID_NETWORK)
        level = _LEVELS[message.firewall]
    return External(message.parent, level, tuple(resolvers(message.dns_servers)), message.publishes)


def wishes(requests: Sequence[pb.EndpointRequest]) -> list[Wish]:
    """Return what a container wants in its networks. Raises InvalidArgument."""
    return [wish(request) for request in requests]


def wish(request: pb.EndpointRequest) -> Wish:
    """Return what a container wants in a network. Raises InvalidArgument."""
    for link in request.links:
        target, _, alias = link.partition(":")
        if not target or not alias:
            raise InvalidArgument(f"invalid link {link!r}: CONTAINER:ALIAS is needed")
    return Wish(
        network=request.network,
        ipv4=request.ipv4_address,
        mac=request.mac_address,
        aliases=tuple(request.aliases),
        gateway_priority=request.gateway_priority,
        links=tuple(request.links),
        ipv6=request.ipv6_address,
    )


def resolvers(texts: Sequence[str]) -> list[IPv4Address | IPv6Address]:
    """Return a container's own name servers. Raises InvalidArgument (INVALID_ADDRESS)."""
    found = []
    for text in texts:
        try:
            address = ip_address(text)
        except ValueError:
            raise InvalidArgument(
                f"invalid name server {text!r}: not an IP address", Reason.INVALID_ADDRESS
            ) from None
        found.append(address)
    return found


def port_wishes(ports: Sequence[pb.PublishedPort]) -> list[PortWish]:
    """Return which ports are to be published.

    Raises InvalidArgument (INVALID_REQUEST, INVALID_ADDRESS) for what can't be.
    """
    return [_port_wish(port) for port in ports]


def exposed(ports: Sequence[pb.ExposedPort]) -> list[tuple[Transport, int]]:
    """Return which ports a container exposes. Raises InvalidArgument (INVALID_REQUEST)."""
    for port in ports:
        if port.protocol not in _TRANSPORTS or not 1 <= port.port <= LAST_PORT:
            raise InvalidArgument("an exposed port is of TCP or UDP, from 1 to 65535")
    return [(_TRANSPORTS[port.protocol], port.port) for port in ports]


def published(forwards: Iterable[Forward]) -> list[pb.PublishedPort]:
    """Return published ports' messages."""
    return [
        pb.PublishedPort(
            container_port=forward.port,
            protocol=_PROTOCOLS[forward.transport],
            host_address=str(forward.host_address),
            host_port_start=forward.host_port,
            host_port_end=forward.host_port,
            host_port=forward.host_port,
        )
        for forward in forwards
    ]


def _port_wish(port: pb.PublishedPort) -> PortWish:
    first = port.host_port_start
    last = port.host_port_end or first
    if port.protocol not in _TRANSPORTS:
        raise InvalidArgument("a published port is of TCP or UDP")
    if not 1 <= port.container_port <= LAST_PORT or not first <= last <= LAST_PORT:
        raise InvalidArgument("a port is a number from 1 to 65535, and a range goes upwards")
    if not first and last:
        raise InvalidArgument("a range of host ports begins at 1 at the earliest")
    return PortWish(
        transport=_TRANSPORTS[port.protocol],
        port=port.container_port,
        host_address=_host_address(port.host_address),
        first=first,
        last=last,
    )


def _host_address(text: str) -> IPv4Address | IPv6Address | None:
    if not text:
        return None
    return parse_ipv6(text) if ":" in text else parse_ipv4(text)


def event(entry: Entry) -> pb.Event:
    """Return an event's message."""
    message = pb.Event(
        sequence=entry.sequence,
        kind=entry.kind,  # type: ignore[arg-type]
        network_id=entry.actor,
        attributes=entry.attributes,
    )
    message.time.FromNanoseconds(entry.time_ns)
    return message

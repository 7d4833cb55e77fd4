"""Published ports: what a specification asks for, and what network gave."""

import re
from ipaddress import AddressValueError, IPv4Address

from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2

from portlayer.errors import InvalidArgument, NotImplementedYet, Reason
from services.exec.peers import Peers
from services.exec.record import Record

LAST_PORT = 65535
# Each is held by a socket of the network service, which serves others besides.
MOST_PORTS = 1000
# One, or a range of them; images say both, and some leave the protocol out.
_EXPOSED = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/([a-z]+))?")
_PROTOCOLS = {
    container_pb2.PROTOCOL_TCP: network_pb2.PROTOCOL_TCP,
    container_pb2.PROTOCOL_UDP: network_pb2.PROTOCOL_UDP,
}
_OWN_PROTOCOLS = {theirs: own for own, theirs in _PROTOCOLS.items()}
_NAMES = {"tcp": container_pb2.PROTOCOL_TCP, "udp": container_pb2.PROTOCOL_UDP}


def validate_ports(spec: container_pb2.ContainerSpec) -> None:
    """Return when the ports that a specification names can be published.

    Raises InvalidArgument (INVALID_SPEC), and NotImplementedYet (OPTION_NOT_IMPLEMENTED) where all
    exposed ports are to be published and one is of a protocol that isn't there.
    """
    for binding in spec.port_bindings:
        first, last = binding.host_port_start, binding.host_port_end or binding.host_port_start
        if binding.protocol not in _PROTOCOLS:
            raise _invalid("a published port is of TCP or UDP")
        if not 1 <= binding.container_port <= LAST_PORT:
            raise _invalid(f"invalid port specification: {binding.container_port}")
        if not first <= last <= LAST_PORT or (last and not first):
            raise _invalid(f"invalid port specification: {first}-{last}")
        try:
            if binding.host_address:
                IPv4Address(binding.host_address)
        except AddressValueError as error:
            raise _invalid(f"invalid IP address: {binding.host_address}") from error
    wanted_bindings(spec)


def wanted_bindings(spec: container_pb2.ContainerSpec) -> list[container_pb2.PortBinding]:
    """Return the ports to publish: those asked for by number, and all exposed ones where wanted.

    An exposed port that is asked for by number is published there alone.
    """
    bindings = list(spec.port_bindings)
    if len(bindings) > MOST_PORTS:
        raise _too_many()
    if not spec.publish_all_ports:
        return bindings
    named = {(binding.container_port, binding.protocol) for binding in bindings}
    for text in spec.exposed_ports:
        ports, name = _exposed(text)
        protocol = _NAMES.get(name)
        if protocol is None:
            what = f"published ports of {name}"
            raise NotImplementedYet(f"{what}: not implemented", option=what)
        for port in ports:
            if (port, protocol) not in named:
                if len(bindings) == MOST_PORTS:
                    raise _too_many()
                named.add((port, protocol))
                bindings.append(container_pb2.PortBinding(container_port=port, protocol=protocol))
    return bindings


def _exposed(text: str) -> tuple[range, str]:
    """Return the ports and the protocol of what is exposed. Raises InvalidArgument."""
    found = _EXPOSED.fullmatch(text)
    if found is None:
        raise _invalid(f"invalid port specification: {text}")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= LAST_PORT:
        raise _invalid(f"invalid port specification: {text}")
    return range(first, last + 1), found[3] or "tcp"


def _asked(spec: container_pb2.ContainerSpec) -> list[network_pb2.ExposedPort]:
    """Return what the caller exposed, as far as it is a port of a protocol that is there."""
    exposed = [_exposed(text) for text in spec.asked_ports if _EXPOSED.fullmatch(text)]
    return [
        network_pb2.ExposedPort(port=port, protocol=_PROTOCOLS[_NAMES[name]])
        for ports, name in exposed
        if name in _NAMES
        for port in ports
    ][:MOST_PORTS]


async def publish(peers: Peers, record: Record) -> tuple[container_pb2.PortBinding, ...]:
    """Publish a container's ports; return them with what was given.

    Idempotent. What network refuses is passed on; then nothing is open. Unbind takes it back.
    """
    wishes = [
        network_pb2.PublishedPort(
            container_port=binding.container_port,
            protocol=_PROTOCOLS[binding.protocol],
            host_address=binding.host_address,
            host_port_start=binding.host_port_start,
            host_port_end=binding.host_port_end,
        )
        for binding in wanted_bindings(record.spec)
    ]
    # To expose a port opens it on external networks alone.
    external = any(endpoint.external for endpoint in record.endpoints)
    exposed = _asked(record.spec) if external else []
    if not wishes and not exposed:
        return ()
    request = network_pb2.PublishRequest(container_id=record.id, ports=wishes, exposed=exposed)
    response = await peers.network.Publish(request)
    return tuple(
        container_pb2.PortBinding(
            container_port=port.container_port,
            protocol=_OWN_PROTOCOLS[port.protocol],
            host_address=port.host_address,
            host_port_start=port.host_port,
            host_port_end=port.host_port,
        )
        for port in response.ports
    )


def _too_many() -> InvalidArgument:
    return _invalid(f"a container has at most {MOST_PORTS} published ports")


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_SPEC)

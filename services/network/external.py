"""External networks: what may be asked for, and how containers' ports are opened on them.

A container on such a network has an address of the network's own, and nothing is translated: a port
is open at that address, or it isn't.

Source: "external network" and the trust levels of the documents of vSphere Integrated Containers
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from portlayer.errors import FailedPrecondition, InvalidArgument, Reason
from services.network.drivers import Level, Transport
from services.network.model import External, Network

ADMITTING = frozenset({Level.PUBLISHED, Level.OPEN})
"""Levels at which somebody outside can begin to speak to a container."""


Address = IPv4Address | IPv6Address

ANYWHERE: frozenset[Address | None] = frozenset({None, IPv4Address(0), IPv6Address(0)})
"""What to publish a port at is no other address than the container's own."""


@dataclass(frozen=True)
class PortWish:
    """A port that a container wants to be reached by."""

    transport: Transport
    port: int
    """The container's."""
    host_address: Address | None = None
    """None means where the network publishes."""
    first: int = 0
    last: int = 0
    """Range of host ports; zeros mean any free one."""


def problems(external: External, complete: bool) -> list[str]:
    """Return what can't be right of an external network's plan, in sentences.

    `complete` tells whether subnets and gateways were named, which are nobody's here to choose.
    """
    found = []
    if not complete:
        found.append("an external network needs its subnet and gateway, of each version of IP")
    if not external.parent:
        found.append("an external network needs its parent")
    return found + [
        f"invalid name server {server}: no host that containers could reach"
        for server in external.resolvers
        if server.is_loopback or server.is_unspecified or server.is_multicast
    ]


def check_admits(network: Network, failure: str) -> None:
    """Return when a port can be published on a network.

    `failure` is how the refusal begins: FailedPrecondition (WRONG_STATE).
    """
    external = network.external
    if external is not None and external.level not in ADMITTING:
        raise FailedPrecondition(
            f"{failure}: the firewall level of external network {network.name} is "
            f"{external.level}, which lets nobody in",
            Reason.WRONG_STATE,
        )


def check_same_port(network: Network, own: Sequence[Address], wish: PortWish, failure: str) -> None:
    """Return when a container's port can be had under the number that is wished for.

    `own` are its addresses there. Raises InvalidArgument (INVALID_ADDRESS).
    """
    elsewhere = wish.host_address not in ANYWHERE and wish.host_address not in own
    if elsewhere or (wish.first and not wish.first <= wish.port <= wish.last):
        where = f"{wish.host_address}:{wish.first}" if elsewhere else f"{wish.first}"
        raise InvalidArgument(
            f"{failure}: configuration error: port {wish.port} can't be mapped to {where} on "
            f"external network {network.name}, where the container has an address of its own: "
            f"publish {wish.port} or {wish.port}:{wish.port}",
            Reason.INVALID_ADDRESS,
        )

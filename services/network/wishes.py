"""Wishes of containers for their networks: what is refused, in dockerd's words."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address

from portlayer.errors import AlreadyExists, InvalidArgument, Reason
from services.network.model import Endpoint, Network, Wish
from services.network.names.answers import serves


@contextmanager
def saying(beginning: str) -> Iterator[None]:
    """Begin what is said of an invalid wish as dockerd does."""
    try:
        yield
    except InvalidArgument as error:
        raise InvalidArgument(beginning + error.message, error.reason) from error


def check_cards(endpoints: Sequence[Endpoint]) -> None:
    """Refuse a container two cards that look the same to its guest, and none beside another."""
    macs = [endpoint.mac for endpoint in endpoints if endpoint.mac is not None]
    twice = next((mac for mac in macs if macs.count(mac) > 1), None)
    if twice is not None:
        raise AlreadyExists(
            f"MAC address {twice} is already in use by this container", Reason.ADDRESS_IN_USE
        )
    if len(endpoints) > 2 and len(macs) < len(endpoints):
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode",
            Reason.INVALID_NETWORK,
        )


def check_none(wish: Wish) -> None:
    """Refuse what nobody can have who is in no network."""
    if wish.ipv4 or wish.ipv6 or wish.mac or wish.aliases:
        raise InvalidArgument(
            "a container on network none has no address and no alias", Reason.INVALID_ADDRESS
        )


def check_wish(network: Network, wish: Wish) -> None:
    """Refuse what Docker refuses, in its words."""
    if (wish.ipv4 or wish.ipv6) and network.predefined:
        raise InvalidArgument(
            "user specified IP address is supported on user defined networks only",
            Reason.INVALID_ADDRESS,
        )
    named6 = network.pool6 is not None and network.pool6.own_subnet
    if (wish.ipv4 and not network.own_subnet) or (wish.ipv6 and not named6):
        raise InvalidArgument(
            "user specified IP address is supported only when connecting to networks with user "
            "configured subnets",
            Reason.INVALID_ADDRESS,
        )
    if wish.aliases and network.predefined and not network.management:
        raise InvalidArgument(
            "network-scoped alias is supported only for containers in user defined networks",
            Reason.INVALID_NETWORK,
        )


def check_resolvers(
    networks: Sequence[Network], resolvers: Sequence[IPv4Address | IPv6Address]
) -> None:
    """Refuse a container's own loopback where the host's name server would ask in its place."""
    for address in resolvers:
        if address.is_loopback and any(map(serves, networks)):
            raise InvalidArgument(
                f"name server {address}: on a network that has a name server of its own, that "
                "one asks in the container's place, and can't reach the container's loopback",
                Reason.INVALID_ADDRESS,
            )

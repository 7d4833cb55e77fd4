"""What a container's wishes for ports come to: which addresses of the host lead where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from portlayer.errors import FailedPrecondition, InvalidArgument, NotImplementedYet, Reason
from services.network import external
from services.network.drivers import Transport
from services.network.external import PortWish
from services.network.model import Endpoint, Network, Reservation
from services.network.networks import Networks
from services.network.options import ANY_ADDRESS
from services.network.ways import default_endpoint

SHORT_ID_CHARACTERS = 12
ANY_ADDRESS6 = IPv6Address(0)

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Opening:
    """A port that is to lead to a container, under one number wherever it does."""

    transport: Transport
    port: int
    ways: tuple[tuple[Address, Address], ...]
    """Addresses of the host, each with the container's that it leads to."""
    first: int = 0
    last: int = 0


class Openings:
    """Says where ports are to be."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    async def of(
        self,
        reservation: Reservation,
        wishes: Sequence[PortWish],
        exposed: Sequence[tuple[Transport, int]],
    ) -> list[Opening]:
        """Return what a container's wishes come to.

        Raises InvalidArgument (INVALID_ADDRESS), NotImplementedYet, and FailedPrecondition
        (WRONG_STATE) for a container that no network leads to, or that one lets nobody reach.
        """
        return [
            *await self._on_the_host(reservation, wishes),
            *self._on_external_networks(reservation, wishes, exposed),
        ]

    async def _on_the_host(
        self, reservation: Reservation, wishes: Sequence[PortWish]
    ) -> list[Opening]:
        """Return which ports of the host are to lead to a container, by its first network.

        Where that is an external one, none is; then this only refuses what can't be there.
        """
        if not wishes:
            return []
        network, endpoint = self._target(reservation)
        failure = failure_of(reservation)
        if network.external is not None:
            external.check_admits(network, failure)
            own = [address for address in (endpoint.ipv4, endpoint.ipv6) if address is not None]
            for wish in wishes:
                external.check_same_port(network, own, wish, failure)
            return []
        usual = ANY_ADDRESS
        if any(wish.host_address is None for wish in wishes):
            usual = await self._networks.publishing.host_address(network)
        return [
            Opening(
                *(wish.transport, wish.port, _ways(wish, endpoint, usual, failure)),
                *(wish.first, wish.last),
            )
            for wish in wishes
        ]

    def _on_external_networks(
        self,
        reservation: Reservation,
        wishes: Sequence[PortWish],
        exposed: Sequence[tuple[Transport, int]],
    ) -> list[Opening]:
        """Return which ports are to be open at a container's own addresses."""
        ports = dict.fromkeys([*((wish.transport, wish.port) for wish in wishes), *exposed])
        return [
            Opening(transport, port, ((address, address),), port, port)
            for address in self._admitting(reservation)
            for transport, port in ports
        ]

    def _admitting(self, reservation: Reservation) -> Iterator[Address]:
        """Yield a container's addresses where somebody outside may reach it."""
        for endpoint in reservation.endpoints:
            outer = self._networks.get(endpoint.network_id).external
            if outer is not None and outer.level in external.ADMITTING:
                yield from (own for own in (endpoint.ipv4, endpoint.ipv6) if own is not None)

    def _target(self, reservation: Reservation) -> tuple[Network, Endpoint]:
        """Return the network that leads to a container from outside, and its place there."""
        endpoint = default_endpoint(reservation, self._networks.get)
        if endpoint is not None:
            return self._networks.get(endpoint.network_id), endpoint
        raise FailedPrecondition(
            f"{failure_of(reservation)}: it is in no network that can be reached from outside",
            Reason.WRONG_STATE,
        )


def _ways(
    wish: PortWish, endpoint: Endpoint, usual: IPv4Address, failure: str
) -> tuple[tuple[Address, Address], ...]:
    """Return where a port is to be, and to which address it leads from there.

    Who names no address has it at all of the host's, those of IPv6 as well where the container has
    IPv6. Raises InvalidArgument (INVALID_ADDRESS) and NotImplementedYet.
    """
    where = wish.host_address
    assert endpoint.ipv4 is not None
    if isinstance(where, IPv6Address):
        if where.is_loopback:
            # Where bridged frames pass its IP hooks, the kernel translates an answer back to ::1
            # on the bridge, and drops it one step later for coming from outside (ip6_rcv_core).
            raise NotImplementedYet(
                f"{failure}: ports published on ::1 are not implemented, as the kernel leads no "
                "answer to that address; publish on 127.0.0.1"
            )
        if endpoint.ipv6 is None:
            raise InvalidArgument(
                f"{failure}: no port can be published on {where}: the container has no IPv6 "
                "address",
                Reason.INVALID_ADDRESS,
            )
        return ((where, endpoint.ipv6),)
    four: tuple[Address, Address] = (usual if where is None else where, endpoint.ipv4)
    if where is None and usual == ANY_ADDRESS and endpoint.ipv6 is not None:
        return four, (ANY_ADDRESS6, endpoint.ipv6)
    return (four,)


def failure_of(reservation: Reservation) -> str:
    """Return how Docker's messages about ports that can't be published begin."""
    name = reservation.container_name or reservation.container_id[:SHORT_ID_CHARACTERS]
    endpoint = reservation.endpoints[-1].id
    return (
        "failed to set up container networking: driver failed programming external connectivity "
        f"on endpoint {name} ({endpoint})"
    )

"""Who asks a name server: what the owner of an address is to be told."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

from services.network.endpoints import Endpoints
from services.network.model import Network, Reservation
from services.network.networks import Networks


class Askers:
    """Members of networks, known by the addresses from which they ask."""

    def __init__(self, networks: Networks, endpoints: Endpoints) -> None:
        self._networks = networks
        self._endpoints = endpoints

    def networks_of(self, network: Network, address: IPv4Address) -> list[Network]:
        """Return the networks that the owner of an address in one network is in.

        That network comes first, and is the only one where the address is nobody's.
        """
        reservation = self._owner(network, address)
        endpoints = () if reservation is None else reservation.endpoints
        others = [self._networks.get(endpoint.network_id) for endpoint in endpoints]
        return [
            network,
            *(o for o in others if o.id != network.id and not o.predefined and not o.management),
        ]

    def links_of(
        self, network: Network, address: IPv4Address
    ) -> Mapping[str, Sequence[tuple[Network, str]]]:
        """Return what the owner of an address alone calls others: their networks and names."""
        reservation = self._owner(network, address)
        found: dict[str, list[tuple[Network, str]]] = {}
        if reservation is None:
            return found
        for wish, endpoint in zip(reservation.wishes, reservation.endpoints[1:], strict=True):
            for link in wish.links:
                target, _, alias = link.partition(":")
                there = self._networks.get(endpoint.network_id), target
                found.setdefault(alias.lower(), []).append(there)
        return found

    def resolvers_of(
        self, network: Network, address: IPv4Address
    ) -> Sequence[IPv4Address | IPv6Address]:
        """Return the name servers that the owner of an address has of its own; none: the host's."""
        reservation = self._owner(network, address)
        return () if reservation is None else reservation.resolvers

    def _owner(self, network: Network, address: IPv4Address) -> Reservation | None:
        owner = self._endpoints.directory.owner(network.id, address)
        return None if owner is None else self._endpoints.find(owner.container_id)

"""Which names containers have in the networks that they are in.

Source: https://docs.docker.com/engine/network/#dns-services
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from services.network.model import Endpoint, Reservation

SHORT_ID_CHARACTERS = 12

Members = dict[str, dict[str, Endpoint]]
"""Endpoints by their ID, by a name in lower case."""


@dataclass
class _Names:
    """The names of one network."""

    members: Members = field(default_factory=dict)
    addresses: dict[IPv4Address | IPv6Address, Endpoint] = field(default_factory=dict)
    proper: dict[str, str] = field(default_factory=dict)
    """Container's own name, by its endpoint's ID."""


class Directory:
    """The names of all containers, by network.

    Nobody is found who does not run: an address without a machine behind it helps nobody.
    """

    def __init__(self, runs: Callable[[Endpoint], bool]) -> None:
        self._runs = runs
        self._networks: dict[str, _Names] = {}

    def add(self, reservation: Reservation) -> None:
        """Take a container's names in."""
        for endpoint in reservation.endpoints:
            if endpoint.ipv4 is None:
                continue
            names = self._networks.setdefault(endpoint.network_id, _Names())
            names.addresses[endpoint.ipv4] = endpoint
            names.proper[endpoint.id] = reservation.container_name
            for name in names_of(reservation, endpoint):
                names.members.setdefault(name, {})[endpoint.id] = endpoint

    def remove(self, reservation: Reservation) -> None:
        """Take a container's names out."""
        for endpoint in reservation.endpoints:
            names = self._networks.get(endpoint.network_id)
            if names is None or endpoint.ipv4 is None:
                continue
            names.addresses.pop(endpoint.ipv4, None)
            names.proper.pop(endpoint.id, None)
            for name in names_of(reservation, endpoint):
                members = names.members.get(name, {})
                members.pop(endpoint.id, None)
                if not members:
                    names.members.pop(name, None)
            if not names.addresses:
                del self._networks[endpoint.network_id]

    def addresses(self, network_id: str, name: str) -> list[IPv4Address]:
        """Return the addresses of a name, which is in lower case; none where nobody has it."""
        names = self._networks.get(network_id)
        if names is None:
            return []
        return [
            endpoint.ipv4
            for endpoint in names.members.get(name, {}).values()
            if endpoint.ipv4 is not None and self._runs(endpoint)
        ]

    def name(self, network_id: str, address: IPv4Address | IPv6Address) -> str | None:
        """Return the name of the container that has an address."""
        endpoint = self.owner(network_id, address)
        if endpoint is None or not self._runs(endpoint):
            return None
        return (
            self._networks[network_id].proper[endpoint.id]
            or endpoint.container_id[:SHORT_ID_CHARACTERS]
        )

    def owner(self, network_id: str, address: IPv4Address | IPv6Address) -> Endpoint | None:
        """Return the endpoint that has an address."""
        names = self._networks.get(network_id)
        return None if names is None else names.addresses.get(address)


def names_of(reservation: Reservation, endpoint: Endpoint) -> Iterator[str]:
    """Yield what a container is called in a network, each once and in lower case."""
    names = (
        reservation.container_name,
        reservation.container_id[:SHORT_ID_CHARACTERS],
        reservation.hostname,
        *endpoint.aliases,
    )
    yield from dict.fromkeys(name.lower().rstrip(".") for name in names if name)

"""What happens to networks, as Docker tells it.

A container is *connected* from the moment its taps are on their bridges until they are taken off,
or its VM has ended. Who is connected is not in the database, for the platform knows it; that an end
came while this service was away is found by what was told last.
"""

from collections.abc import Callable, Collection, Mapping

from vic.network.v1 import network_pb2 as pb

from portlayer.journal import Journal
from services.network.model import Endpoint, Kind, Network

# Docker's names of drivers.
_TYPES = {Kind.BRIDGE: "bridge", Kind.NONE: "null", Kind.EXTERNAL: "bridge"}


class Happenings:
    """Tells each change once."""

    def __init__(self, journal: Journal, network_of: Callable[[str], Network]) -> None:
        """`network_of` gives the network of an ID."""
        self.journal = journal
        self._network_of = network_of
        # Pairs of container and network.
        self._connected: set[tuple[str, str]] = set()

    def load(self, endpoints: Collection[Endpoint], attached: Callable[[Endpoint], bool]) -> None:
        """Take up who is connected, of all the endpoints there are."""
        last: dict[tuple[str, str], bool] = {}
        for entry in self.journal:
            if entry.kind in (pb.EVENT_KIND_CONNECT, pb.EVENT_KIND_DISCONNECT):
                pair = entry.attributes.get("container", ""), entry.actor
                last[pair] = entry.kind == pb.EVENT_KIND_CONNECT
        self._connected = {
            _pair(endpoint)
            for endpoint in endpoints
            if not self._hidden(endpoint) and last.get(_pair(endpoint), attached(endpoint))
        }

    def created(self, network: Network) -> None:
        """Tell that a network was made."""
        self._tell(pb.EVENT_KIND_CREATE, network)

    def destroyed(self, network: Network) -> None:
        """Tell that a network was removed."""
        self._tell(pb.EVENT_KIND_DESTROY, network)

    def pruned(self) -> None:
        """Tell that the networks that nobody used were removed."""
        self.journal.add(pb.EVENT_KIND_PRUNE, "", {"reclaimed": "0"})

    def connected(self, endpoints: Collection[Endpoint]) -> None:
        """Tell that endpoints of a container are in use; those that were are not told again."""
        for endpoint in endpoints:
            if not self._hidden(endpoint) and _pair(endpoint) not in self._connected:
                self._connected.add(_pair(endpoint))
                network = self._network_of(endpoint.network_id)
                self._tell(pb.EVENT_KIND_CONNECT, network, container=endpoint.container_id)

    def disconnected(self, endpoints: Collection[Endpoint]) -> None:
        """Tell that endpoints of a container are no longer in use."""
        for endpoint in endpoints:
            if _pair(endpoint) in self._connected:
                self._connected.discard(_pair(endpoint))
                network = self._network_of(endpoint.network_id)
                self._tell(pb.EVENT_KIND_DISCONNECT, network, container=endpoint.container_id)

    def _hidden(self, endpoint: Endpoint) -> bool:
        return self._network_of(endpoint.network_id).management

    def _tell(self, kind: int, network: Network, **attributes: str) -> None:
        kind_of = _TYPES.get(network.kind, network.kind.value)
        named: Mapping[str, str] = {"name": network.name, "type": kind_of}
        self.journal.add(kind, network.id, {**attributes, **named})


def _pair(endpoint: Endpoint) -> tuple[str, str]:
    return endpoint.container_id, endpoint.network_id

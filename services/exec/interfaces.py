"""What a container's interfaces are called inside of it."""

from collections.abc import Iterable, Mapping

from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2

Names = Mapping[str, str]
"""Names of interfaces, by the IDs of their endpoints."""


def interface_names(endpoints: Iterable[network_pb2.Endpoint], known: Names | None = None) -> Names:
    """Return what the interfaces of endpoints are called: eth0, eth1 … in their order.

    Those that are known keep their names, as a container that runs wants it; new ones get the first
    that are free. An endpoint in network none has no interface.
    """
    shown = [e.id for e in endpoints if not e.management and e.mac_address]
    names = {endpoint: name for endpoint, name in (known or {}).items() if endpoint in shown}
    free = (name for number in range(len(shown)) if (name := f"eth{number}") not in names.values())
    # The number of those that are free is worked out before any is given.
    names.update(zip([e for e in shown if e not in names], list(free), strict=False))
    return names


def known_names(endpoints: Iterable[container_pb2.ContainerEndpoint]) -> Names:
    """Return what the interfaces of a running container are called."""
    return {e.endpoint_id: e.interface_name for e in endpoints if e.interface_name}

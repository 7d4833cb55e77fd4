"""Which way out of a container's networks its packets take, and which way in leads to it."""

from collections.abc import Callable

from services.network.model import Endpoint, Network, Reservation


def default_endpoint(
    reservation: Reservation, network_of: Callable[[str], Network]
) -> Endpoint | None:
    """Return the endpoint with a container's default route; None where no network leads out.

    Docker's order: the highest gateway priority first, then the networks' names.
    Source: moby, daemon/libnetwork/endpoint.go (Endpoint.Less), from Docker 28 on.
    """

    def rank(endpoint: Endpoint) -> tuple[int, str]:
        wish = reservation.wish_of(endpoint)
        priority = 0 if wish is None else wish.gateway_priority
        return -priority, network_of(endpoint.network_id).name

    leading = []
    for endpoint in reservation.endpoints:
        network = network_of(endpoint.network_id)
        if endpoint.ipv4 is not None and not network.management and not network.internal:
            leading.append(endpoint)
    return min(leading, key=rank, default=None)

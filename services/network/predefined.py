"""The networks that are there without anybody's asking."""

import secrets
from datetime import UTC, datetime

from services.network.drivers import MANAGEMENT_ORDINAL
from services.network.model import Kind, Network, Pool

DEFAULT_NETWORK = "bridge"
DEFAULT_ORDINAL = 0
NO_NETWORK = "none"
MANAGEMENT_NETWORK = "(management)"
"""No user can give a network this name, nor find one by it."""


def default_network(pool: Pool) -> Network:
    """Return the bridge network of containers that name none."""
    return _predefined(DEFAULT_NETWORK, Kind.BRIDGE, DEFAULT_ORDINAL, pool)


def no_network() -> Network:
    """Return the network of those who are in none."""
    return _predefined(NO_NETWORK, Kind.NONE, None, None)


def management_network(pool: Pool) -> Network:
    """Return the network of the tethers."""
    return _predefined(MANAGEMENT_NETWORK, Kind.BRIDGE, MANAGEMENT_ORDINAL, pool)


def _predefined(name: str, kind: Kind, ordinal: int | None, pool: Pool | None) -> Network:
    return Network(
        id=secrets.token_hex(32),
        name=name,
        kind=kind,
        ordinal=ordinal,
        pool=pool,
        created_at=datetime.now(UTC),
        predefined=True,
    )

"""Rows of the network service's tables, and what they mean to it."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from services.network.drivers import Forward, Level, Transport
from services.network.model import (
    Endpoint,
    External,
    Kind,
    Network,
    Pool,
    Pool6,
    Reservation,
    Wish,
)

Row = Mapping[Any, Any]
"""Values by name of column."""


def forward_rows(container_id: str, forwards: Iterable[Forward]) -> list[dict[str, Any]]:
    """Return rows of published ports, in their order."""
    return [
        {
            "container_id": container_id,
            "position": position,
            "transport": forward.transport.value,
            "host_address": str(forward.host_address),
            "host_port": forward.host_port,
            "address": str(forward.address),
            "port": forward.port,
        }
        for position, forward in enumerate(forwards)
    ]


def network_row(network: Network) -> dict[str, Any]:
    """Return a network's row, without its pools."""
    return {
        "id": network.id,
        "name": network.name,
        "kind": network.kind.value,
        "ordinal": network.ordinal,
        "internal": network.internal,
        "attachable": network.attachable,
        "predefined": network.predefined,
        "own_subnet": network.own_subnet,
        "labels": dict(network.labels),
        "options": dict(network.options),
        "external": None if network.external is None else external_value(network.external),
        "created_at": network.created_at,
    }


def read_network(row: Row, pool6: Pool6 | None) -> Network:
    """Return a network from its row joined with that of its IPv4 pool."""
    return Network(
        id=row["id"],
        name=row["name"],
        kind=Kind(row["kind"]),
        ordinal=row["ordinal"],
        pool=read_pool(row) if row["subnet"] is not None else None,
        created_at=read_moment(row["created_at"]),
        internal=row["internal"],
        attachable=row["attachable"],
        predefined=row["predefined"],
        own_subnet=row["own_subnet"],
        labels=row["labels"],
        options=row["options"],
        external=None if row["external"] is None else read_external(row["external"]),
        pool6=pool6,
    )


def external_value(external: External) -> dict[str, Any]:
    """Return what the column for external networks holds."""
    return {
        "parent": external.parent,
        "level": external.level.value,
        "resolvers": [str(address) for address in external.resolvers],
        "publishes": external.publishes,
    }


def read_external(value: Mapping[str, Any]) -> External:
    """Return the same from the column."""
    return External(
        parent=value["parent"],
        level=Level(value["level"]),
        resolvers=tuple(ip_address(text) for text in value["resolvers"]),
        publishes=value["publishes"],
    )


def pool_row(pool: Pool | Pool6) -> dict[str, Any]:
    """Return a pool's row, without its network's ID, family and cursor."""
    return {
        "named": isinstance(pool, Pool6) and pool.own_subnet,
        "subnet": str(pool.subnet),
        "gateway": str(pool.gateway),
        "ip_range": None if pool.ip_range is None else str(pool.ip_range),
        "auxiliary": {name: str(address) for name, address in pool.auxiliary.items()},
    }


def read_pool(row: Row) -> Pool:
    """Return an IPv4 pool."""
    return Pool(
        subnet=IPv4Network(row["subnet"]),
        gateway=IPv4Address(row["gateway"]),
        ip_range=None if row["ip_range"] is None else IPv4Network(row["ip_range"]),
        auxiliary={name: IPv4Address(text) for name, text in row["auxiliary"].items()},
    )


def read_pool6(row: Row) -> Pool6:
    """Return an IPv6 pool."""
    return Pool6(
        subnet=IPv6Network(row["subnet"]),
        gateway=IPv6Address(row["gateway"]),
        ip_range=None if row["ip_range"] is None else IPv6Network(row["ip_range"]),
        auxiliary={name: IPv6Address(text) for name, text in row["auxiliary"].items()},
        own_subnet=row["named"],
    )


def endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint's row, without its position."""
    return {
        "id": endpoint.id,
        "container_id": endpoint.container_id,
        "network_id": endpoint.network_id,
        "port_name": endpoint.port_name,
        "mac": endpoint.mac,
        "ipv4": None if endpoint.ipv4 is None else str(endpoint.ipv4),
        "ipv6": None if endpoint.ipv6 is None else str(endpoint.ipv6),
        "aliases": list(endpoint.aliases),
    }


def read_endpoint(row: Row) -> Endpoint:
    """Return an endpoint."""
    return Endpoint(
        id=row["id"],
        container_id=row["container_id"],
        network_id=row["network_id"],
        port_name=row["port_name"],
        mac=row["mac"],
        ipv4=read_address(row["ipv4"]),
        aliases=tuple(row["aliases"]),
        ipv6=None if row["ipv6"] is None else IPv6Address(row["ipv6"]),
    )


def read_reservation(row: Row, endpoints: Iterable[Endpoint]) -> Reservation:
    """Return a reservation with its endpoints, which have rows of their own."""
    return Reservation(
        container_id=row["container_id"],
        container_name=row["container_name"],
        hostname=row["hostname"],
        wishes=tuple(read_wish(fields) for fields in row["wishes"]),
        endpoints=tuple(endpoints),
        created_at=read_moment(row["created_at"]),
        resolvers=tuple(ip_address(text) for text in row["resolvers"]),
    )


def read_wish(fields: Mapping[str, Any]) -> Wish:
    """Return a wish; what a former version did not write is empty."""
    lists = {name: tuple(fields.get(name, ())) for name in ("aliases", "links")}
    return Wish(**{**fields, **lists})


def read_forward(row: Row) -> Forward:
    """Return a published port."""
    return Forward(
        transport=Transport(row["transport"]),
        host_address=ip_address(row["host_address"]),
        host_port=row["host_port"],
        address=ip_address(row["address"]),
        port=row["port"],
    )


def read_address(text: str | None) -> IPv4Address | None:
    """Return an address, which is null where a container has none."""
    return None if text is None else IPv4Address(text)


def read_moment(value: datetime) -> datetime:
    """Return a moment with its zone, which SQLite doesn't keep."""
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)

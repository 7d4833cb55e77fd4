"""The network service's tables: networks, pools, reservations, endpoints."""

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from portlayer.neighbours import Connection
from portlayer.prepared import Prepared
from portlayer.store import Store, open_store
from services.network.drivers import Forward
from services.network.model import (
    Endpoint,
    Network,
    Pool,
    Reservation,
)
from services.network.rows import (
    endpoint_row,
    forward_rows,
    network_row,
    pool_row,
    read_address,
    read_endpoint,
    read_forward,
    read_network,
    read_pool6,
    read_reservation,
)

MIGRATIONS = Path(__file__).parent / "migrations"

IPV4 = 4
IPV6 = 6

_metadata = sa.MetaData()

# As the migrations leave them; the constraints are theirs.
_networks = sa.Table(
    "networks",
    _metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("kind", sa.Text),
    sa.Column("ordinal", sa.Integer),
    sa.Column("internal", sa.Boolean),
    sa.Column("attachable", sa.Boolean),
    sa.Column("predefined", sa.Boolean),
    sa.Column("own_subnet", sa.Boolean),
    sa.Column("labels", sa.JSON),
    sa.Column("options", sa.JSON),
    sa.Column("external", sa.JSON(none_as_null=True)),
    sa.Column("created_at", sa.DateTime(timezone=True)),
)
_pools = sa.Table(
    "pools",
    _metadata,
    sa.Column("network_id", sa.String, primary_key=True),
    sa.Column("family", sa.Integer, primary_key=True),
    sa.Column("subnet", sa.Text),
    sa.Column("gateway", sa.Text),
    sa.Column("ip_range", sa.Text),
    sa.Column("auxiliary", sa.JSON),
    sa.Column("cursor", sa.Text),
    sa.Column("named", sa.Boolean),
)
_reservations = sa.Table(
    "reservations",
    _metadata,
    sa.Column("container_id", sa.Text, primary_key=True),
    sa.Column("container_name", sa.Text),
    sa.Column("hostname", sa.Text),
    sa.Column("wishes", sa.JSON),
    sa.Column("resolvers", sa.JSON),
    sa.Column("created_at", sa.DateTime(timezone=True)),
)
_endpoints = sa.Table(
    "endpoints",
    _metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("container_id", sa.Text),
    sa.Column("network_id", sa.String),
    sa.Column("position", sa.Integer),
    sa.Column("port_name", sa.Text),
    sa.Column("mac", sa.Text),
    sa.Column("ipv4", sa.Text),
    sa.Column("ipv6", sa.Text),
    sa.Column("aliases", sa.JSON),
)


_published_ports = sa.Table(
    "published_ports",
    _metadata,
    sa.Column("container_id", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("transport", sa.Text),
    sa.Column("host_address", sa.Text),
    sa.Column("host_port", sa.Integer),
    sa.Column("address", sa.Text),
    sa.Column("port", sa.Integer),
)
_outside_aliases = sa.Table(
    "outside_aliases",
    _metadata,
    sa.Column("network_id", sa.String, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("address", sa.Text),
)

# Of each container's way in and out.
_ADD_RESERVATION = Prepared(sa.insert(_reservations))
_ADD_ENDPOINTS = Prepared(sa.insert(_endpoints))
_MOVE_CURSOR = Prepared(
    sa.update(_pools)
    .where(_pools.c.network_id == sa.bindparam("network"), _pools.c.family == IPV4)
    .values(cursor=sa.bindparam("reached"))
)
_REMOVE_ENDPOINTS = Prepared(
    sa.delete(_endpoints).where(_endpoints.c.container_id == sa.bindparam("gone"))
)
_CHANGE_WISHES = Prepared(
    sa.update(_reservations).where(_reservations.c.container_id == sa.bindparam("of"))
)
# With its endpoints and published ports (ON DELETE CASCADE).
_REMOVE_RESERVATION = Prepared(
    sa.delete(_reservations).where(_reservations.c.container_id == sa.bindparam("gone"))
)


class NetworkStore:
    """The service's database. Each method is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # A database has one writer at a time anyway. SQLite's other writers try again at intervals,
        # which makes a hundred of them five times slower than waiting here.
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, url: str) -> "NetworkStore":
        """Open the database and bring it up to date."""
        return cls(await open_store(url, MIGRATIONS))

    async def close(self) -> None:
        """Close all connections."""
        await self._store.close()

    async def networks(self) -> list[tuple[Network, IPv4Address | None, IPv6Address | None]]:
        """Return all networks in the order of their making, each with the last addresses given."""
        of_it = sa.and_(_pools.c.network_id == _networks.c.id, _pools.c.family == IPV4)
        query = (
            sa.select(_networks, _pools)
            .outerjoin(_pools, of_it)
            .order_by(_networks.c.created_at, _networks.c.name)
        )
        query6 = sa.select(_pools).where(_pools.c.family == IPV6)
        async with self._store.transaction() as connection:
            rows = (await connection.execute(query)).mappings().all()
            rows6 = (await connection.execute(query6)).mappings().all()
        six = {row["network_id"]: row for row in rows6}
        found = []
        for row in rows:
            row6 = six.get(row["id"])
            pool6 = None if row6 is None else read_pool6(row6)
            cursor6 = (
                None if row6 is None or row6["cursor"] is None else IPv6Address(row6["cursor"])
            )
            found.append((read_network(row, pool6), read_address(row["cursor"]), cursor6))
        return found

    async def add_network(self, network: Network) -> None:
        """Record a network. Raises sqlalchemy's IntegrityError when name or ID is taken."""
        async with self._writing, self._store.transaction() as connection:
            await connection.execute(sa.insert(_networks).values(network_row(network)))
            if network.pool is not None:
                row = {"network_id": network.id, "family": IPV4, **pool_row(network.pool)}
                await connection.execute(sa.insert(_pools).values(row))
            if network.pool6 is not None:
                row = {"network_id": network.id, "family": IPV6, **pool_row(network.pool6)}
                await connection.execute(sa.insert(_pools).values(row))

    async def change_pool(self, network_id: str, pool: Pool) -> None:
        """Give a network other addresses."""
        async with self._writing, self._store.transaction() as connection:
            await connection.execute(
                sa.update(_pools)
                .where(_pools.c.network_id == network_id, _pools.c.family == IPV4)
                .values({**pool_row(pool), "cursor": None})
            )

    async def remove_network(self, network_id: str, leaving: Iterable[Reservation] = ()) -> None:
        """Forget a network, its pool, and who outside has a name in it.

        ``leaving`` are those who were in it, without it.
        """
        async with self._writing, self._store.transaction() as connection:
            for reservation in leaving:
                await _write_members(connection, reservation)
            for table in (_pools, _outside_aliases):
                await connection.execute(sa.delete(table).where(table.c.network_id == network_id))
            await connection.execute(sa.delete(_networks).where(_networks.c.id == network_id))

    async def reservations(self) -> list[Reservation]:
        """Return all reservations."""
        async with self._store.transaction() as connection:
            heads = (await connection.execute(sa.select(_reservations))).mappings().all()
            query = sa.select(_endpoints).order_by(_endpoints.c.position)
            rows = (await connection.execute(query)).mappings().all()
        endpoints: dict[str, list[Endpoint]] = {}
        for row in rows:
            endpoints.setdefault(row["container_id"], []).append(read_endpoint(row))
        return [read_reservation(head, endpoints.get(head["container_id"], [])) for head in heads]

    async def add_reservation(
        self, reservation: Reservation, cursors: Mapping[str, IPv4Address]
    ) -> None:
        """Record a container's endpoints, and the last address given in each network."""
        head = {
            "container_id": reservation.container_id,
            "container_name": reservation.container_name,
            "hostname": reservation.hostname,
            "wishes": [vars(wish) for wish in reservation.wishes],
            "resolvers": [str(address) for address in reservation.resolvers],
            "created_at": reservation.created_at,
        }
        async with self._writing, self._store.transaction() as connection:
            await _ADD_RESERVATION.on(connection, [head])
            await _ADD_ENDPOINTS.on(connection, _endpoint_rows(reservation))
            await _write_cursors(connection, cursors)

    async def change_members(
        self, reservation: Reservation, cursors: Mapping[str, IPv4Address]
    ) -> None:
        """Record that a container is in other networks now, and the last addresses given there."""
        async with self._writing, self._store.transaction() as connection:
            await _write_members(connection, reservation)
            await _write_cursors(connection, cursors)

    async def merge(self, former_id: str, reservation: Reservation) -> None:
        """Record that a container has an endpoint of a reservation that ends by this."""
        async with self._writing, self._store.transaction() as connection:
            for remove in (_REMOVE_ENDPOINTS, _REMOVE_RESERVATION):
                await remove.on(connection, [{"gone": former_id}])
            await _write_members(connection, reservation)

    async def rename(self, container_id: str, name: str) -> None:
        """Record another name of a container."""
        async with self._writing, self._store.transaction() as connection:
            await connection.execute(
                sa.update(_reservations)
                .where(_reservations.c.container_id == container_id)
                .values(container_name=name)
            )

    async def change_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Record other port names and addresses of endpoints."""
        rows = [endpoint_row(endpoint) for endpoint in endpoints]
        async with self._writing, self._store.transaction() as connection:
            # In two steps, since a new value may be another row's old one.
            for row in rows:
                by_id = sa.update(_endpoints).where(_endpoints.c.id == row["id"])
                await connection.execute(
                    by_id.values(port_name=None, mac=None, ipv4=None, ipv6=None)
                )
            for row in rows:
                by_id = sa.update(_endpoints).where(_endpoints.c.id == row["id"])
                await connection.execute(by_id.values(row))

    async def remove_reservation(self, container_id: str) -> None:
        """Forget a container's endpoints, and its published ports with them."""
        async with self._writing, self._store.transaction() as connection:
            await _REMOVE_RESERVATION.on(connection, [{"gone": container_id}])

    async def forwards(self) -> dict[str, tuple[Forward, ...]]:
        """Return the published ports of all containers."""
        query = sa.select(_published_ports).order_by(_published_ports.c.position)
        async with self._store.transaction() as connection:
            rows = (await connection.execute(query)).mappings().all()
        found: dict[str, tuple[Forward, ...]] = {}
        for row in rows:
            found[row["container_id"]] = (*found.get(row["container_id"], ()), read_forward(row))
        return found

    async def add_forwards(self, container_id: str, forwards: Iterable[Forward]) -> None:
        """Record a container's published ports."""
        async with self._writing, self._store.transaction() as connection:
            await connection.execute(
                sa.insert(_published_ports), forward_rows(container_id, forwards)
            )

    async def change_forwards(self, container_id: str, forwards: Iterable[Forward]) -> None:
        """Record other published ports of a container, in the place of those that it had."""
        of_it = _published_ports.c.container_id == container_id
        async with self._writing, self._store.transaction() as connection:
            await connection.execute(sa.delete(_published_ports).where(of_it))
            await connection.execute(
                sa.insert(_published_ports), forward_rows(container_id, forwards)
            )

    async def remove_forwards(self, container_id: str) -> None:
        """Forget a container's published ports."""
        async with self._writing, self._store.transaction() as connection:
            await connection.execute(
                sa.delete(_published_ports).where(_published_ports.c.container_id == container_id)
            )

    async def outside_aliases(self) -> dict[str, dict[str, IPv4Address | IPv6Address]]:
        """Return the addresses of outside hosts by network and name."""
        async with self._store.transaction() as connection:
            rows = (await connection.execute(sa.select(_outside_aliases))).mappings().all()
        found: dict[str, dict[str, IPv4Address | IPv6Address]] = {}
        for row in rows:
            found.setdefault(row["network_id"], {})[row["name"]] = ip_address(row["address"])
        return found

    async def set_outside_alias(
        self, network_id: str, name: str, address: IPv4Address | IPv6Address
    ) -> None:
        """Record a name of an outside host, in the place of who had it."""
        row = {"network_id": network_id, "name": name, "address": str(address)}
        async with self._writing, self._store.transaction() as connection:
            await connection.execute(_of_alias(sa.delete(_outside_aliases), network_id, name))
            await connection.execute(sa.insert(_outside_aliases).values(row))

    async def remove_outside_alias(self, network_id: str, name: str) -> None:
        """Forget a name of an outside host."""
        async with self._writing, self._store.transaction() as connection:
            await connection.execute(_of_alias(sa.delete(_outside_aliases), network_id, name))


async def _write_members(connection: Connection, reservation: Reservation) -> None:
    container_id = reservation.container_id
    wishes = [vars(wish) for wish in reservation.wishes]
    await _CHANGE_WISHES.on(connection, [{"of": container_id, "wishes": wishes}])
    await _REMOVE_ENDPOINTS.on(connection, [{"gone": container_id}])
    await _ADD_ENDPOINTS.on(connection, _endpoint_rows(reservation))


async def _write_cursors(connection: Connection, cursors: Mapping[str, IPv4Address]) -> None:
    if cursors:
        moved = [{"network": id_, "reached": str(cursor)} for id_, cursor in cursors.items()]
        await _MOVE_CURSOR.on(connection, moved)


def _endpoint_rows(reservation: Reservation) -> list[dict[str, Any]]:
    return [
        {"position": position, **endpoint_row(endpoint)}
        for position, endpoint in enumerate(reservation.endpoints)
    ]


def _of_alias(statement: sa.Delete, network_id: str, name: str) -> sa.Delete:
    return statement.where(
        _outside_aliases.c.network_id == network_id, _outside_aliases.c.name == name
    )

"""Endpoints: the addresses of containers, from Reserve to Release, and their taps on bridges."""

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address

from portlayer.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    Reason,
)
from services.network.drivers import Driver, Port
from services.network.finish import finish
from services.network.ipam import mac_of, parse_ipv4, parse_ipv6, parse_mac
from services.network.model import Endpoint, Kind, Network, Reservation, Wish
from services.network.names.answers import serves
from services.network.names.directory import Directory
from services.network.networks import Networks
from services.network.store import NetworkStore
from services.network.turns import Turns

log = logging.getLogger("vic.network.endpoints")


class Endpoints:
    """All reservations. The database is the record; what is here is read from it at start.

    Work on one container goes one after the other; containers never wait for one another.
    """

    def __init__(self, store: NetworkStore, networks: Networks, driver: Driver) -> None:
        self._store = store
        self._networks = networks
        self._driver = driver
        self._reservations: dict[str, Reservation] = {}
        self._port_names: set[str] = set()
        self._macs: set[tuple[str, str]] = set()
        self._turns = Turns()
        self.directory = Directory(self.bound)
        networks.members = self

    async def load(self) -> None:
        """Read all reservations from the database; the networks must have been read before."""
        for reservation in await self._store.reservations():
            for endpoint in reservation.endpoints:
                if endpoint.ipv4 is not None:
                    pool = self._networks.addresses(self._networks.get(endpoint.network_id))
                    assert pool is not None
                    pool.hold(endpoint.ipv4)
                if endpoint.ipv6 is not None:
                    pool6 = self._networks.addresses6(self._networks.get(endpoint.network_id))
                    assert pool6 is not None
                    pool6.hold(endpoint.ipv6)
            self._keep(reservation)

    async def move_management(self) -> None:
        """Give all endpoints names and management addresses that fit the instance's new slot.

        Only while no container runs, which a change of the slot implies.
        """
        management = self._networks.management()
        pool = self._networks.addresses(management)
        assert pool is not None
        for reservation in list(self._reservations.values()):
            moved = []
            for endpoint in reservation.endpoints:
                name = None if endpoint.port_name is None else self._driver.port_name(endpoint.id)
                changed = replace(endpoint, port_name=name)
                if endpoint.network_id == management.id and endpoint.ipv4 is not None:
                    pool.give_back(endpoint.ipv4)
                    address = pool.take()
                    changed = replace(changed, ipv4=address, mac=mac_of(address))
                moved.append(changed)
            self._forget(reservation)
            self._keep(replace(reservation, endpoints=tuple(moved)))
        await self._store.change_endpoints(
            endpoint
            for reservation in self._reservations.values()
            for endpoint in reservation.endpoints
        )

    async def reserve(
        self,
        container_id: str,
        container_name: str,
        hostname: str,
        wishes: Sequence[Wish],
        resolvers: Sequence[IPv4Address | IPv6Address] = (),
    ) -> Reservation:
        """Give a container an endpoint on the management network and one for each wish.

        Idempotent on the container's ID with the same wishes; with others AlreadyExists
        (RESERVATION_EXISTS). See the contract for the other errors; nothing is given then.
        """
        async with self._turns.of(container_id):
            known = self._reservations.get(container_id)
            if known is not None:
                if (known.wishes, known.resolvers) != (tuple(wishes), tuple(resolvers)):
                    raise AlreadyExists(
                        f"container {container_id} has other endpoints", Reason.RESERVATION_EXISTS
                    )
                return known
            self._check_resolvers(wishes, resolvers)
            with ExitStack() as undo:
                endpoints = self._make(container_id, wishes, undo)
                reservation = Reservation(
                    container_id=container_id,
                    container_name=container_name,
                    hostname=hostname,
                    wishes=tuple(wishes),
                    endpoints=endpoints,
                    created_at=datetime.now(UTC),
                    resolvers=tuple(resolvers),
                )
                await finish(self._record(reservation, undo))
            return reservation

    async def connect(self, container_id: str, wish: Wish) -> Endpoint:
        """Give a container an endpoint in one more network; `bind` puts it on the wire.

        Idempotent with the same wish. Raises what `reserve` raises, NotFound (ENDPOINT_NOT_FOUND)
        and AlreadyExists (ENDPOINT_EXISTS); nothing is given then.
        """
        async with self._turns.of(container_id):
            reservation = self.get(container_id)
            network = self._networks.find(wish.network)
            known = reservation.endpoint_in(network.id)
            if known is not None:
                if reservation.wish_of(known) == wish:
                    return known
                raise AlreadyExists(
                    f"endpoint with name {reservation.container_name} already exists in network "
                    f"{network.name}",
                    Reason.ENDPOINT_EXISTS,
                )
            self._check_resolvers([wish], reservation.resolvers)
            with ExitStack() as undo:
                with _saying("invalid endpoint settings:\n"):
                    endpoint = self._endpoint(container_id, network, wish, undo)
                _check_cards((*reservation.endpoints, endpoint))
                await finish(self._change(reservation, reservation.joined(wish, endpoint), undo))
            return endpoint

    async def disconnect(self, container_id: str, reference: str) -> None:
        """Take a container out of a network, off its wire as well. Idempotent.

        Raises NotFound (ENDPOINT_NOT_FOUND, NETWORK_NOT_FOUND).
        """
        async with self._turns.of(container_id):
            reservation = self.get(container_id)
            network = self._networks.find(reference)
            endpoint = reservation.endpoint_in(network.id)
            if endpoint is None:
                return
            if endpoint.port_name is not None:
                await self._driver.detach([endpoint.port_name])
            self._networks.happenings.disconnected([endpoint])
            await finish(self._leave(reservation, endpoint))

    def active(self, network: Network) -> bool:
        """Tell whether a container runs in a network, or is about to."""
        return any(
            self.bound(endpoint) or self._turns.busy(endpoint.container_id)
            for endpoint in self.of_network(network)
        )

    def leave(self, network: Network) -> list[tuple[Reservation, Reservation]]:
        """Take a network that goes from all that are in it; returns them as they were and are."""
        changed = [
            (reservation, reservation.left(network.id))
            for reservation in self._reservations.values()
            if reservation.endpoint_in(network.id) is not None
        ]
        for former, left in changed:
            self._forget(former)
            self._keep(left)
        return changed

    def rejoin(self, changed: Sequence[tuple[Reservation, Reservation]]) -> None:
        """Undo `leave`, but for those that have changed since."""
        for former, left in changed:
            if self._reservations.get(left.container_id) is left:
                self._forget(left)
                self._keep(former)

    def get(self, container_id: str) -> Reservation:
        """Return a container's reservation. Raises NotFound (ENDPOINT_NOT_FOUND)."""
        try:
            return self._reservations[container_id]
        except KeyError:
            raise NotFound(
                f"container {container_id} has no endpoints", Reason.ENDPOINT_NOT_FOUND
            ) from None

    def container_ids(self) -> list[str]:
        """Return the IDs of all containers that have endpoints."""
        return list(self._reservations)

    def all(self) -> list[Endpoint]:
        """Return all endpoints there are."""
        return [e for reservation in self._reservations.values() for e in reservation.endpoints]

    def of_network(self, network: Network) -> list[Endpoint]:
        """Return the endpoints in a network."""
        return [
            endpoint
            for reservation in self._reservations.values()
            for endpoint in reservation.endpoints
            if endpoint.network_id == network.id
        ]

    def by_network(self) -> Mapping[str, Sequence[Endpoint]]:
        """Return the endpoints of all networks that have any, by the network's ID."""
        found: dict[str, list[Endpoint]] = {}
        for reservation in self._reservations.values():
            for endpoint in reservation.endpoints:
                found.setdefault(endpoint.network_id, []).append(endpoint)
        return found

    async def bind(self, container_id: str, *, management_only: bool = False) -> list[Endpoint]:
        """Connect a container's taps, or that of its management, to their networks. Idempotent.

        Returns whose taps these are. Raises NotFound (ENDPOINT_NOT_FOUND), FailedPrecondition
        (TAP_MISSING); nothing is connected then.
        """
        async with self._turns.of(container_id):
            reservation = self.get(container_id)
            management = self._networks.management().id
            endpoints = [
                endpoint
                for endpoint in reservation.endpoints
                if not management_only or endpoint.network_id == management
            ]
            await self._driver.attach(self._ports(endpoints))
            self._networks.happenings.connected(endpoints)
            return endpoints

    async def unbind(self, container_id: str) -> None:
        """Disconnect a container's taps, which may be gone already. Idempotent."""
        async with self._turns.of(container_id):
            await self._detach(container_id)

    async def rename(self, container_id: str, name: str) -> None:
        """Note a container's new name, which is found from now on. Idempotent.

        Raises NotFound (ENDPOINT_NOT_FOUND).
        """
        async with self._turns.of(container_id):
            reservation = self.get(container_id)
            if reservation.container_name != name:
                await finish(self._rename(reservation, name))

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
        owner = self.directory.owner(network.id, address)
        return None if owner is None else self._reservations.get(owner.container_id)

    async def release(self, container_id: str) -> None:
        """Give a container's addresses back. Idempotent."""
        async with self._turns.of(container_id):
            reservation = self._reservations.get(container_id)
            if reservation is None:
                return
            await self._detach(container_id)
            await finish(self._erase(reservation))

    def ports(self, reservations: Sequence[Reservation] | None = None) -> list[Port]:
        """Return what the platform has to provide for reservations, by default for all."""
        chosen = self._reservations.values() if reservations is None else reservations
        return self._ports(e for reservation in chosen for e in reservation.endpoints)

    def _ports(self, endpoints: Iterable[Endpoint]) -> list[Port]:
        found = []
        for endpoint in endpoints:
            network = self._networks.get(endpoint.network_id)
            if (
                endpoint.port_name
                and endpoint.mac
                and endpoint.ipv4
                and network.ordinal is not None
            ):
                level = None if network.external is None else network.external.level
                found.append(
                    Port(
                        endpoint.port_name,
                        network.ordinal,
                        endpoint.mac,
                        endpoint.ipv4,
                        level,
                        endpoint.ipv6,
                        endpoint.container_id,
                    )
                )
        return found

    def bound(self, endpoint: Endpoint) -> bool:
        """Tell whether an endpoint's tap is connected now."""
        return endpoint.port_name is not None and self._driver.attached(endpoint.port_name)

    async def _record(self, reservation: Reservation, undo: ExitStack) -> None:
        await self._store.add_reservation(reservation, self._cursors(reservation.endpoints))
        undo.pop_all()
        self._keep(reservation)

    async def _change(self, former: Reservation, now: Reservation, undo: ExitStack) -> None:
        await self._store.change_members(now, self._cursors(now.endpoints))
        undo.pop_all()
        self._forget(former)
        self._keep(now)

    async def _leave(self, reservation: Reservation, endpoint: Endpoint) -> None:
        left = reservation.left(endpoint.network_id)
        await self._store.change_members(left, {})
        self._forget(reservation)
        self._keep(left)
        self._give_back(endpoint)

    async def _rename(self, reservation: Reservation, name: str) -> None:
        await self._store.rename(reservation.container_id, name)
        self._forget(reservation)
        self._keep(replace(reservation, container_name=name))

    async def _erase(self, reservation: Reservation) -> None:
        await self._store.remove_reservation(reservation.container_id)
        self._forget(reservation)
        for endpoint in reservation.endpoints:
            self._give_back(endpoint)

    def _give_back(self, endpoint: Endpoint) -> None:
        network = self._networks.get(endpoint.network_id)
        pool = self._networks.addresses(network)
        if pool is not None and endpoint.ipv4 is not None:
            pool.give_back(endpoint.ipv4)
        pool6 = self._networks.addresses6(network)
        if pool6 is not None and endpoint.ipv6 is not None:
            pool6.give_back(endpoint.ipv6)

    async def _detach(self, container_id: str) -> None:
        reservation = self._reservations.get(container_id)
        if reservation is not None:
            await self._driver.detach([port.name for port in self.ports([reservation])])
            self._networks.happenings.disconnected(reservation.endpoints)

    def _check_resolvers(
        self, wishes: Sequence[Wish], resolvers: Sequence[IPv4Address | IPv6Address]
    ) -> None:
        """Refuse a container's own loopback where the host's name server would ask in its place."""
        networks = [self._networks.find(wish.network) for wish in wishes]
        for address in resolvers:
            if address.is_loopback and any(map(serves, networks)):
                raise InvalidArgument(
                    f"name server {address}: on a network that has a name server of its own, that "
                    "one asks in the container's place, and can't reach the container's loopback",
                    Reason.INVALID_ADDRESS,
                )

    def _make(
        self, container_id: str, wishes: Sequence[Wish], undo: ExitStack
    ) -> tuple[Endpoint, ...]:
        """Take names and addresses for all endpoints; `undo` gives them back."""
        networks = [self._networks.find(wish.network) for wish in wishes]
        if len({network.id for network in networks}) != len(networks):
            raise InvalidArgument("a container joins each network once", Reason.INVALID_NETWORK)
        pairs = [(self._networks.management(), Wish("")), *zip(networks, wishes, strict=True)]
        endpoints = []
        for network, wish in pairs:
            with _saying(
                f"invalid config for network {network.name}: invalid endpoint settings:\n"
            ):
                endpoints.append(self._endpoint(container_id, network, wish, undo))
        _check_cards(endpoints)
        return tuple(endpoints)

    def _endpoint(
        self, container_id: str, network: Network, wish: Wish, undo: ExitStack
    ) -> Endpoint:
        if network.kind is Kind.NONE:
            _check_none(wish)
            return Endpoint(secrets.token_hex(32), container_id, network.id, None, None, None)
        _check_wish(network, wish)
        pool = self._networks.addresses(network)
        assert pool is not None
        address = pool.take(parse_ipv4(wish.ipv4) if wish.ipv4 else None)
        undo.callback(pool.give_back, address)
        address6 = self._take6(network, wish, undo)
        mac = self._take_mac(network, parse_mac(wish.mac) if wish.mac else mac_of(address))
        undo.callback(self._macs.discard, (network.id, mac))
        endpoint_id, port_name = self._take_names()
        undo.callback(self._port_names.discard, port_name)
        return Endpoint(
            *(endpoint_id, container_id, network.id, port_name, mac, address, wish.aliases),
            ipv6=address6,
        )

    def _take6(self, network: Network, wish: Wish, undo: ExitStack) -> IPv6Address | None:
        pool = self._networks.addresses6(network)
        if pool is None:
            return None
        address = pool.take(parse_ipv6(wish.ipv6) if wish.ipv6 else None)
        undo.callback(pool.give_back, address)
        return address

    def _take_mac(self, network: Network, mac: str) -> str:
        assert network.pool is not None
        if (network.id, mac) in self._macs or mac == mac_of(network.pool.gateway):
            raise AlreadyExists(f"MAC address {mac} is already in use", Reason.ADDRESS_IN_USE)
        self._macs.add((network.id, mac))
        return mac

    def _take_names(self) -> tuple[str, str]:
        while True:
            endpoint_id = secrets.token_hex(32)
            name = self._driver.port_name(endpoint_id)
            if name not in self._port_names:
                self._port_names.add(name)
                return endpoint_id, name

    def _cursors(self, endpoints: Sequence[Endpoint]) -> Mapping[str, IPv4Address]:
        found = {}
        for endpoint in endpoints:
            pool = self._networks.addresses(self._networks.get(endpoint.network_id))
            if pool is not None:
                found[endpoint.network_id] = pool.cursor
        return found

    def _keep(self, reservation: Reservation) -> None:
        self._reservations[reservation.container_id] = reservation
        self.directory.add(reservation)
        for endpoint in reservation.endpoints:
            if endpoint.port_name is not None:
                self._port_names.add(endpoint.port_name)
            if endpoint.mac is not None:
                self._macs.add((endpoint.network_id, endpoint.mac))

    def _forget(self, reservation: Reservation) -> None:
        del self._reservations[reservation.container_id]
        self.directory.remove(reservation)
        for endpoint in reservation.endpoints:
            if endpoint.port_name is not None:
                self._port_names.discard(endpoint.port_name)
            if endpoint.mac is not None:
                self._macs.discard((endpoint.network_id, endpoint.mac))


@contextmanager
def _saying(beginning: str) -> Iterator[None]:
    """Begin what is said of an invalid wish as dockerd does."""
    try:
        yield
    except InvalidArgument as error:
        raise InvalidArgument(beginning + error.message, error.reason) from error


def _check_cards(endpoints: Sequence[Endpoint]) -> None:
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


def _check_none(wish: Wish) -> None:
    if wish.ipv4 or wish.ipv6 or wish.mac or wish.aliases:
        raise InvalidArgument(
            "a container on network none has no address and no alias", Reason.INVALID_ADDRESS
        )


def _check_wish(network: Network, wish: Wish) -> None:
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

"""Endpoints: the addresses of containers, from Reserve to Release, and their taps on bridges."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address

from portlayer.errors import AlreadyExists, InvalidArgument, NotFound, Reason
from portlayer.turns import Turns
from services.network.allotments import Allotments
from services.network.drivers import Driver, Port
from services.network.finish import finish
from services.network.ipam import mac_of
from services.network.model import Endpoint, Network, Reservation, Wish
from services.network.names.directory import Directory
from services.network.networks import Networks
from services.network.store import NetworkStore
from services.network.wishes import check_cards, check_resolvers, saying

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
        self._allotments = Allotments(networks, driver)
        self._turns = Turns()
        self.directory = Directory(self.bound)
        networks.members = self

    async def load(self) -> None:
        """Read all reservations from the database; the networks must have been read before."""
        for reservation in await self._store.reservations():
            for endpoint in reservation.endpoints:
                self._allotments.hold_addresses(endpoint)
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
            check_resolvers([self._networks.find(wish.network) for wish in wishes], resolvers)
            with ExitStack() as undo:
                endpoints = self._allotments.all(container_id, wishes, undo)
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
            check_resolvers([network], reservation.resolvers)
            with ExitStack() as undo:
                with saying("invalid endpoint settings:\n"):
                    endpoint = self._allotments.one(container_id, network, wish, undo)
                check_cards((*reservation.endpoints, endpoint))
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

    def find(self, container_id: str) -> Reservation | None:
        """Return a container's reservation, or None where it has none."""
        return self._reservations.get(container_id)

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

    async def bind(
        self, container_id: str, *, management_only: bool = False, management_of: str = ""
    ) -> list[Endpoint]:
        """Connect a container's taps, or that of its management, to their networks. Idempotent.

        With ``management_of`` its VM has the management endpoint of that reservation, which is the
        container's from then on. Returns whose taps these are. Raises NotFound
        (ENDPOINT_NOT_FOUND), FailedPrecondition (TAP_MISSING); nothing is connected then.
        """
        if management_of:
            async with self._turns.of(management_of), self._turns.of(container_id):
                await self._take_over(management_of, container_id)
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

    async def _take_over(self, former_id: str, container_id: str) -> None:
        """Make a reservation's management endpoint a container's, and end that reservation.

        Nothing to do where there is none: asked again, it is the container's already.
        """
        former = self._reservations.get(former_id)
        reservation = self.get(container_id)
        if former is None or former_id == container_id:
            return
        if former.wishes:
            raise InvalidArgument(f"{former_id} is in networks", Reason.INVALID_NETWORK)
        own, *others = reservation.endpoints
        (given,) = former.endpoints
        given = replace(given, container_id=container_id)
        now = replace(reservation, endpoints=(given, *others))
        if own.port_name is not None:
            await self._driver.detach([own.port_name])
        await finish(self._merge(former, reservation, now))

    async def _merge(self, former: Reservation, reservation: Reservation, now: Reservation) -> None:
        await self._store.merge(former.container_id, now)
        self._forget(former)
        self._forget(reservation)
        self._keep(now)
        self._allotments.give_back(reservation.endpoints[0])

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
        await self._store.add_reservation(
            reservation, self._allotments.cursors(reservation.endpoints)
        )
        undo.pop_all()
        self._keep(reservation)

    async def _change(self, former: Reservation, now: Reservation, undo: ExitStack) -> None:
        await self._store.change_members(now, self._allotments.cursors(now.endpoints))
        undo.pop_all()
        self._forget(former)
        self._keep(now)

    async def _leave(self, reservation: Reservation, endpoint: Endpoint) -> None:
        left = reservation.left(endpoint.network_id)
        await self._store.change_members(left, {})
        self._forget(reservation)
        self._keep(left)
        self._allotments.give_back(endpoint)

    async def _rename(self, reservation: Reservation, name: str) -> None:
        await self._store.rename(reservation.container_id, name)
        self._forget(reservation)
        self._keep(replace(reservation, container_name=name))

    async def _erase(self, reservation: Reservation) -> None:
        await self._store.remove_reservation(reservation.container_id)
        self._forget(reservation)
        for endpoint in reservation.endpoints:
            self._allotments.give_back(endpoint)

    async def _detach(self, container_id: str) -> None:
        reservation = self._reservations.get(container_id)
        if reservation is not None:
            await self._driver.detach([port.name for port in self.ports([reservation])])
            self._networks.happenings.disconnected(reservation.endpoints)

    def _keep(self, reservation: Reservation) -> None:
        self._reservations[reservation.container_id] = reservation
        self.directory.add(reservation)
        for endpoint in reservation.endpoints:
            self._allotments.keep(endpoint)

    def _forget(self, reservation: Reservation) -> None:
        del self._reservations[reservation.container_id]
        self.directory.remove(reservation)
        for endpoint in reservation.endpoints:
            self._allotments.forget(endpoint)

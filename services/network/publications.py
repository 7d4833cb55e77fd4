"""Published ports: which ports of the host lead to which container, from Publish to Unpublish."""

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from portlayer.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Reason
from services.network import external
from services.network.drivers import Driver, Forward, Transport
from services.network.endpoints import Endpoints
from services.network.external import PortWish
from services.network.finish import finish
from services.network.holds import Holds, free_ports
from services.network.model import Network, Reservation
from services.network.networks import Networks
from services.network.options import ANY_ADDRESS
from services.network.store import NetworkStore
from services.network.turns import Turns
from services.network.ways import default_endpoint

log = logging.getLogger("vic.network.publications")

SHORT_ID_CHARACTERS = 12


@dataclass(frozen=True)
class _Wanted:
    """A port that is to lead to one address of a container."""

    transport: Transport
    address: IPv4Address
    port: int
    host_address: IPv4Address
    first: int = 0
    last: int = 0


class Publications:
    """All published ports. The database is the record; what is here is read from it at start."""

    def __init__(
        self,
        store: NetworkStore,
        networks: Networks,
        endpoints: Endpoints,
        driver: Driver,
        ports: Callable[[], Sequence[int]] = free_ports,
    ) -> None:
        self._store = store
        self._networks = networks
        self._endpoints = endpoints
        self._driver = driver
        self._free_ports = ports
        self._holds = Holds()
        self._published: dict[str, tuple[Forward, ...]] = {}
        # Where the next search for a free port begins, so that a port that was just given back
        # rests for as long as possible.
        self._next = 0
        self._turns = Turns()

    async def load(self) -> None:
        """Read all published ports from the database, and hold them again."""
        self._published = await self._store.forwards()
        for forward in self.forwards():
            if forward.direct:
                continue
            try:
                self._holds.take(_place(forward))
            except OSError as error:
                # It was ours, and what comes to it is still led to its container.
                log.warning("port %s is another program's, too: %s", forward.host_port, error)

    def forwards(self) -> list[Forward]:
        """Return what the platform has to forward."""
        return [forward for found in self._published.values() for forward in found]

    def of(self, container_id: str) -> tuple[Forward, ...]:
        """Return a container's published ports."""
        return self._published.get(container_id, ())

    async def publish(
        self,
        container_id: str,
        wishes: Sequence[PortWish],
        exposed: Sequence[tuple[Transport, int]] = (),
    ) -> tuple[Forward, ...]:
        """Open ports that lead to a container; what it had before is closed.

        `exposed` is open on its external networks as well. A repeated call finds its ports as they
        are, and leads them to where the container's default route is now. Raises NotFound
        (ENDPOINT_NOT_FOUND), AlreadyExists (PORT_IN_USE), InvalidArgument (INVALID_ADDRESS),
        FailedPrecondition (WRONG_STATE) for a container that no network leads to, or that one lets
        nobody reach; nothing is opened then.
        """
        async with self._turns.of(container_id):
            reservation = self._endpoints.get(container_id)
            wanted = [
                *await self._on_the_host(reservation, wishes),
                *self._on_external_networks(reservation, wishes, exposed),
            ]
            known = self.of(container_id)
            if known and _fit(known, wanted):
                return await finish(self._lead(container_id, known, wanted))
            await self._unpublish(container_id)
            if not wanted:
                return ()
            async with AsyncExitStack() as undo:
                forwards = []
                for wish in wanted:
                    forward = self._open(reservation, wish)
                    undo.callback(self._holds.give_back, _place(forward))
                    forwards.append(forward)
                undo.push_async_callback(self._driver.forward, (), forwards)
                await self._driver.forward(forwards, ())
                await finish(self._record(container_id, tuple(forwards), undo))
            return tuple(forwards)

    async def unpublish(self, container_id: str) -> None:
        """Close a container's ports. Idempotent."""
        async with self._turns.of(container_id):
            await self._unpublish(container_id)

    def close(self) -> None:
        """Let go of the ports; what comes to them is led to the containers as before."""
        self._holds.close()

    async def _record(
        self, container_id: str, forwards: tuple[Forward, ...], undo: AsyncExitStack
    ) -> None:
        await self._store.add_forwards(container_id, forwards)
        undo.pop_all()
        self._published[container_id] = forwards

    async def _lead(
        self, container_id: str, known: tuple[Forward, ...], wanted: Sequence[_Wanted]
    ) -> tuple[Forward, ...]:
        """Let a container's ports lead to where they are to, under the numbers that they have."""
        led = tuple(
            replace(forward, address=wish.address)
            for forward, wish in zip(known, wanted, strict=True)
        )
        if led == known:
            return known
        await self._driver.forward(led, known)
        await self._store.change_forwards(container_id, led)
        self._published[container_id] = led
        return led

    async def _unpublish(self, container_id: str) -> None:
        forwards = self.of(container_id)
        if forwards:
            await finish(self._take_back(container_id, forwards))

    async def _take_back(self, container_id: str, forwards: tuple[Forward, ...]) -> None:
        await self._driver.forward((), forwards)
        await self._store.remove_forwards(container_id)
        del self._published[container_id]
        for forward in forwards:
            self._holds.give_back(_place(forward))

    async def _on_the_host(
        self, reservation: Reservation, wishes: Sequence[PortWish]
    ) -> list[_Wanted]:
        """Return which ports of the host are to lead to a container, by its first network.

        Where that is an external one, none is; then this only refuses what can't be there.
        """
        if not wishes:
            return []
        network, address = self._target(reservation)
        failure = _failure(reservation)
        if network.external is not None:
            external.check_admits(network, failure)
            for wish in wishes:
                external.check_same_port(network, address, wish, failure)
            return []
        usual = ANY_ADDRESS
        if any(wish.host_address is None for wish in wishes):
            usual = await self._networks.host_address(network)
        return [
            _Wanted(
                *(wish.transport, address, wish.port, wish.host_address or usual),
                *(wish.first, wish.last),
            )
            for wish in wishes
        ]

    def _on_external_networks(
        self,
        reservation: Reservation,
        wishes: Sequence[PortWish],
        exposed: Sequence[tuple[Transport, int]],
    ) -> list[_Wanted]:
        """Return which ports are to be open at a container's own addresses."""
        ports = dict.fromkeys([*((wish.transport, wish.port) for wish in wishes), *exposed])
        return [
            _Wanted(transport, address, port, address, port, port)
            for address in self._admitting(reservation)
            for transport, port in ports
        ]

    def _admitting(self, reservation: Reservation) -> Iterator[IPv4Address]:
        """Yield a container's addresses where somebody outside may reach it."""
        for endpoint in reservation.endpoints:
            outer = self._networks.get(endpoint.network_id).external
            if outer is not None and outer.level in external.ADMITTING and endpoint.ipv4:
                yield endpoint.ipv4

    def _target(self, reservation: Reservation) -> tuple[Network, IPv4Address]:
        """Return the network that leads to a container from outside, and its address there."""
        endpoint = default_endpoint(reservation, self._networks.get)
        if endpoint is not None and endpoint.ipv4 is not None:
            return self._networks.get(endpoint.network_id), endpoint.ipv4
        raise FailedPrecondition(
            f"{_failure(reservation)}: it is in no network that can be reached from outside",
            Reason.WRONG_STATE,
        )

    def _open(self, reservation: Reservation, wish: _Wanted) -> Forward:
        """Hold the first port that fits a wish. Raises what publish raises."""
        anywhere = self._free_ports()
        candidates: Sequence[int] = range(wish.first, wish.last + 1)
        if not wish.first:
            begin = self._next % len(anywhere)
            candidates = [*anywhere[begin:], *anywhere[:begin]]
        problem = ""
        for host_port in candidates:
            forward = Forward(wish.transport, wish.host_address, host_port, wish.address, wish.port)
            problem = self._problem(forward)
            if not problem:
                if not wish.first:
                    self._next = anywhere.index(host_port) + 1
                return forward
        raise AlreadyExists(f"{_failure(reservation)}: {problem}", Reason.PORT_IN_USE)

    def _problem(self, forward: Forward) -> str:
        """Hold a port; returns in Docker's words why it can't be had, or nothing."""
        if forward.direct:
            return ""
        if any(_clash(forward, other) for other in self.forwards()):
            return (
                f"Bind for {forward.host_address}:{forward.host_port} failed: "
                "port is already allocated"
            )
        try:
            self._holds.take(_place(forward))
        except OSError as error:
            what = (
                f"failed to bind host port for {forward.host_address}:{forward.host_port}:"
                f"{forward.address}:{forward.port}/{forward.transport}"
            )
            reason = os.strerror(error.errno or 0).lower()
            if error.errno == errno.EADDRNOTAVAIL:
                raise InvalidArgument(f"{what}: {reason}", Reason.INVALID_ADDRESS) from error
            return f"{what}: {reason}"
        return ""


def _place(forward: Forward) -> tuple[Transport, IPv4Address, int]:
    return forward.transport, forward.host_address, forward.host_port


def _clash(one: Forward, other: Forward) -> bool:
    """Tell whether two want one port of one address of the host."""
    return (
        not other.direct
        and one.transport is other.transport
        and one.host_port == other.host_port
        and (
            one.host_address == other.host_address
            or ANY_ADDRESS in (one.host_address, other.host_address)
        )
    )


def _fit(known: Sequence[Forward], wanted: Sequence[_Wanted]) -> bool:
    """Tell whether published ports are what is wished for, wherever they lead."""
    return len(known) == len(wanted) and all(
        (forward.transport, forward.port, forward.host_address)
        == (wish.transport, wish.port, wish.host_address)
        and (not wish.first or wish.first <= forward.host_port <= wish.last)
        for forward, wish in zip(known, wanted, strict=True)
    )


def _failure(reservation: Reservation) -> str:
    """Return how Docker's messages about ports that can't be published begin."""
    name = reservation.container_name or reservation.container_id[:SHORT_ID_CHARACTERS]
    endpoint = reservation.endpoints[-1].id
    return (
        "failed to set up container networking: driver failed programming external connectivity "
        f"on endpoint {name} ({endpoint})"
    )

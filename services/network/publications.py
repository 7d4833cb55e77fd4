"""Published ports: which ports of the host lead to which container, from Publish to Unpublish."""

import errno
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace

from portlayer.errors import AlreadyExists, FailedPrecondition, Reason
from portlayer.turns import Turns
from services.network.drivers import Driver, Forward, Transport
from services.network.endpoints import Endpoints
from services.network.external import PortWish
from services.network.finish import finish
from services.network.holds import Holds, Place, free_ports
from services.network.model import Reservation
from services.network.networks import Networks
from services.network.openings import Opening, Openings, failure_of
from services.network.store import NetworkStore

log = logging.getLogger("vic.network.publications")


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
        self._openings = Openings(networks)
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
        FailedPrecondition (HOST_ADDRESS_MISSING; WRONG_STATE for a container that no network leads
        to, or that one lets nobody reach); nothing is opened then.
        """
        async with self._turns.of(container_id):
            reservation = self._endpoints.get(container_id)
            wanted = await self._openings.of(reservation, wishes, exposed)
            known = self.of(container_id)
            if known and (led := _led(known, wanted)) is not None:
                if led != known:
                    await finish(self._lead(container_id, known, led))
                return led
            await self._unpublish(container_id)
            if not wanted:
                return ()
            async with AsyncExitStack() as undo:
                forwards = []
                for wish in wanted:
                    for forward in self._open(reservation, wish):
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
        self, container_id: str, known: tuple[Forward, ...], led: tuple[Forward, ...]
    ) -> None:
        """Let a container's ports lead to other addresses of it."""
        await self._driver.forward(led, known)
        await self._store.change_forwards(container_id, led)
        self._published[container_id] = led

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

    def _open(self, reservation: Reservation, wish: Opening) -> list[Forward]:
        """Hold the first port that fits a wish, wherever it is. Raises what publish raises."""
        anywhere = self._free_ports()
        candidates: Sequence[int] = range(wish.first, wish.last + 1)
        if not wish.first:
            begin = self._next % len(anywhere)
            candidates = [*anywhere[begin:], *anywhere[:begin]]
        problem = ""
        for host_port in candidates:
            forwards = [
                Forward(wish.transport, host_address, host_port, address, wish.port)
                for host_address, address in wish.ways
            ]
            problem = self._hold(forwards, failure_of(reservation))
            if not problem:
                if not wish.first:
                    self._next = anywhere.index(host_port) + 1
                return forwards
        raise AlreadyExists(
            f"{failure_of(reservation)}: {problem}",
            Reason.PORT_IN_USE,
            container=next(filter(None, map(self._holder, forwards)), ""),
        )

    def _holder(self, wanted: Forward) -> str:
        """Return the container whose port it is, or nothing."""
        for container_id, forwards in self._published.items():
            if any(_clash(wanted, forward) for forward in forwards):
                return container_id
        return ""

    def _hold(self, forwards: Sequence[Forward], failure: str) -> str:
        """Hold all ports or none; returns why one can't be had, or nothing."""
        with ExitStack() as undo:
            for forward in forwards:
                problem = self._problem(forward, failure)
                if problem:
                    return problem
                undo.callback(self._holds.give_back, _place(forward))
            undo.pop_all()
        return ""

    def _problem(self, forward: Forward, failure: str) -> str:
        """Hold a port; returns in Docker's words why it can't be had, or nothing.

        `failure` is how a refusal begins that another port would meet as well.
        """
        if forward.direct:
            return ""
        if self._holder(forward):
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
                raise FailedPrecondition(
                    f"{failure}: {what}: {reason}", Reason.HOST_ADDRESS_MISSING
                ) from error
            return f"{what}: {reason}"
        return ""


def _place(forward: Forward) -> Place:
    return forward.transport, forward.host_address, forward.host_port


def _clash(one: Forward, other: Forward) -> bool:
    """Tell whether two want one port of one address of the host."""
    return (
        not other.direct
        and one.transport is other.transport
        and one.host_port == other.host_port
        and (
            one.host_address == other.host_address
            or (
                one.host_address.version == other.host_address.version
                and (one.host_address.is_unspecified or other.host_address.is_unspecified)
            )
        )
    )


def _led(known: Sequence[Forward], wanted: Sequence[Opening]) -> tuple[Forward, ...] | None:
    """Return published ports as they are to lead now; None where they aren't those wished for."""
    left = list(known)
    led: list[Forward] = []
    for wish in wanted:
        mine, left = left[: len(wish.ways)], left[len(wish.ways) :]
        if len(mine) < len(wish.ways) or len({forward.host_port for forward in mine}) != 1:
            return None
        for forward, (host_address, address) in zip(mine, wish.ways, strict=True):
            fits = (forward.transport, forward.port, forward.host_address) == (
                *(wish.transport, wish.port),
                host_address,
            )
            if not fits or (wish.first and not wish.first <= forward.host_port <= wish.last):
                return None
            led.append(replace(forward, address=address))
    return None if left else tuple(led)

"""The driver: what should be, and the two threads that make it so."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import ParamSpec, TypeVar

from pyroute2 import NetlinkError

from portlayer.errors import FailedPrecondition, Unavailable
from services.network.drivers import Forward, Port, Segment
from services.network.drivers.linux.firewall import Firewall, Wanted, remove_tables
from services.network.drivers.linux.links import Links
from services.network.drivers.linux.monitor import Monitor
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.packets import Guards
from services.network.drivers.linux.ports import Place, Ports, index_of, port_of
from services.network.drivers.linux.uplinks import check_parent
from services.network.drivers.linux.wiring import Wiring

log = logging.getLogger("vic.network.linux")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class _Attached:
    """A port that should be connected."""

    port: Port
    moment: int
    """Count of attach calls when it was asked for."""
    index: int | None = None
    """Of its tap, once it is on its bridge: a tap of the same name is another one."""


class LinuxDriver:
    """Bridges and taps by one thread, nftables by another.

    What should be is kept in memory and changes on the event loop alone; each piece of work gets a
    copy of it when it is queued, and each thread works its queue off in order. So a repair that was
    queued before a port was attached can't undo it.
    """

    name = "linux"

    def __init__(self, names: Names, guards: Guards) -> None:
        self.doubt = asyncio.Event()
        self._names = names
        self._guards = guards
        self._segments: dict[int, Segment] = {}
        # Bridges that are being made or removed, by ordinal: a comparison leaves them alone.
        self._moving: dict[int, str] = {}
        self._ports: dict[str, _Attached] = {}
        self._forwards: frozenset[Forward] = frozenset()
        self._moment = 0
        self._link_thread = ThreadPoolExecutor(1, "links")
        self._rule_thread = ThreadPoolExecutor(1, "rules")
        self._links: Links
        self._taps: Ports
        self._wiring: Wiring
        self._firewall: Firewall
        self._monitor: Monitor | None = None
        self._open = False

    def port_name(self, endpoint_id: str) -> str:
        """Return the name of an endpoint's tap."""
        return self._names.tap(endpoint_id)

    def segment_name(self, segment: Segment) -> str:
        """Return the name of a segment's bridge."""
        if segment.management:
            return self._names.management_bridge
        return self._names.bridge(segment.ordinal)

    def port_group(self, segment: Segment) -> str:
        """Return nothing: cards are taps, which have names of their own."""
        return ""

    def attached(self, port_name: str) -> bool:
        """Tell whether a tap is on its bridge now."""
        found = self._ports.get(port_name)
        return found is not None and found.index is not None

    async def taken_subnets(self) -> list[IPv4Network]:
        """Return the host's routes and subnets, except those of our bridges."""
        await self._ensure_open()
        return await self._by_links(self._links.taken_subnets)

    async def taken_subnets6(self) -> list[IPv6Network]:
        """Return the host's routes of IPv6, except those of our bridges."""
        await self._ensure_open()
        return await self._by_links(self._links.taken_subnets6)

    async def addresses_within(self, subnet: IPv4Network) -> list[IPv4Address]:
        """Return the host's own addresses in a subnet."""
        await self._ensure_open()
        return await self._by_links(self._links.addresses_within, subnet)

    async def start(
        self, segments: Sequence[Segment], ports: Sequence[Port], forwards: Sequence[Forward] = ()
    ) -> None:
        """Put rules and bridges in place, and connect the ports whose tap is there."""
        await self._ensure_open()
        self._forwards = frozenset(forwards)
        self._segments = {segment.ordinal: segment for segment in segments}
        self._monitor = Monitor(
            self._on_link_gone,
            self._on_port_left,
            self.doubt.set,
            self.doubt.set,
            own=self._firewall.elements_port,
        )
        present = await self._by_links(self._links.own)
        running = [port for port in ports if port.name in present]
        self._moment += 1
        self._ports = {port.name: _Attached(port, self._moment) for port in running}
        await self._by_rules(self._firewall.replace, self._wanted())
        await self._by_links(self._wiring.ensure, self._bridges())
        for port in running:
            [index] = await self._by_links(self._wiring.attach, self._places([port]))
            self._note(port, index)

    async def add_segment(self, segment: Segment) -> None:
        """Make a bridge; its rules come first."""
        if segment.uplink is not None:
            check_parent(segment.uplink.parent)
        name = self.segment_name(segment)
        self._segments[segment.ordinal] = segment
        self._moving[segment.ordinal] = name
        try:
            await self._by_rules(self._firewall.replace, self._wanted())
            await self._by_links(self._wiring.make, name, segment)
        except BaseException:
            del self._segments[segment.ordinal]
            self.doubt.set()
            raise
        finally:
            self._moving.pop(segment.ordinal, None)

    async def remove_segment(self, ordinal: int) -> None:
        """Remove a bridge, then what the rules say of it."""
        segment = self._segments.get(ordinal)
        name = self._names.bridge(ordinal) if segment is None else self.segment_name(segment)
        self._moving[ordinal] = name
        try:
            await self._by_links(self._links.remove, self._names.uplink(ordinal))
            await self._by_links(self._links.remove, name)
        finally:
            self._segments.pop(ordinal, None)
            self._moving.pop(ordinal, None)
        await self._by_rules(self._firewall.replace, self._wanted())

    async def attach(self, ports: Sequence[Port]) -> None:
        """Let taps send from their own addresses, put them on their bridges and set them up."""
        places = self._places(ports)
        self._moment += 1
        before = {port.name: self._ports.get(port.name) for port in ports}
        outdated = [
            old.port
            for port in ports
            if (old := before[port.name]) is not None and old.port != port
        ]
        for port in ports:
            self._ports[port.name] = _Attached(port, self._moment)
        allow = self._by_rules(self._firewall.change, tuple(ports), outdated, self._wanted())
        try:
            if any(port.level is not None for port in ports):
                # Who is out there must not reach it before the rules say who may.
                await allow
                allow = asyncio.sleep(0)
            _, indexes = await asyncio.gather(
                allow, self._by_links(self._wiring.attach_all, places)
            )
        except BaseException:
            await asyncio.shield(self.detach([port.name for port in ports]))
            raise
        for port, index in zip(ports, indexes, strict=True):
            self._note(port, index)

    async def detach(self, names: Sequence[str]) -> None:
        """Let taps send no more, and take them off their bridges."""
        gone = [found.port for name in names if (found := self._ports.pop(name, None)) is not None]
        if not gone:
            # Whoever is not known is on no bridge, or is taken off as soon as somebody looks.
            return
        try:
            await asyncio.gather(
                self._by_rules(self._firewall.change, (), gone, self._wanted()),
                self._by_links(self._taps.detach, tuple(names)),
            )
        except BaseException:
            self.doubt.set()
            raise

    async def forward(self, add: Sequence[Forward], remove: Sequence[Forward]) -> None:
        """Take published ports back, then open others."""
        before = self._forwards
        gone = [forward for forward in remove if forward in before]
        new = [forward for forward in add if forward not in before or forward in gone]
        self._forwards = (before - frozenset(gone)) | frozenset(new)
        if not gone and not new:
            return
        try:
            await self._by_rules(self._firewall.forward, new, gone, self._wanted())
        except BaseException:
            self._forwards -= frozenset(new)
            self.doubt.set()
            raise

    async def restore(self) -> list[str]:
        """Compare the host with what should be, and put it right."""
        self.doubt.clear()
        moment, known = self._moment, set(self._ports)
        repaired, present = await self._by_links(
            self._wiring.ensure, self._bridges(), dict(self._moving)
        )
        masters = {name: link.index for name, link in present.items() if link.kind == "bridge"}
        for name, found in list(self._ports.items()):
            link = present.get(name)
            if found.moment > moment or found.index is None:
                continue
            if link is None or link.index != found.index:
                repaired.append(f"forgot {name}, which is gone")
                del self._ports[name]
            elif (
                link.master != masters.get(self._bridge_of(found.port))
                or link.port != port_of(self._segments[found.port.ordinal])
                or not link.up
            ):
                repaired.append(f"connected {name} again")
                with suppress(FailedPrecondition):  # It went away meanwhile.
                    await self.attach([found.port])
        bridges = set(masters.values())
        strays = [
            name
            for name, link in present.items()
            if link.master in bridges
            and name not in self._ports
            and name not in known
            and not name.startswith(self._names.uplink_prefix)
        ]
        if strays:
            repaired += [f"took {name} off its bridge" for name in strays]
            await self._by_links(self._taps.detach, strays)
        return repaired + await self._by_rules(self._firewall.restore, self._wanted())

    async def teardown(self) -> None:
        """Remove all bridges, taps and rules that carry this instance's names."""
        await self._ensure_open()
        self._segments.clear()
        self._ports.clear()
        removed = await self._by_links(self._wiring.remove_all)
        removed += await self._by_rules(remove_tables, self._names)
        log.info("removed the instance's networks from the host", extra={"removed": removed})

    async def close(self) -> None:
        """Stop listening and end both threads."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        if self._open:
            self._open = False
            await self._by_links(self._links.close)
            await self._by_links(self._taps.close)
            await self._by_rules(self._firewall.close)
        self._link_thread.shutdown()
        self._rule_thread.shutdown()

    async def _ensure_open(self) -> None:
        if self._open:
            return

        def open_links() -> tuple[Links, Ports]:
            return Links(self._names), Ports()

        self._links, self._taps = await self._by_links(open_links)
        self._wiring = Wiring(self._links, self._taps, self._names)
        self._firewall = await self._by_rules(Firewall, self._names, self._guards)
        self._open = True

    def _bridge_of(self, port: Port) -> str:
        return self.segment_name(self._segments[port.ordinal])

    def _places(self, ports: Sequence[Port]) -> list[Place]:
        segments = [self._segments[port.ordinal] for port in ports]
        return [
            Place(port.name, self.segment_name(segment), segment)
            for port, segment in zip(ports, segments, strict=True)
        ]

    def _bridges(self) -> dict[str, Segment]:
        """Return what bridges there should be, but for those that are being made or removed."""
        return {
            self.segment_name(segment): segment
            for ordinal, segment in self._segments.items()
            if ordinal not in self._moving
        }

    def _wanted(self) -> Wanted:
        ports = tuple(found.port for found in self._ports.values())
        return Wanted(tuple(self._segments.values()), ports, self._forwards)

    def _note(self, port: Port, index: int | None) -> None:
        found = self._ports.get(port.name)
        if found is None or found.port != port:
            return
        if index is None:
            del self._ports[port.name]
            self.doubt.set()
            return
        found.index = index
        if index_of(port.name) != index:
            # It went away before its index was known, so the news of it were not understood.
            self.doubt.set()

    # What follows is called by the monitor.

    def _on_link_gone(self, name: str, index: int) -> None:
        found = self._ports.get(name)
        if found is not None and found.index == index:
            del self._ports[name]
            work = self._rule_thread.submit(self._firewall.change, (), [found.port], self._wanted())
            work.add_done_callback(_report)
        elif name in self._bridges() or name.startswith(self._names.uplink_prefix):
            self.doubt.set()

    def _on_port_left(self, name: str) -> None:
        # A tap that went with its VM leaves its bridge as well; then its own news follow.
        if self.attached(name) and index_of(name) is not None:
            self.doubt.set()

    # How work gets to the threads.

    async def _by_links(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await _run(self._link_thread, work, *args, **kwargs)

    async def _by_rules(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await _run(self._rule_thread, work, *args, **kwargs)


async def _run(
    thread: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run work on a thread; the kernel's refusals become Unavailable."""
    try:
        return await asyncio.wrap_future(thread.submit(work, *args, **kwargs))
    except (OSError, NetlinkError) as error:
        raise Unavailable(f"the host's network refused: {error}") from error


def _report(work: Future[None]) -> None:
    error = work.exception()
    if error is not None:
        log.error("cannot take back a port's rule", exc_info=error)

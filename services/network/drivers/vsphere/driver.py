"""The driver: port groups for segments, cards of container VMs for ports.

exec makes a VM with the cards that its endpoints ask for; this sees that they are there, and plugs
in what is missing, also into a VM that runs. What forwards packets between segments and the outside
is no part of vCenter: published ports need the appliance, and are refused by name until there is
one.

Of the firewall's levels, an external network's port group keeps `open` by itself. `peers` and
`closed` are port groups of ours from which nothing leads outside, blocked for `closed`. `outbound`
and `published` let answers in and nothing else, and who began to speak, no port group remembers.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from pyVmomi import vim

from portlayer.errors import (
    FailedPrecondition,
    NotImplementedYet,
    Reason,
    Unavailable,
    VicError,
)
from portlayer.vsphere.identity import container_uuid, decode, options
from portlayer.vsphere.lookup import Backing, find_folder, find_machine
from portlayer.vsphere.machines import reconfigure
from portlayer.vsphere.properties import read, read_below
from portlayer.vsphere.session import VCenter
from services.network.drivers import Forward, Level, Port, Segment
from services.network.drivers.vsphere.cards import plugged, unplugged
from services.network.drivers.vsphere.isolation import isolation, members
from services.network.drivers.vsphere.portgroups import Portgroups, Wanted, mark, own_name
from services.network.drivers.vsphere.settings import VsphereSettings, parse_vlans

log = logging.getLogger("vic.network.vsphere")

OFF = vim.VirtualMachine.PowerState.poweredOff

WITHIN = frozenset({Level.CLOSED, Level.PEERS})
"""Levels of external networks at which nobody has to do with anybody outside."""


@dataclass(frozen=True)
class _Attached:
    """A port whose card is there."""

    port: Port


class VsphereDriver:
    """Implements :class:`~services.network.drivers.Driver`."""

    name = "vsphere"

    def __init__(self, vcenter: VCenter, settings: VsphereSettings, instance_id: str) -> None:
        self.doubt = asyncio.Event()
        self._vcenter = vcenter
        self._settings = settings
        self._instance_id = instance_id
        vlans = parse_vlans(settings.vlans) if settings.vlans else None
        self._portgroups = Portgroups(vcenter, settings.folder, settings.switch, vlans)
        self._segments: dict[int, Segment] = {}
        # Before all are known, none is of no segment.
        self._started = False
        # Port groups and who they are for are changed by one at a time: what is being made is no
        # stray, and what is being removed isn't made again.
        self._changing = asyncio.Lock()
        self._ports: dict[str, _Attached] = {}

    def port_name(self, endpoint_id: str) -> str:
        """Return a name for an endpoint's card, which vCenter never sees."""
        return endpoint_id[:16]

    def segment_name(self, segment: Segment) -> str:
        """Return the name of a segment's port group."""
        if segment.management:
            return self._settings.management_network
        if _needs_own(segment):
            return self._own(segment)
        if segment.uplink is not None:
            return segment.uplink.parent
        given = self._settings.bridge_networks
        return given[segment.ordinal] if segment.ordinal < len(given) else self._own(segment)

    def port_group(self, segment: Segment) -> str:
        """Return the name of a segment's port group."""
        return self.segment_name(segment)

    def attached(self, port_name: str) -> bool:
        """Tell whether a card is in its port group now."""
        return port_name in self._ports

    async def taken_subnets(self) -> list[IPv4Network]:
        """Return none: vCenter routes nothing."""
        return []

    async def taken_subnets6(self) -> list[IPv6Network]:
        """Return none, as above."""
        return []

    async def addresses_within(self, subnet: IPv4Network) -> list[IPv4Address]:
        """Return none: where this service runs is not where packets are forwarded."""
        return []

    async def start(
        self, segments: Sequence[Segment], ports: Sequence[Port], forwards: Sequence[Forward] = ()
    ) -> None:
        """Have the port groups there, and know the cards of the VMs that run."""
        await self._have(segments)
        running = await self._running()
        self._ports = {p.name: _Attached(p) for p in ports if p.container_id in running}
        self._started = True

    async def add_segment(self, segment: Segment) -> None:
        """Make a segment's port group, or see that the one that was given is there."""
        await self._have([segment])

    async def _have(self, segments: Sequence[Segment]) -> None:
        """See what was given for segments, and make the rest, by one look for all of them."""
        for segment in segments:
            _check(segment, switch=self._settings.switch)
        given = {name for segment in segments for name in self._given(segment)}
        there = await self._portgroups.backings() if given else {}
        for name in sorted(given - there.keys()):
            raise FailedPrecondition(
                f"there is no port group {name}", Reason.PARENT_MISSING, parent=name
            )
        async with self._changing:
            made = [self._wanted(segment) for segment in segments if self._makes(segment)]
            for done in await self._portgroups.ensure(made):
                log.info(done)
            self._segments |= {segment.ordinal: segment for segment in segments}

    async def remove_segment(self, ordinal: int) -> None:
        """Remove the port group that was made for a segment, also where that was interrupted.

        Where it can't be removed now, `restore` does it when it can be.
        """
        async with self._changing:
            self._segments.pop(ordinal, None)
            if self._settings.switch:
                name = own_name(self._instance_id, ordinal)
                await self._portgroups.remove(name, self._mark)

    async def attach(self, ports: Sequence[Port]) -> None:
        """See that VMs have the cards, connected to their port groups; plug in what is missing."""
        by_container: dict[str, list[Port]] = defaultdict(list)
        for port in ports:
            _check_card(port, self._segments[port.ordinal])
            by_container[port.container_id].append(port)
        backings = {
            ordinal: await self._backing(self._segments[ordinal])
            for ordinal in {port.ordinal for port in ports}
        }
        for container_id, cards in by_container.items():
            vm = await self._machine(container_id)
            if vm is None:
                raise FailedPrecondition(
                    f"container {container_id} has no VM", Reason.TAP_MISSING, tap=cards[0].name
                )
            await reconfigure(
                self._vcenter,
                vm,
                lambda devices, cards=cards: plugged(devices, cards, backings),  # type: ignore[misc]
            )
        self._ports |= {port.name: _Attached(port) for port in ports}

    async def detach(self, names: Sequence[str]) -> None:
        """Take cards out of VMs that run; those of a VM that has ended go with it."""
        gone: dict[str, list[Port]] = defaultdict(list)
        for name in names:
            found = self._ports.pop(name, None)
            if found is not None:
                gone[found.port.container_id].append(found.port)
        for container_id, ports in gone.items():
            vm = await self._machine(container_id, running=True)
            if vm is not None:
                await reconfigure(
                    self._vcenter,
                    vm,
                    lambda devices, ports=ports: unplugged(devices, ports),  # type: ignore[misc]
                )

    async def forward(self, add: Sequence[Forward], remove: Sequence[Forward]) -> None:
        """Do nothing for ports of the containers' own addresses, which are open; refuse others."""
        if any(not forward.direct for forward in add):
            raise NotImplementedYet(
                "published ports on vSphere: the VCH forwards no packets there yet; put the "
                "container on an external network instead",
                option="publish",
            )

    async def restore(self) -> list[str]:
        """Make port groups of ours again that are gone, or that others have opened.

        Those that are no segment's any more, as after a kill, are removed once no VM uses them.
        """
        self.doubt.clear()
        try:
            return await self._restore()
        except VicError as error:
            # Whatever vCenter refuses now, it may allow later.
            raise Unavailable(error.message, error.reason) from error

    async def _restore(self) -> list[str]:
        async with self._changing:
            made = [self._wanted(one) for one in self._segments.values() if self._makes(one)]
            repaired = await self._portgroups.ensure(made)
            if self._settings.switch and self._started:
                names = {wanted.name for wanted in made}
                repaired += await self._portgroups.remove_strays(self._instance_id, names)
        running = await self._running()
        ended = [n for n, found in self._ports.items() if found.port.container_id not in running]
        for name in ended:
            del self._ports[name]
        return repaired

    async def teardown(self) -> None:
        """Remove all port groups that this instance has made."""
        await self._vcenter.open()
        if not self._settings.switch:
            return
        for group in await self._portgroups.of_switch():
            if group.description == self._mark:
                await self._portgroups.remove(group.name, self._mark)

    async def close(self) -> None:
        """Log out."""
        await self._vcenter.close()

    @property
    def _mark(self) -> str:
        """The description of port groups that are ours."""
        return mark(self._instance_id)

    def _own(self, segment: Segment) -> str:
        return own_name(self._instance_id, segment.ordinal)

    def _wanted(self, segment: Segment) -> Wanted:
        """Return the port group that we make for a segment."""
        return Wanted(
            self._own(segment),
            self._mark,
            rules=isolation(segment) if segment.isolated else (),
            blocked=segment.uplink is not None and segment.uplink.level is Level.CLOSED,
        )

    def _given(self, segment: Segment) -> set[str]:
        """Return the port groups that have to be there without us."""
        parents = {segment.uplink.parent} if segment.uplink is not None else set()
        return parents | (set() if self._makes(segment) else {self.segment_name(segment)})

    def _makes(self, segment: Segment) -> bool:
        return self.segment_name(segment) == self._own(segment)

    async def _backing(self, segment: Segment) -> Backing:
        name = self.segment_name(segment)
        backing = (await self._portgroups.backings()).get(name)
        if backing is None:
            self.doubt.set()
            raise FailedPrecondition(
                f"there is no port group {name}", Reason.PARENT_MISSING, parent=name
            )
        return backing

    async def _machine(
        self, container_id: str, *, running: bool = False
    ) -> vim.VirtualMachine | None:
        """Return a container's VM, if it is ours."""
        bios_uuid = container_uuid(self._instance_id, container_id)

        def look(content: vim.ServiceInstanceContent) -> vim.VirtualMachine | None:
            vm = find_machine(content, bios_uuid)
            if vm is None:
                return None
            paths = ["config.extraConfig", "runtime.powerState"]
            ((_, told),) = read(content, [vm], vim.VirtualMachine, paths)
            keys = options(told.get("config.extraConfig"))
            if decode(keys, bios_uuid, self._instance_id) is None:
                return None
            return None if running and told["runtime.powerState"] == OFF else vm

        return await self._vcenter.call(look, repeatable=True)

    async def _running(self) -> set[str]:
        """Return the containers whose VMs run, by one call for all."""

        def look(content: vim.ServiceInstanceContent) -> set[str]:
            folder = find_folder(content, self._settings.folder)
            paths = ["config.uuid", "config.extraConfig", "runtime.powerState"]
            found = set()
            for _, told in read_below(content, folder, vim.VirtualMachine, paths):
                keys = options(told.get("config.extraConfig"))
                identity = decode(keys, told.get("config.uuid", ""), self._instance_id)
                if identity is not None and told.get("runtime.powerState") != OFF:
                    found.add(identity.container_id)
            return found

        return await self._vcenter.call(look, repeatable=True)


def _needs_own(segment: Segment) -> bool:
    """Tell whether no port group that was given can be the segment's: its policy isn't ours."""
    return segment.isolated or (segment.uplink is not None and segment.uplink.level in WITHIN)


def _check(segment: Segment, *, switch: str) -> None:
    """Refuse what a port group can't do."""
    level = None if segment.uplink is None else segment.uplink.level
    if level is not None and level is not Level.OPEN and level not in WITHIN:
        raise NotImplementedYet(
            f"the firewall level {level} on vSphere: a port group doesn't remember who began, and "
            "can't tell answers from what nobody asked for; say open, peers or closed",
            option="firewall",
        )
    if _needs_own(segment) and not switch:
        what = "enable_icc=false" if level is None else f"the firewall level {level}"
        raise FailedPrecondition(
            f"{what} on vSphere needs a port group of ours: give a distributed switch and VLANs by "
            "--switch and --vlans",
            Reason.POOLS_EXHAUSTED,
        )


def _check_card(port: Port, segment: Segment) -> None:
    """Refuse a card that the rules of its network wouldn't know as a member's."""
    if segment.isolated and port.mac not in members(segment):
        raise NotImplementedYet(
            f"--mac-address {port.mac} where members can't reach one another (enable_icc=false) on "
            "vSphere: members are known there by addresses of ours",
            option="mac_address",
        )

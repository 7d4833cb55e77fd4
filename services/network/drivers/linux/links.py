"""Bridges over rtnetlink; all calls block and are made by one thread."""

import errno
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

from pyroute2 import IPRoute, NetlinkError

from services.network.drivers import Segment
from services.network.drivers.linux import sysctls
from services.network.drivers.linux.listing import Link, Listing
from services.network.drivers.linux.naming import Names
from services.network.ipam import mac_of

IFA_F_NODAD = 2
# Of linux/rtnetlink.h: RT_TABLE_MAIN, RT_SCOPE_LINK, RTPROT_KERNEL; of linux/ipv6_route.h.
MAIN_TABLE = 254
LINK_SCOPE = 253
KERNEL = 2
KERNEL_METRIC6 = 256

Subnet = IPv4Network | IPv6Network


Addresses = Mapping[int, frozenset[tuple[IPv4Address | IPv6Address, int]]]
"""Addresses and lengths of prefixes, by index of link."""


@dataclass(frozen=True)
class Look:
    """What there is, read at once: a comparison asks as often for one bridge as for hundreds."""

    links: dict[str, Link]
    """Those of this instance, by name."""
    addresses: Addresses


class Links:
    """The host's links, as far as they are this instance's."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._route = IPRoute()
        self.listing = Listing()
        """What there is, for what else the same thread does."""

    def close(self) -> None:
        """Close the sockets."""
        self._route.close()
        self.listing.close()

    def taken_subnets(self) -> list[IPv4Network]:
        """Return the IPv4 routes and subnets of the host, except those of our own bridges."""
        own = {link.index for link in self.own().values()}
        found = {
            IPv4Network(f"{route.destination}/{route.length}", strict=False)
            for route in self.listing.routes(socket.AF_INET)
            if route.index not in own
        }
        for known in self.listing.addresses(socket.AF_INET):
            if known.index not in own:
                found.add(IPv4Network(f"{known.prefix}/{known.length}", strict=False))
        return sorted(found)

    def taken_subnets6(self) -> list[IPv6Network]:
        """Return the same of IPv6; link-local ones are each link's own, and no default route is."""
        own = {link.index for link in self.own().values()}
        subnets = {
            IPv6Network(f"{route.destination}/{route.length}", strict=False)
            for route in self.listing.routes(socket.AF_INET6)
            if route.index not in own
        }
        return sorted(
            subnet
            for subnet in subnets
            if not (subnet.is_link_local or subnet.is_multicast or subnet.is_loopback)
        )

    def own(self) -> dict[str, Link]:
        """Return the bridges and taps of this instance by name."""
        links = self.listing.links()
        return {link.name: link for link in links if self._names.owns_link(link.name)}

    def look(self) -> Look:
        """Return what there is of this instance."""
        return Look(self.own(), self._addresses())

    def ensure_bridge(self, name: str, segment: Segment, seen: Look | None = None) -> list[str]:
        """Make a bridge what its segment says; returns what had to be changed.

        Where nothing was ``seen`` yet, it looks. Raises pyroute2's NetlinkError.
        """
        changed = []
        found = self.listing.link(name) if seen is None else seen.links.get(name)
        if found is None:
            self._route.link(
                "add",
                ifname=name,
                kind="bridge",
                # Fixed, or else it would follow the lowest of the ports' and change with them.
                address=mac_of(segment.gateway) if segment.uplink is None else _nobody(),
                mtu=segment.mtu,
                br_stp_state=0,
                br_forward_delay=0,
                # Neighbours' questions must reach members whether or not somebody asks who listens:
                # a router out there, or a container that poses as one. A bridge that looks into it
                # would also report a group of its own to all members.
                br_mcast_snooping=0,
            )
            sysctls.disable_ipv6(name)
            if segment.management:
                sysctls.answer_own_addresses_only(name)
            if segment.uplink is not None:
                sysctls.answer_for_nobody(name)
            found = self.listing.link(name)
            assert found is not None
            changed.append(f"made bridge {name}")
        if not segment.management and segment.uplink is None:
            sysctls.route_loopback(name)
        if found.mtu != segment.mtu:
            self._route.link("set", index=found.index, mtu=segment.mtu)
            changed.append(f"set the MTU of {name}")
        addresses = (self._addresses() if seen is None else seen.addresses).get(found.index, ())
        changed += self._ensure_address(found, segment, addresses)
        if segment.subnet6 is not None and segment.uplink is None:
            changed += self._ensure_address6(found, segment, segment.subnet6, addresses)
        if not found.up:
            self._route.link("set", index=found.index, state="up")
            changed.append(f"set {name} up")
        return changed

    @property
    def route(self) -> IPRoute:
        """The socket that changes things, for what else the same thread does."""
        return self._route

    def addresses_within(self, subnet: IPv4Network) -> list[IPv4Address]:
        """Return the host's addresses in a subnet, except those of our own bridges."""
        own = {link.index for link in self.own().values()}
        addresses = (
            known.address
            for known in self.listing.addresses(socket.AF_INET)
            if known.index not in own and isinstance(known.address, IPv4Address)
        )
        return sorted(address for address in addresses if address in subnet)

    def ensure_routes(self, bridges: Mapping[str, Segment], links: Mapping[str, Link]) -> list[str]:
        """Put back the routes to bridges' subnets, which come and go with addresses as a rule."""
        present = {
            (ip_network(f"{route.destination}/{route.length}"), route.index)
            for family in (socket.AF_INET, socket.AF_INET6)
            for route in self.listing.routes(family)
            if route.table == MAIN_TABLE
        }
        indexes = {link.name: link.index for link in links.values()}
        changed = []
        for name, segment in bridges.items():
            if segment.uplink is not None or name not in indexes:
                continue
            subnets: list[tuple[Subnet, str]] = [(segment.subnet, str(segment.gateway))]
            if segment.subnet6 is not None:
                subnets.append((segment.subnet6, str(segment.gateway6)))
            for subnet, gateway in subnets:
                if (subnet, indexes[name]) not in present:
                    self._add_route(subnet, gateway, indexes[name])
                    changed.append(f"led {subnet} to {name} again")
        return changed

    def _add_route(self, subnet: Subnet, gateway: str, index: int) -> None:
        # As the kernel itself makes it when a bridge gets its address.
        four = {"family": socket.AF_INET, "scope": LINK_SCOPE, "prefsrc": gateway}
        six = {"family": socket.AF_INET6, "priority": KERNEL_METRIC6}
        self._route.route(
            "add",
            dst=str(subnet),
            oif=index,
            proto=KERNEL,
            **(four if subnet.version == 4 else six),
        )

    def remove(self, name: str) -> bool:
        """Remove a link; tells whether it was there."""
        found = self.listing.link(name)
        if found is None:
            return False
        try:
            self._route.link("del", index=found.index)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise
        return True

    def _addresses(self) -> Addresses:
        found: dict[int, set[tuple[IPv4Address | IPv6Address, int]]] = {}
        for family in (socket.AF_INET, socket.AF_INET6):
            for known in self.listing.addresses(family):
                found.setdefault(known.index, set()).add((known.address, known.length))
        return {index: frozenset(addresses) for index, addresses in found.items()}

    def _ensure_address(
        self,
        link: Link,
        segment: Segment,
        addresses: Iterable[tuple[IPv4Address | IPv6Address, int]],
    ) -> list[str]:
        # On an external network the gateway is somebody else, and the host is not there at all.
        wanted = (segment.gateway, segment.subnet.prefixlen) if segment.uplink is None else None
        changed = []
        present = False
        for address, length in addresses:
            if address.version != 4:
                continue
            if (address, length) == wanted:
                present = True
                continue
            self._route.addr("del", index=link.index, address=str(address), prefixlen=length)
            changed.append(f"removed address {address} from {link.name}")
        if not present and wanted is not None:
            self._route.addr(
                "add",
                index=link.index,
                address=str(segment.gateway),
                prefixlen=segment.subnet.prefixlen,
                broadcast=str(segment.subnet.broadcast_address),
            )
            changed.append(f"gave {link.name} its address {segment.gateway}")
        return changed

    def _ensure_address6(
        self,
        link: Link,
        segment: Segment,
        subnet: IPv6Network,
        addresses: Iterable[tuple[IPv4Address | IPv6Address, int]],
    ) -> list[str]:
        sysctls.enable_forwarding6()
        sysctls.enable_ipv6(link.name)
        wanted = (segment.gateway6, subnet.prefixlen)
        changed = []
        present = False
        for address, length in addresses:
            if address.version != 6:
                continue
            if (address, length) == wanted:
                present = True
            elif not address.is_link_local:
                self._route.addr("del", index=link.index, address=str(address), prefixlen=length)
                changed.append(f"removed address {address} from {link.name}")
        if not present:
            self._route.addr(
                "add",
                index=link.index,
                address=str(segment.gateway6),
                prefixlen=subnet.prefixlen,
                # Nobody else can have it: who could say so is kept from it by the rules.
                flags=IFA_F_NODAD,
            )
            changed.append(f"gave {link.name} its address {segment.gateway6}")
        return changed


def _nobody() -> str:
    """Return a MAC address of no particular card, for a bridge from which the host never sends."""
    return "02:" + secrets.token_bytes(5).hex(":")

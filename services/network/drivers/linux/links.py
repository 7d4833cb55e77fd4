"""Bridges over rtnetlink; all calls block and are made by one thread."""

import errno
import secrets
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from services.network.drivers import Segment
from services.network.drivers.linux import sysctls
from services.network.drivers.linux.naming import Names
from services.network.ipam import mac_of

IFF_LOOPBACK = 8


@dataclass(frozen=True)
class Link:
    """A network interface of the host."""

    index: int
    name: str
    kind: str
    master: int
    up: bool
    mtu: int
    loopback: bool = False


class Links:
    """The host's links, as far as they are this instance's."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._route = IPRoute()

    def close(self) -> None:
        """Close the socket."""
        self._route.close()

    def taken_subnets(self) -> list[IPv4Network]:
        """Return the IPv4 routes and subnets of the host, except those of our own bridges."""
        own = {link.index for link in self.own().values()}
        found = set()
        for route in self._route.get_routes(family=socket.AF_INET):
            destination = route.get_attr("RTA_DST")
            if destination is not None and route.get_attr("RTA_OIF") not in own:
                found.add(IPv4Network(f"{destination}/{route['dst_len']}", strict=False))
        for address in self._route.get_addr(family=socket.AF_INET):
            if address["index"] not in own:
                text = f"{address.get_attr('IFA_ADDRESS')}/{address['prefixlen']}"
                found.add(IPv4Network(text, strict=False))
        return sorted(found)

    def own(self) -> dict[str, Link]:
        """Return the bridges and taps of this instance by name."""
        links = (_link(message) for message in self._route.get_links())
        return {link.name: link for link in links if self._names.owns_link(link.name)}

    def ensure_bridge(self, name: str, segment: Segment) -> list[str]:
        """Make a bridge what its segment says; returns what had to be changed.

        Raises pyroute2's NetlinkError.
        """
        changed = []
        found = self._find(name)
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
            )
            sysctls.disable_ipv6(name)
            if segment.management:
                sysctls.answer_own_addresses_only(name)
            if segment.uplink is not None:
                sysctls.answer_for_nobody(name)
            found = self._find(name)
            assert found is not None
            changed.append(f"made bridge {name}")
        if not segment.management and segment.uplink is None:
            sysctls.route_loopback(name)
        if found.mtu != segment.mtu:
            self._route.link("set", index=found.index, mtu=segment.mtu)
            changed.append(f"set the MTU of {name}")
        changed += self._ensure_address(found, segment)
        if not found.up:
            self._route.link("set", index=found.index, state="up")
            changed.append(f"set {name} up")
        return changed

    @property
    def route(self) -> IPRoute:
        """The socket, for what else the same thread does."""
        return self._route

    def addresses_within(self, subnet: IPv4Network) -> list[IPv4Address]:
        """Return the host's addresses in a subnet, except those of our own bridges."""
        own = {link.index for link in self.own().values()}
        addresses = (
            IPv4Address(message.get_attr("IFA_LOCAL"))
            for message in self._route.get_addr(family=socket.AF_INET)
            if message["index"] not in own
        )
        return sorted(address for address in addresses if address in subnet)

    def remove(self, name: str) -> bool:
        """Remove a link; tells whether it was there."""
        found = self._find(name)
        if found is None:
            return False
        try:
            self._route.link("del", index=found.index)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise
        return True

    def _ensure_address(self, link: Link, segment: Segment) -> list[str]:
        # On an external network the gateway is somebody else, and the host is not there at all.
        wanted = (segment.gateway, segment.subnet.prefixlen) if segment.uplink is None else None
        changed = []
        present = False
        for message in self._route.get_addr(family=socket.AF_INET, index=link.index):
            address = IPv4Address(message.get_attr("IFA_LOCAL"))
            if (address, message["prefixlen"]) == wanted:
                present = True
                continue
            self._route.addr(
                "del", index=link.index, address=str(address), prefixlen=message["prefixlen"]
            )
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

    def _find(self, name: str) -> Link | None:
        return find(self._route, name)


def find(route: IPRoute, name: str) -> Link | None:
    """Return the link of a name, or None where there is none. Raises pyroute2's NetlinkError."""
    try:
        for message in route.get_links(ifname=name):
            return _link(message)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise
    return None


def _nobody() -> str:
    """Return a MAC address of no particular card, for a bridge from which the host never sends."""
    return "02:" + secrets.token_bytes(5).hex(":")


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind="" if info is None else info.get_attr("IFLA_INFO_KIND") or "",
        master=message.get_attr("IFLA_MASTER") or 0,
        up=bool(message["flags"] & 1),
        mtu=message.get_attr("IFLA_MTU"),
        loopback=bool(message["flags"] & IFF_LOOPBACK),
    )

"""The two network namespaces of a VM: one for management, one for the container."""

from __future__ import annotations

import os
from pathlib import Path

from tether.guestconfig import MIRROR, PLACED_NICS, REHEARSAL_ADDRESS, ConfigError, Nic
from tether.supervisor import syscalls
from tether.supervisor.netlink import Link, NetworkNamespace

_OWN_NAMESPACE = "/proc/self/ns/net"
# As Docker sets them for a container with a network namespace of its own.
_CONTAINER_SETTINGS = {
    "net/ipv4/ping_group_range": "0 2147483647",
    "net/ipv4/ip_unprivileged_port_start": "0",
}
# IPv6 comes with networks that have it; until then no interface sends router solicitations.
_NO_IPV6 = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
_ETHERNET_MTU = 1500
REHEARSAL_MAC = "02:00:5e:00:53:01"
"""Nobody's (RFC 7042)."""


class Networks:
    """Interfaces sorted by their place on the PCI bus: the first is the management interface.

    All others go into the container's namespace, where they stay down until configured.
    """

    def __init__(self) -> None:
        """Make the container's namespace and move its interfaces; the caller stays outside."""
        self.management = NetworkNamespace()
        self.management.up_loopback()  # the agent rehearses on it
        _write_settings(_NO_IPV6)
        self._own = own = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        syscalls.unshare(syscalls.CLONE_NEWNET)
        try:
            self.container = NetworkNamespace()
            self.container_descriptor = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            _write_settings(_CONTAINER_SETTINGS | _NO_IPV6)
            self.container.up_loopback()
            self.container.commit()
        finally:
            syscalls.setns(own, syscalls.CLONE_NEWNET)
        # Those that somebody has plugged in already, behind ports that come later, stay for now.
        links = sorted(self.management.links(), key=_place)[:PLACED_NICS]
        self.management_link = links[0] if links else None
        self._container_links: dict[int, Link] = {}
        # What the container has, by the MAC address.
        self._connected: dict[str, tuple[Link, Nic]] = {}
        for index, link in enumerate(links[1:], start=1):
            # Docker's names, which are right as a rule: renaming later costs a clone some time.
            self.management.move(link.index, self.container_descriptor, f"eth{index - 1}")
        self.management.commit()
        moved = {link.name: link for link in self.container.links()}
        for index in range(1, len(links)):
            self._container_links[index] = moved[f"eth{index - 1}"]

    def rehearse(self) -> None:
        """Configure every interface of the container once, and take that back.

        Nothing is sent: they count what they send, and the container can see that.
        """
        for link in self._container_links.values():
            self.container.set_link(link.index, mac=REHEARSAL_MAC, up=True)
            self.container.add_address(link.index, REHEARSAL_ADDRESS)
            self.container.add_default_route(link.index, MIRROR)
            self.container.commit()
            take_back(self.container, link)

    def configure(self, nics: tuple[Nic, ...]) -> None:
        """Bring the container's interfaces up with their addresses and routes.

        The machine always has its full number of interfaces; one that joins no network goes back,
        out of the container's sight. What is plugged in comes later, by :meth:`take_new`.
        """
        for nic in nics:
            link = self._container_links.pop(nic.index, None)
            if link is not None:
                self._bring_up(link, nic)
            elif nic.index < PLACED_NICS:
                raise ConfigError(f"nics: the machine has no interface {nic.index}")
        for index, link in self._container_links.items():
            self.container.move(link.index, self._own, f"unused{index}")
        self._container_links.clear()
        self.container.commit()

    def change(self, nics: tuple[Nic, ...]) -> None:
        """Let go of interfaces that are not among ``nics``, and route anew.

        Those that are missing come by :meth:`take_new`.
        """
        wanted = {nic.mac: nic for nic in nics}
        for mac in self._connected.keys() - wanted.keys():
            link, _nic = self._connected.pop(mac)
            if any(link.index == there.index for there in self.container.links()):
                # Its routes go with that. The host unplugs it, at a time of its own: whoever comes
                # meanwhile may have its name.
                self.container.down(link.index)
                self.container.set_link(link.index, name=f"gone{link.index}")
                self.container.commit()
        for mac, (link, former) in list(self._connected.items()):
            nic = wanted[mac]
            for old, new in ((former.gateway, nic.gateway), (former.gateway6, nic.gateway6)):
                if old and not new:
                    self.container.remove_default_route(link.index, old)
            self._connected[mac] = (link, nic)
        self.container.commit()
        for link, nic in self._connected.values():
            self._route(link, nic)
        self.container.commit()

    def take_new(self, nics: tuple[Nic, ...]) -> bool:
        """Bring up those of ``nics`` that have been plugged in; tell whether none is missing."""
        missing = {nic.mac: nic for nic in nics if nic.mac not in self._connected}
        if not missing:
            return True
        for link in self.management.links():
            nic = missing.get(link.mac)
            if nic is None or link == self.management_link:
                continue
            del missing[link.mac]
            self.management.move(link.index, self.container_descriptor, nic.name)
            self.management.commit()
            moved = next(one for one in self.container.links() if one.name == nic.name)
            self._bring_up(moved, nic)
            self.container.commit()
        return not missing

    def _bring_up(self, link: Link, nic: Nic) -> None:
        """Queue what makes an interface the container's."""
        if any(":" in address for address in nic.addresses):
            self._speak_ipv6(link.name)
        self.container.set_link(
            link.index,
            mac=nic.mac if nic.mac != link.mac else "",
            mtu=nic.mtu if nic.mtu != _ETHERNET_MTU else 0,
            name=nic.name if nic.name != link.name else "",
            up=True,
        )
        for address in nic.addresses:
            self.container.add_address(link.index, address)
        self._route(link, nic)
        self._connected[nic.mac] = (link, nic)

    def _route(self, link: Link, nic: Nic) -> None:
        for gateway in (nic.gateway, nic.gateway6):
            if gateway:
                self.container.add_default_route(link.index, gateway)

    def _speak_ipv6(self, name: str) -> None:
        """Let an interface have IPv6: addresses and routes are the host's, never a router's."""
        syscalls.setns(self.container_descriptor, syscalls.CLONE_NEWNET)
        try:
            _write_settings(
                {
                    # ::1 as well then, as with Docker.
                    "net/ipv6/conf/lo/disable_ipv6": "0",
                    f"net/ipv6/conf/{name}/accept_ra": "0",
                    f"net/ipv6/conf/{name}/autoconf": "0",
                    # No address of its own making, from which nothing of it would pass anyway.
                    f"net/ipv6/conf/{name}/addr_gen_mode": "1",
                    f"net/ipv6/conf/{name}/disable_ipv6": "0",
                }
            )
        finally:
            syscalls.setns(self._own, syscalls.CLONE_NEWNET)


def _place(link: Link) -> str:
    return os.path.realpath(f"/sys/class/net/{link.name}/device")


def take_back(namespace: NetworkNamespace, link: Link) -> None:
    """Let an interface be as it was before it got the rehearsal's address."""
    namespace.down(link.index)
    namespace.remove_address(link.index, REHEARSAL_ADDRESS)
    namespace.commit()


def _write_settings(settings: dict[str, str]) -> None:
    for name, value in settings.items():
        path = Path("/proc/sys") / name
        if path.exists():
            path.write_text(value)

"""The two network namespaces of a VM: one for management, one for the container."""

from __future__ import annotations

import os
from pathlib import Path

from tether.guestconfig import ConfigError, Nic
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
# Addresses for documentation (RFC 5737, RFC 7042): nobody has them.
_REHEARSAL_MAC = "02:00:5e:00:53:01"
_REHEARSAL_ADDRESS = "192.0.2.2/24"
_REHEARSAL_GATEWAY = "192.0.2.1"


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
        links = sorted(self.management.links(), key=_place)
        self.management_link = links[0] if links else None
        self._container_links: dict[int, Link] = {}
        for index, link in enumerate(links[1:], start=1):
            # Docker's names, which are right as a rule: renaming later costs a clone some time.
            self.management.move(link.index, self.container_descriptor, f"eth{index - 1}")
        self.management.commit()
        moved = {link.name: link for link in self.container.links()}
        for index in range(1, len(links)):
            self._container_links[index] = moved[f"eth{index - 1}"]

    def rehearse(self) -> None:
        """Configure every interface once, and take that back."""
        links = [(self.container, link) for link in self._container_links.values()]
        if self.management_link is not None:
            links.append((self.management, self.management_link))
        for namespace, link in links:
            namespace.set_link(link.index, mac=_REHEARSAL_MAC, up=True)
            namespace.add_address(link.index, _REHEARSAL_ADDRESS)
            namespace.add_default_route(link.index, _REHEARSAL_GATEWAY)
            namespace.commit()
            namespace.down(link.index)
            namespace.remove_address(link.index, _REHEARSAL_ADDRESS)
            namespace.commit()

    def configure(self, nics: tuple[Nic, ...]) -> None:
        """Bring the container's interfaces up with their addresses and routes.

        The machine always has its full number of interfaces; one that joins no network goes back,
        out of the container's sight.
        """
        for nic in nics:
            link = self._container_links.get(nic.index)
            if link is None:
                raise ConfigError(f"nics: the machine has no interface {nic.index}")
            self.container.set_link(
                link.index,
                mac=nic.mac,
                mtu=nic.mtu if nic.mtu != _ETHERNET_MTU else 0,
                name=nic.name if nic.name != link.name else "",
                up=True,
            )
            for address in nic.addresses:
                self.container.add_address(link.index, address)
            if nic.gateway:
                self.container.add_default_route(link.index, nic.gateway)
        for index in self._container_links.keys() - {nic.index for nic in nics}:
            link = self._container_links[index]
            self.container.move(link.index, self._own, f"unused{index}")
        self.container.commit()


def _place(link: Link) -> str:
    return os.path.realpath(f"/sys/class/net/{link.name}/device")


def _write_settings(settings: dict[str, str]) -> None:
    for name, value in settings.items():
        path = Path("/proc/sys") / name
        if path.exists():
            path.write_text(value)

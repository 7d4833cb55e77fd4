"""Which addresses are fetched from for users: not the host's own, a cloud's or the instances'.

What a build or an import names is fetched by the gateway or storage, which stand in the host's own
network and not behind a container's rules: what listens on the host's loopback alone, a cloud's
metadata, and what is between this or another instance and its containers would be open to whoever
may use the endpoint. The host's other addresses are not closed, nor is what its routes lead to.
"""

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

from portlayer.management import MANAGEMENT_RANGE
from portlayer.web.guarding import Guard

# Instances' bridges have names that begin so (docs/network.md).
_OURS = "vic"
_PROC = Path("/proc/net")

_LOOPBACK = "the host's loopback, where its own services are: name another address of it"
_LINK_LOCAL = "link-local addresses"
_METADATA = "a cloud's metadata"
_CONTAINERS = "the networks of containers and of their VMs"

# Those that aren't link-local: of AWS and Google by IPv6, of Alibaba, of Azure.
_CLOUDS = frozenset(
    map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"))
)
_NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as IPv6 ones (RFC 6052)."""


def guard_of(who: str, proc: Path = _PROC) -> Guard:
    """What keeps "builds", or who it is, from addresses, as the host's routes are now.

    Reads files of the kernel's. VMs of containers may run on another host, so the range of all
    instances' is closed anyway.
    """
    closed: list[IPv4Network | IPv6Network] = [MANAGEMENT_RANGE]
    closed += [*_routes4(proc), *_routes6(proc)]

    def what(address: IPv4Address | IPv6Address) -> str:
        if isinstance(address, IPv6Address):
            address = _unwrapped(address)
        if address.is_loopback or address.is_unspecified:  # to connect to none is to oneself
            return _LOOPBACK
        if address.is_link_local:
            return _LINK_LOCAL
        if address in _CLOUDS:
            return _METADATA
        return _CONTAINERS if any(address in network for network in closed) else ""

    def why(address: IPv4Address | IPv6Address) -> str:
        refused = what(address)
        return f"{who} don't reach {refused}" if refused else ""

    return why


def _unwrapped(address: IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, or itself."""
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address


def _routes4(proc: Path) -> Iterator[IPv4Network]:
    """Networks that the host has by instances' bridges: "Iface Destination … Mask …" by line."""
    for line in (proc / "route").read_text().splitlines()[1:]:
        name, destination, *others = line.split()
        if name.startswith(_OURS) and int(others[5], 16):
            yield IPv4Network((_address(destination), str(_address(others[5]))))


def _address(number: str) -> IPv4Address:
    # The kernel prints what it has in its memory as a number of this machine's own.
    return IPv4Address(int(number, 16).to_bytes(4, sys.byteorder))


def _routes6(proc: Path) -> Iterator[IPv6Network]:
    """The same of IPv6, which a kernel may not have: destination, its length, …, name."""
    try:
        lines = (proc / "ipv6_route").read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        destination, length, *_, name = line.split()
        if name.startswith(_OURS) and int(length, 16):
            yield IPv6Network((bytes.fromhex(destination), int(length, 16)))

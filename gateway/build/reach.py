"""Which addresses builds fetch from: what a container of theirs could reach, and no more.

A fetch is made by the gateway, which stands in the host's own network and not behind a container's
rules: what listens on the host's loopback alone, a cloud's metadata, and what is between this or
another instance and its containers would be open to whoever may build.
"""

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from portlayer.web.guarding import Guard

# Instances' bridges have names that begin so (docs/network.md).
_OURS = "vic"
_PROC = Path("/proc/net")

_LOOPBACK = (
    "builds don't reach the host's loopback, where its own services are: name another address of it"
)
_LINK_LOCAL = "builds don't reach link-local addresses"
_CONTAINERS = "builds don't reach the networks of containers and of their VMs"


def guard_of(management: IPv4Network | None, proc: Path = _PROC) -> Guard:
    """What keeps builds from addresses, as the host's routes are now. Reads files of the kernel's.

    `management` is the network of this instance's VMs, wherever they run.
    """
    closed: list[IPv4Network | IPv6Network] = [*_routes4(proc), *_routes6(proc)]
    if management is not None:
        closed.append(management)

    def why(address: IPv4Address | IPv6Address) -> str:
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_loopback or address.is_unspecified:  # to connect to none is to oneself
            return _LOOPBACK
        if address.is_link_local:
            return _LINK_LOCAL
        return _CONTAINERS if any(address in network for network in closed) else ""

    return why


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

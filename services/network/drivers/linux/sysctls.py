"""Kernel parameters under /proc/sys/net.

Whoever has CAP_NET_ADMIN over the network namespace may write them, whatever its user ID
(net_ctl_permissions in the kernel's net/sysctl_net.c). Which namespace's they are is decided by
the thread that opens the file.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from portlayer.errors import Unavailable

log = logging.getLogger("vic.network.sysctls")

NET = Path("/proc/sys/net")


def enable_forwarding() -> None:
    """Let the host route IPv4, which NAT needs. Raises Unavailable where that can't be.

    It stays on when the instance goes: by then others may count on it.
    """
    path = NET / "ipv4/ip_forward"
    if path.read_text().strip() == "1":
        return
    try:
        path.write_text("1\n")
    except OSError as error:
        raise Unavailable(
            f"cannot turn on net.ipv4.ip_forward, which containers need to reach the outside: "
            f"{error.strerror}"
        ) from error
    log.warning("turned on net.ipv4.ip_forward: this host now routes between its networks")


def enable_forwarding6() -> None:
    """Let the host route IPv6. Raises Unavailable where that can't be.

    A host that routes no longer listens to routers of its own by default; where it did, it goes on,
    as else it would lose its own way out after a while.
    """
    path = NET / "ipv6/conf/all/forwarding"
    try:
        if path.read_text().strip() == "1":
            return
        for accepts in (NET / "ipv6/conf").glob("*/accept_ra"):
            if accepts.read_text().strip() == "1":
                accepts.write_text("2\n")
        path.write_text("1\n")
    except OSError as error:
        raise Unavailable(
            "cannot turn on net.ipv6.conf.all.forwarding, which containers need to reach the "
            f"outside: {error.strerror}"
        ) from error
    log.warning("turned on net.ipv6.conf.all.forwarding: this host now routes IPv6")


def enable_ipv6(interface: str) -> None:
    """Let the host have IPv6 addresses on a bridge of ours, those that we give it.

    They are not looked for on the network first, as nobody else there can have them: for seconds
    the kernel would ask for no container's MAC address, and drop what comes for it.
    """
    conf = NET / "ipv6/conf" / interface
    values = (("accept_ra", "0"), ("autoconf", "0"), ("accept_dad", "0"), ("disable_ipv6", "0"))
    for name, value in values:
        (conf / name).write_text(f"{value}\n")


def disable_ipv6(interface: str) -> None:
    """Keep the host from using IPv6 on a link of ours, which may be gone already."""
    # Of each tap: buffers and encodings would take longer than the kernel does.
    path = f"{NET}/ipv6/conf/{interface}/disable_ipv6"
    # No such link, or none any more between open and write; or a kernel without IPv6.
    with suppress(FileNotFoundError):
        parameter = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(parameter, b"1\n")
        finally:
            os.close(parameter)


def answer_own_addresses_only(interface: str) -> None:
    """Let the host answer ARP on a link for the addresses of that link alone."""
    (NET / "ipv4/conf" / interface / "arp_ignore").write_text("1\n")


def answer_for_nobody(interface: str) -> None:
    """Let the host answer no ARP on a link, where it answers for all of its addresses else."""
    (NET / "ipv4/conf" / interface / "arp_ignore").write_text("8\n")


def route_loopback(interface: str) -> None:
    """Let packets of 127.0.0.0/8 leave and come by a link, where they are martians else.

    So the host reaches a port that is published on 127.0.0.1. What a container sends to that range
    by itself is dropped by the rules. The link may be gone already.
    """
    with suppress(FileNotFoundError):
        (NET / "ipv4/conf" / interface / "route_localnet").write_text("1\n")

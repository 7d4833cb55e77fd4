"""Which servers are connected to: an address is looked at where the connection begins.

There it is the one that is really used, whatever name led to it and whoever answers for that name;
a redirect makes a connection of its own.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp import AddrInfoType

from portlayer.web.addresses import as_sent

Guard = Callable[[IPv4Address | IPv6Address], str]
"""Says why an address is none that may be connected to; nothing where it is one."""


class Refused(OSError):
    """Our own refusal to connect somewhere, in place of the system's."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EACCES, why)
        self.why = why


def guarded_socket(guard: Guard, found: AddrInfoType) -> socket.socket:
    """The socket for a connection. Raises Refused for an address that is none to connect to."""
    family, kind, protocol, _, address = found
    try:
        why = guard(ip_address(address[0]))
    except ValueError:
        why = "no address"
    if why:
        raise Refused(why)
    return socket.socket(family, kind, protocol)


def check_host(guard: Guard, url: str) -> None:
    """Raise Refused where the host of a URL is itself an address that is none to connect to."""
    address = _address_in(url)
    why = "" if address is None else guard(address)
    if why:
        raise Refused(why)


def _address_in(url: str) -> IPv4Address | IPv6Address | None:
    """The address that a URL's host is in any spelling that systems take; None for a name."""
    try:
        host = (as_sent(url).host or "").lower().removesuffix(".")
    except ValueError:
        return None  # it isn't sent either
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return ip_address(host)
    except ValueError:
        pass
    if any(char.isspace() for char in host):  # behind which inet_aton takes anything
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None

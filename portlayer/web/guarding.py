"""Which servers are connected to: an address is looked at where the connection begins.

There it is the one that is really used, whatever name led to it and whoever answers for that name;
a redirect makes a connection of its own.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from aiohttp import AddrInfoType

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
    try:
        why = guard(ip_address(urlsplit(url).hostname or ""))
    except ValueError:
        return
    if why:
        raise Refused(why)

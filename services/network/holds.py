"""Holding ports of the host, so that no other program or instance has them meanwhile."""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from services.network.drivers import Transport
from services.network.names.upstream import DNS_PORT

PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL_RANGE = (32_768, 60_999)

Place = tuple[Transport, IPv4Address | IPv6Address, int]
"""Transport, address of the host (0.0.0.0 and :: mean all of their kind), port."""

_KINDS = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}


class Holds:
    """Sockets on published ports. Nothing ever comes to them, since the rules lead it away."""

    def __init__(self, shared: int = DNS_PORT) -> None:
        """`shared` is the port of our own name servers, each at an address of its own."""
        self._shared = shared
        self._sockets: dict[Place, socket.socket] = {}

    def take(self, place: Place) -> None:
        """Hold a port. Raises OSError, with EADDRINUSE where another program has it."""
        if place in self._sockets:
            raise OSError(errno.EADDRINUSE, "port is already allocated")
        transport, address, port = place
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        held = socket.socket(family, _KINDS[transport] | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                # The same port of IPv4 is another's. And it must not listen: what comes from ::1
                # is led nowhere, and is to be refused, so that callers go on to 127.0.0.1.
                held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            elif transport is Transport.TCP:
                # Ended connections linger, and would keep the port from us. It has to listen then:
                # two that don't may have one port.
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port == self._shared and address.is_unspecified:
                # All addresses but theirs. Who has another user still can't have it.
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((str(address), port))
            if transport is Transport.TCP and family == socket.AF_INET:
                held.listen(1)
        except OSError:
            held.close()
            raise
        self._sockets[place] = held

    def give_back(self, place: Place) -> None:
        """Let go of a port. Idempotent."""
        held = self._sockets.pop(place, None)
        if held is not None:
            held.close()

    def close(self) -> None:
        """Let go of all."""
        for place in list(self._sockets):
            self.give_back(place)


def free_ports(path: Path = PORT_RANGE) -> range:
    """Return the ports from which one is given to who names none: those of the host's own."""
    try:
        first, last = (int(word) for word in path.read_text().split())
    except (OSError, ValueError):
        first, last = USUAL_RANGE
    return range(first, last + 1)

"""Ports for those who must be told theirs before they take it."""

import socket
from random import SystemRandom

# Below those that the kernel gives to who names none (ip_local_port_range), of which every test
# beside takes some at any moment; above those of facets in containers (installer/roles.py).
_OURS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has for TCP or UDP at any address, nor gets without asking for it.

    In no order that another process has as well.
    """
    found: list[int] = []
    for port in SystemRandom().sample(_OURS, 1000):
        if len(found) == count:
            break
        if _is_free(port):
            found.append(port)
    assert len(found) == count, "there are no free ports"
    return found


def free_port() -> int:
    """Return one of them."""
    (port,) = free_ports(1)
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            for probe in (tcp, udp):
                probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True

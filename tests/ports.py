"""Ports for programs that have to be told one."""

import random
import socket

# Below those that the kernel gives to whoever asks for any, or connects
# (net.ipv4.ip_local_port_range), and above the suite's own.
CHOICE = range(20_000, 32_000)
KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)


def free_port() -> int:
    """Return a port of loopback that nobody has, by TCP or UDP, nor gets without asking for it.

    One of the kernel's choice may be another's by the time that it is bound, or even be connected
    to itself by who tries to reach it meanwhile.
    """
    for port in random.SystemRandom().sample(CHOICE, 1000):
        if all(_is_free(kind, port) for kind in KINDS):
            return port
    raise AssertionError("there is no free port")


def _is_free(kind: socket.SocketKind, port: int) -> bool:
    with socket.socket(type=kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

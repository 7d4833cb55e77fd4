"""Noticing that a peer has gone for good after it closed its write side.

Once end of file was read from a socket, asyncio stops polling it for reading, and a peer that later
disappears is noticed only by the next write. The kernel does know: it raises ``EPOLLHUP`` or
``EPOLLERR`` on the descriptor, and reports both even where no event was asked for.
"""

import asyncio
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A TCP peer that half-closed and then vanished sends nothing more; the kernel finds out by probing.
_KEEPALIVE_IDLE_SECONDS = 30
_KEEPALIVE_INTERVAL_SECONDS = 10
_KEEPALIVE_PROBES = 3


def keep_alive(sock: socket.socket) -> None:
    """Have the kernel probe a TCP peer, so that one that vanished is noticed within a minute."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)


@contextmanager
def watching_for_hangup(descriptor: int, gone: Callable[[], None]) -> Iterator[None]:
    """Call ``gone`` once, as soon as both directions of the socket are shut or it has failed.

    A mere half-close by the peer does not count.
    """
    loop = asyncio.get_running_loop()
    with select.epoll() as poll:
        poll.register(descriptor, 0)

        def ready() -> None:
            if poll.poll(0):
                loop.remove_reader(poll.fileno())
                gone()

        loop.add_reader(poll.fileno(), ready)
        try:
            yield
        finally:
            loop.remove_reader(poll.fileno())

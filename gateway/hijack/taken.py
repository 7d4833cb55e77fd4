"""Noticing that a local peer has read what it was sent.

Some clients read a response's head through a buffer and then go on with the bare socket: what came
right behind the head stays in that buffer, and is lost to them. docker-py does so. With dockerd a
process has to be started first, or a log opened; here the first output can be there at once.
"""

import array
import asyncio
import fcntl
import select
import socket
import termios


async def taken(sock: socket.socket, seconds: float) -> None:
    """Return when the peer has read all that was sent, or after a time.

    Only the peer of a Unix socket is on this machine to be asked; for others it returns at once.
    """
    if sock.family != socket.AF_UNIX or not _unread(sock):
        return
    loop = asyncio.get_running_loop()
    read = asyncio.Event()
    with select.epoll() as poll:
        # By edge: the kernel tells again whenever the peer has read some.
        poll.register(sock.fileno(), select.EPOLLOUT | select.EPOLLET)

        def ready() -> None:
            poll.poll(0)
            if not _unread(sock):
                read.set()

        loop.add_reader(poll.fileno(), ready)
        try:
            async with asyncio.timeout(seconds):
                await read.wait()
        except TimeoutError:
            pass  # it waits for more before it reads any: that's its own affair
        finally:
            loop.remove_reader(poll.fileno())


def _unread(sock: socket.socket) -> bool:
    """Whether something that was sent is not read yet; SIOCOUTQ has TIOCOUTQ's number."""
    size = array.array("i", [0])
    try:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, size)
    except (OSError, ValueError):
        return False  # the connection is lost
    return size[0] > 0

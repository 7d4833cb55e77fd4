"""How the tether's processes talk to one another: small messages with descriptors.

Supervisor, agent and each process that is about to become a workload share socket pairs of type
SOCK_SEQPACKET: one message, one packet, its descriptors with it. A message longer than a packet
may be (a huge environment) travels in a memfd that is its last descriptor.

Both ends run the same interpreter and trust each other, so messages are in CPython's own format
(marshal), which a clone can read without touching a parser's code for the first time.
"""

from __future__ import annotations

import array
import marshal
import os
import socket
from collections.abc import Sequence
from typing import Any, cast

Message = dict[str, Any]

_INLINE = b"I"
_IN_MEMFD = b"M"
# Far below the default send buffer of 208 KiB, so that a packet always finds room.
_LONGEST_INLINE = 32 * 1024
_MOST_DESCRIPTORS = 250  # SCM_MAX_FD of the kernel is 253


class LinkClosedError(Exception):
    """The other process is gone."""


def pair() -> tuple[Link, Link]:
    """Two connected ends; neither is inherited over an exec unless made inheritable."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Link(left), Link(right)


class Link:
    """One end."""

    def __init__(self, sock: socket.socket) -> None:
        """Wrap a connected SOCK_SEQPACKET socket."""
        self._socket = sock

    def fileno(self) -> int:
        """The socket's descriptor, to wait for messages."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message with copies of ``descriptors``. Raises LinkClosedError."""
        body = marshal.dumps(message)
        try:
            if len(body) <= _LONGEST_INLINE:
                socket.send_fds(self._socket, [_INLINE + body], list(descriptors))
                return
            memory = os.memfd_create("message", os.MFD_CLOEXEC)
            with open(memory, "wb") as file:
                file.write(body)
                file.flush()
                socket.send_fds(self._socket, [_IN_MEMFD], [*descriptors, memory])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise LinkClosedError from error

    def receive(self, *, wait: bool = True) -> tuple[Message, list[int]]:
        """The next message and its descriptors, closed on exec. Raises LinkClosedError at the end.

        Without ``wait``, BlockingIOError says that there is none.
        """
        # socket.recv_fds of Python 3.11 ignores its flags.
        flags = socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT)
        descriptors = array.array("i")
        room = socket.CMSG_LEN(_MOST_DESCRIPTORS * descriptors.itemsize)
        try:
            data, ancillary, _flags, _address = self._socket.recvmsg(
                _LONGEST_INLINE + 1, room, flags
            )
        except ConnectionResetError as error:
            raise LinkClosedError from error
        if not data:
            raise LinkClosedError
        for level, kind, body in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(
                    body[: len(body) // descriptors.itemsize * descriptors.itemsize]
                )
        if data[:1] == _INLINE:
            return cast(Message, marshal.loads(data[1:])), list(descriptors)  # noqa: S302 — our own
        with open(descriptors.pop(), "rb") as file:
            file.seek(0)
            return cast(Message, marshal.loads(file.read())), list(descriptors)  # noqa: S302

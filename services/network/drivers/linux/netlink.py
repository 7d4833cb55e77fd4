"""Netlink on the wire: just enough for what is done at each start of a container, and for events.

pyroute2 changes the bridges, addresses and routes; why it reads none is said in listing.py. It sets
no options of a bridge's port (its brport() is accepted by the kernel and does nothing there), and
knows no concatenated keys of nftables' sets; and nft(8) takes 5 ms to run.

Source: linux/netlink.h; https://docs.kernel.org/userspace-api/netlink/intro.html
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type

ANSWER_SECONDS = 10.0
SO_SNDBUFFORCE = 32
SEND_BUFFER_BYTES = 4 * 1024 * 1024
"""A transaction is sent as one datagram; 60 bytes an element."""
MAX_SEQUENCE = 0x7FFFFFFF
DATAGRAM_BYTES = 65536
"""The kernel fills at most half of it."""
MOST_READINGS = 20
"""Of one list, which is read again where something was added or taken meanwhile."""


@dataclass(frozen=True)
class Request:
    """A message to send."""

    kind: int
    payload: bytes
    flags: int = 0
    acknowledged: bool = True
    """Whether the kernel can answer it on success as well."""


@dataclass(frozen=True)
class Message:
    """A received message."""

    kind: int
    sequence: int
    port: int
    payload: bytes
    flags: int = 0

    @property
    def error(self) -> int:
        """Error number that an NLMSG_ERROR or NLMSG_DONE carries; 0 is an acknowledgement."""
        code: int = struct.unpack_from("=i", self.payload)[0]
        return -code


class RequestSocket:
    """A netlink socket for requests; used by one thread at a time."""

    def __init__(self, protocol: int) -> None:
        self._sequence = 0
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES)
        self._socket.bind((0, 0))
        self._socket.settimeout(ANSWER_SECONDS)

    @property
    def port(self) -> int:
        """The socket's address."""
        port: int = self._socket.getsockname()[0]
        return port

    def run(self, requests: Sequence[Request], subject: str) -> None:
        """Send all requests at once, and return when the kernel has done them.

        Raises OSError with the kernel's first error, and `subject` as its file name.
        """
        numbered = [(self._next(), request) for request in requests]
        ours = {number for number, _ in numbered}
        # They are done in order, and an error is told in any case: so the last one stands for all.
        last = [number for number, request in numbered if request.acknowledged][-1]
        self._socket.send(
            b"".join(
                encode(request, number, acknowledged=number == last) for number, request in numbered
            )
        )
        while True:
            for answer in messages(self._socket.recv(DATAGRAM_BYTES)):
                # Answers to requests that failed before us are still in the queue.
                if answer.kind != NLMSG_ERROR or answer.sequence not in ours:
                    continue
                if answer.error:
                    raise OSError(answer.error, os.strerror(answer.error), subject)
                if answer.sequence == last:
                    return

    def ask(self, request: Request, subject: str) -> Message:
        """Return the one message that answers a question. Raises OSError as `run` does."""
        asked = self._send(request)
        while True:
            for answer in messages(self._socket.recv(DATAGRAM_BYTES)):
                if answer.sequence == asked:
                    _raise_error(answer, subject)
                    return answer

    def dump(self, request: Request, subject: str) -> list[Message]:
        """Return all messages that answer a question, as they were at one moment.

        Raises OSError as `run` does, and with EINTR where things change all the time.
        """
        for _ in range(MOST_READINGS):
            found = self._read(request, subject)
            if not any(answer.flags & NLM_F_DUMP_INTR for answer in found):
                return found[:-1]
        raise OSError(errno.EINTR, "they change all the time", subject)

    def _read(self, request: Request, subject: str) -> list[Message]:
        asked = self._send(replace(request, flags=request.flags | NLM_F_DUMP))
        found = []
        while True:
            for answer in messages(self._socket.recv(DATAGRAM_BYTES)):
                if answer.sequence != asked:
                    continue
                _raise_error(answer, subject)
                found.append(answer)
                if answer.kind == NLMSG_DONE:
                    return found

    def _send(self, request: Request) -> int:
        number = self._next()
        self._socket.send(encode(request, number))
        return number

    def _next(self) -> int:
        self._sequence = self._sequence % MAX_SEQUENCE + 1
        return self._sequence

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _raise_error(answer: Message, subject: str) -> None:
    if answer.kind in (NLMSG_ERROR, NLMSG_DONE) and answer.error:
        raise OSError(answer.error, os.strerror(answer.error), subject)


def encode(request: Request, sequence: int, *, acknowledged: bool = False) -> bytes:
    """Return a request as it is sent: to be answered on success as well, or not."""
    length = _HEADER.size + len(request.payload)
    flags = NLM_F_REQUEST | request.flags | (NLM_F_ACK if acknowledged else 0)
    header = _HEADER.pack(length, request.kind, flags, sequence, 0)
    return header + request.payload + _padding(len(request.payload))


def attribute(kind: int, value: bytes, *, nested: bool = False) -> bytes:
    """Return one attribute, padded."""
    length = _ATTRIBUTE.size + len(value)
    header = _ATTRIBUTE.pack(length, kind | (NLA_F_NESTED if nested else 0))
    return header + value + _padding(len(value))


def messages(datagram: bytes) -> Iterator[Message]:
    """Yield the messages of a datagram."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, port = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size:
            return
        payload = datagram[offset + _HEADER.size : offset + length]
        yield Message(kind, sequence, port, payload, flags)
        offset += length + (-length % 4)


def attributes(payload: bytes, offset: int) -> dict[int, bytes]:
    """Return the attributes that begin at an offset, by type; of several the last."""
    found = {}
    while offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & NLA_TYPE_MASK] = payload[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)
    return found


def text(value: bytes) -> str:
    """Return a string attribute without its end."""
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")


def _padding(length: int) -> bytes:
    return b"\0" * (-length % 4)

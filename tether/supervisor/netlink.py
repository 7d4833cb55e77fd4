"""Configures network interfaces by rtnetlink: addresses, routes, names, namespaces.

Message formats: rtnetlink(7) and ``linux/rtnetlink.h``, ``linux/if_link.h``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass

from tether.addresses import broadcast, packed_address, split_interface

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP = 0x300
_NLM_F_CREATE_REPLACE = 0x500

_RTM_NEWLINK = 16
_RTM_GETLINK = 18
_RTM_NEWADDR = 20
_RTM_DELADDR = 21
_RTM_NEWROUTE = 24
_RTM_DELROUTE = 25
_RTMGRP_LINK = 1

_IFF_UP = 1
_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_NET_NS_FD = 28
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_BROADCAST = 4
_IFA_FLAGS = 8
_IFA_F_NODAD = 0x02
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RT_TABLE_MAIN = 254
_RTPROT_BOOT = 3
_RT_SCOPE_UNIVERSE = 0
_RTN_UNICAST = 1
_LOOPBACK = 1  # index of lo in every network namespace


class NetlinkError(OSError):
    """The kernel refused a change; the message says which."""


@dataclass(frozen=True)
class Link:
    """An interface as the kernel lists it."""

    index: int
    name: str
    mac: str = ""


class NetworkNamespace:
    """A netlink socket in one network namespace.

    A socket belongs for good to the namespace it was made in, so the supervisor keeps one for the
    management namespace and one for the container's, and never has to switch to configure them.
    """

    def __init__(self) -> None:
        """Open the socket in the namespace that the caller is in now."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        self._sequence = 0
        self._batch: list[tuple[int, str, bytes]] = []

    def close(self) -> None:
        """Close the socket; the namespace lives on with its processes."""
        self._socket.close()

    def links(self) -> list[Link]:
        """All interfaces of the namespace but lo."""
        self._sequence += 1
        body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        self._socket.send(self._message(_RTM_GETLINK, _NLM_F_REQUEST | _NLM_F_DUMP, body))
        found: list[Link] = []
        while True:
            for kind, payload in _messages(self._socket.recv(65536)):
                if kind == _NLMSG_DONE:
                    return [link for link in found if link.name != "lo"]
                _family, _type, index, _flags, _change = _LINK.unpack_from(payload)
                attributes = _attributes(payload[_LINK.size :])
                name = attributes[_IFLA_IFNAME].rstrip(b"\0").decode()
                found.append(Link(index, name, attributes.get(_IFLA_ADDRESS, b"").hex(":")))

    def up(self, index: int) -> None:
        """Queue: bring an interface up."""
        self._queue_link(f"bring up interface {index}", index, b"", _IFF_UP)

    def up_loopback(self) -> None:
        """Queue: bring lo up."""
        self.up(_LOOPBACK)

    def set_link(
        self, index: int, *, mac: str = "", mtu: int = 0, name: str = "", up: bool = False
    ) -> None:
        """Queue: change an interface that is down, and perhaps bring it up."""
        attributes = b""
        if mac:
            attributes += _attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
        if mtu:
            attributes += _attribute(_IFLA_MTU, struct.pack("=I", mtu))
        if name:
            attributes += _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        flags = _IFF_UP if up else 0
        self._queue_link(f"set {mac or name} on interface {index}", index, attributes, flags)

    def move(self, index: int, namespace: int, name: str) -> None:
        """Queue: move an interface into the namespace behind a descriptor, under a name."""
        attributes = _attribute(_IFLA_NET_NS_FD, struct.pack("=i", namespace))
        attributes += _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        self._queue_link(f"move interface {index}", index, attributes)

    def add_address(self, index: int, address: str) -> None:
        """Queue: give an interface an address with its prefix length."""
        packed, prefix = split_interface(address)
        body = _ADDRESS.pack(_family(packed), prefix, 0, 0, index)
        body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        if len(packed) == 4 and prefix < 31:
            body += _attribute(_IFA_BROADCAST, broadcast(packed, prefix))
        if len(packed) == 16:
            # The address is the network's own assignment: duplicates can't happen, waiting would.
            body += _attribute(_IFA_FLAGS, struct.pack("=I", _IFA_F_NODAD))
        self._queue(f"add {address}", _RTM_NEWADDR, body)

    def remove_address(self, index: int, address: str) -> None:
        """Queue: take an address from an interface."""
        packed, prefix = split_interface(address)
        body = _ADDRESS.pack(_family(packed), prefix, 0, 0, index) + _attribute(_IFA_LOCAL, packed)
        self._queue(f"remove {address}", _RTM_DELADDR, body, _NLM_F_REQUEST | _NLM_F_ACK)

    def down(self, index: int) -> None:
        """Queue: take an interface down; its routes go with that."""
        body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, _IFF_UP)
        self._queue(f"take down interface {index}", _RTM_NEWLINK, body, _NLM_F_REQUEST | _NLM_F_ACK)

    def add_default_route(self, index: int, gateway: str) -> None:
        """Queue: send what has no other route to ``gateway``, and to no other of its kind."""
        self._queue(f"route to {gateway}", _RTM_NEWROUTE, _default_route(index, gateway))

    def remove_default_route(self, index: int, gateway: str) -> None:
        """Queue: take back what :meth:`add_default_route` did; there must be such a route."""
        body = _default_route(index, gateway)
        flags = _NLM_F_REQUEST | _NLM_F_ACK
        self._queue(f"no route to {gateway}", _RTM_DELROUTE, body, flags)

    def _queue_link(self, what: str, index: int, attributes: bytes, flags: int = 0) -> None:
        body = _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags) + attributes
        self._queue(what, _RTM_NEWLINK, body, _NLM_F_REQUEST | _NLM_F_ACK)

    def _queue(
        self,
        what: str,
        kind: int,
        body: bytes,
        flags: int = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE_REPLACE,
    ) -> None:
        self._sequence += 1
        self._batch.append((self._sequence, what, self._message(kind, flags, body)))

    def _message(self, kind: int, flags: int, body: bytes) -> bytes:
        return _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body

    def commit(self) -> None:
        """Carry out what is queued, in order and by one call. Raises NetlinkError."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        waiting = {sequence: what for sequence, what, _message in batch}
        self._socket.send(b"".join(message for _sequence, _what, message in batch))
        failure: NetlinkError | None = None
        while waiting:
            data = self._socket.recv(65536)
            for sequence, number in _acknowledgements(data):
                what = waiting.pop(sequence, "")
                if number and failure is None:
                    failure = NetlinkError(-number, f"{what}: {os.strerror(-number)}")
        if failure is not None:
            raise failure


class LinkNews:
    """Tells that interfaces of a network namespace have come or changed."""

    def __init__(self) -> None:
        """Listen from now on, in the namespace that the caller is in."""
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        self._socket.bind((0, _RTMGRP_LINK))

    def fileno(self) -> int:
        """Readable when there is news."""
        return self._socket.fileno()

    def take(self) -> None:
        """Take all news away. What they say is asked for by listing, so losing some is no harm."""
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def _default_route(index: int, gateway: str) -> bytes:
    address = packed_address(gateway)
    body = _ROUTE.pack(
        *(_family(address), 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE),
        *(_RTN_UNICAST, 0),
    )
    body += _attribute(_RTA_OIF, struct.pack("=i", index))
    return body + _attribute(_RTA_GATEWAY, address)


def _family(packed: bytes) -> int:
    return socket.AF_INET if len(packed) == 4 else socket.AF_INET6


def _attribute(kind: int, value: bytes) -> bytes:
    data = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
    return data + b"\0" * (-len(data) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found


def _messages(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= _HEADER.size:
        length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data)
        found.append((kind, data[_HEADER.size : length]))
        data = data[(length + 3) & ~3 :]
    return found


def _acknowledgements(data: bytes) -> list[tuple[int, int]]:
    found = []
    while len(data) >= _HEADER.size:
        length, kind, _flags, sequence, _port = _HEADER.unpack_from(data)
        if kind == _NLMSG_ERROR:
            found.append((sequence, _ERROR.unpack_from(data, _HEADER.size)[0]))
        data = data[(length + 3) & ~3 :]
    return found

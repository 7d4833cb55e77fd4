"""Putting taps on bridges and taking them off; all calls block and are made by one thread.

Source: linux/if_link.h, linux/rtnetlink.h; `bridge link set` of iproute2
"""

import errno
import logging
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.network.drivers import Segment
from services.network.drivers.linux import sysctls
from services.network.drivers.linux.netlink import (
    NLMSG_ERROR,
    Message,
    Request,
    RequestSocket,
    attribute,
    attributes,
    encode,
    messages,
)

log = logging.getLogger("vic.network.ports")

NETLINK_ROUTE = 0
RTM_SETLINK = 19
RTEXT_FILTER_SKIP_STATS = 1 << 3
IFLA_MTU = 4
IFLA_MASTER = 10
IFLA_PROTINFO = 12
IFLA_OPERSTATE = 16
IFLA_EXT_MASK = 29
IFLA_BRPORT_GROUP_FWD_MASK = 31
IFLA_BRPORT_ISOLATED = 33
IFF_UP = 1
IF_OPER_UP = 6
RTM_NEWLINK = 16
RTM_GETLINK = 18
RTMGRP_LINK = 1
LINK_HEADER = struct.Struct("=BxHiII")  # struct ifinfomsg
_NUMBER = struct.Struct("=I")

WITHOUT_COUNTERS = attribute(IFLA_EXT_MASK, _NUMBER.pack(RTEXT_FILTER_SKIP_STATS))
"""What makes an answer about a link half as long."""

FOR_THE_LINK = 0xFFFF & ~(1 << 1)
"""Of 01:80:c2:00:00:00 to …0f, the addresses whose frames take the way of all others.

A frame to them belongs to the link itself, and a bridge gives it to the host as its tap's, without
the hooks where the rules are (br_handle_frame in net/bridge/br_input.c): so a container could reach
the host under any address. The one that is missing asks for a pause, and goes nowhere.
"""

WAKING_SECONDS = 2.0
"""The kernel does it within milliseconds, or once a second where links change a lot."""


@dataclass(frozen=True)
class Place:
    """Where a tap belongs."""

    tap: str
    bridge: str
    segment: Segment


class Ports:
    """The bridge's side of the VMs' network cards."""

    def __init__(self) -> None:
        self._socket = RequestSocket(NETLINK_ROUTE)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def attach(self, places: Sequence[Place]) -> list[int | None]:
        """Put taps on their bridges and set them up, all at once.

        Returns their indexes, None for each that is missing; the others are then set up or not.
        Raises OSError, also when a bridge is missing.
        """
        indexes = [index_of(place.tap) for place in places]
        requests: list[Request] = []
        for place, index in zip(places, indexes, strict=True):
            if index is None:
                return indexes
            # The host itself says nothing to a VM except through the bridge.
            sysctls.disable_ipv6(place.tap)
            requests += _attachment(index, _master(place.bridge), place.segment)
        try:
            self._socket.run(requests, ", ".join(place.tap for place in places))
        except OSError:
            left = [
                index if index_of(place.tap) == index else None
                for place, index in zip(places, indexes, strict=True)
            ]
            if None not in left:
                raise
            return left
        return indexes

    def await_bridge(self, bridge: str) -> None:
        """Wait until a bridge sends.

        The host's side of a bridge without ports is asleep. The first port wakes it, but only when
        the kernel comes to it: until then the host's answers are lost, and a VM that is quick would
        wait a second before it asks for the gateway's MAC address again.
        """
        index = index_of(bridge)
        if index is None or self._is_awake(bridge, index):
            return
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE
        ) as news:
            news.bind((0, RTMGRP_LINK))
            # The answer comes over the same socket as the news that follow it.
            question = encode(_question(index), 1)
            news.send(question)
            deadline = time.monotonic() + WAKING_SECONDS
            while (left := deadline - time.monotonic()) > 0:
                news.settimeout(left)
                try:
                    datagram = news.recv(65536)
                except TimeoutError:
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    # News of a hundred links at once, ours perhaps among those that were lost.
                    news.send(question)
                    continue
                if any(_says_awake(message, index) for message in messages(datagram)):
                    return
        log.warning("bridge %s does not wake up", bridge)

    def _is_awake(self, bridge: str, index: int) -> bool:
        """Tell whether a bridge sends, or is gone. Raises OSError."""
        try:
            return _says_awake(self._socket.ask(_question(index), bridge), index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return True

    def detach(self, taps: Iterable[str]) -> None:
        """Set taps down and take them off their bridges, where they still are. Raises OSError."""
        off = attribute(IFLA_MASTER, _NUMBER.pack(0))
        there = {tap: index for tap in taps if (index := index_of(tap)) is not None}
        while there:
            requests = [
                request
                for index in there.values()
                for request in (_set_link(index, flags=0), _set_link(index, off))
            ]
            try:
                self._socket.run(requests, ", ".join(there))
            except OSError:
                left = {tap: index for tap, index in there.items() if index_of(tap) == index}
                if left == there:
                    raise
                # It was of one that has gone, or else it comes again.
                there = left
            else:
                return


def port_of(segment: Segment) -> tuple[bool, int]:
    """Return whether a segment's taps are isolated, and which frames for the link pass on."""
    return segment.management or segment.isolated, FOR_THE_LINK


def set_port(index: int, isolated: bool, passed_on: int) -> Request:
    """Return a request that says what a port of a bridge may do."""
    port = attribute(IFLA_BRPORT_ISOLATED, struct.pack("=B", isolated))
    port += attribute(IFLA_BRPORT_GROUP_FWD_MASK, struct.pack("=H", passed_on))
    return _set_link(index, attribute(IFLA_PROTINFO, port, nested=True), family=socket.AF_BRIDGE)


def _attachment(index: int, master: int, segment: Segment) -> list[Request]:
    """Return the requests that put a tap on a bridge."""
    joined = attribute(IFLA_MTU, _NUMBER.pack(segment.mtu))
    joined += attribute(IFLA_MASTER, _NUMBER.pack(master))
    return [
        _set_link(index, joined),
        set_port(index, *port_of(segment)),
        # Last, so that it is isolated before the first frame passes.
        _set_link(index, flags=IFF_UP),
    ]


def _master(bridge: str) -> int:
    """Return a bridge's index. Raises OSError."""
    index = index_of(bridge)
    if index is None:
        raise OSError(errno.ENODEV, "no such bridge", bridge)
    return index


def _question(index: int) -> Request:
    """Return a request that asks for a link's state."""
    return Request(RTM_GETLINK, LINK_HEADER.pack(0, 0, index, 0, 0) + WITHOUT_COUNTERS)


def index_of(name: str) -> int | None:
    """Return the index of a link, or None where there is none of that name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def _says_awake(message: Message, index: int) -> bool:
    """Tell whether a message says that a link passes packets, or that it is gone."""
    if message.kind == NLMSG_ERROR:
        return message.error != 0
    if message.kind != RTM_NEWLINK:
        return False
    family, _kind, found, _flags, _change = LINK_HEADER.unpack_from(message.payload)
    state = attributes(message.payload, LINK_HEADER.size).get(IFLA_OPERSTATE)
    return family == 0 and found == index and state == bytes([IF_OPER_UP])


def _set_link(
    index: int, attributes: bytes = b"", *, flags: int | None = None, family: int = 0
) -> Request:
    """Return a request that changes a link; of its flags IFF_UP alone, where flags are given."""
    mask = 0 if flags is None else IFF_UP
    header = LINK_HEADER.pack(family, 0, index, flags or 0, mask)
    return Request(RTM_SETLINK, header + attributes)

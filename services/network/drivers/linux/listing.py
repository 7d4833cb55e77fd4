"""What the kernel has: its links, addresses and routes. All calls block.

Every comparison reads those of the whole host, on which others may have hundreds, so they are read
as flat as they come. pyroute2 makes a tree of objects of each message that refer to one another: a
hundred links are 45,000 objects, which go only when the garbage collector finds them, and some
40 MB of them were there at most times.

Source: rtnetlink(7); linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h
"""

import errno
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from services.network.drivers.linux.netlink import (
    Message,
    Request,
    RequestSocket,
    attribute,
    attributes,
    text,
)
from services.network.drivers.linux.ports import (
    IFF_UP,
    IFLA_BRPORT_GROUP_FWD_MASK,
    IFLA_BRPORT_ISOLATED,
    IFLA_MASTER,
    IFLA_MTU,
    LINK_HEADER,
    NETLINK_ROUTE,
    RTM_GETLINK,
    WITHOUT_COUNTERS,
)

RTM_GETADDR = 22
RTM_GETROUTE = 26
ADDRESS_HEADER = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, length, flags, scope, index
# struct rtmsg: family, lengths, tos, table, protocol, scope, type, flags
ROUTE_HEADER = struct.Struct("=BBBBBBBBI")
IFF_LOOPBACK = 8
IFLA_IFNAME = 3
IFLA_LINKINFO = 18
IFLA_INFO_KIND = 1
IFLA_INFO_SLAVE_KIND = 4
IFLA_INFO_SLAVE_DATA = 5
IFA_ADDRESS = 1
IFA_LOCAL = 2
RTA_DST = 1
RTA_OIF = 4

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Link:
    """A network interface of the host."""

    index: int
    name: str
    kind: str
    master: int
    up: bool
    mtu: int
    loopback: bool = False
    port: tuple[bool, int] = (False, 0)
    """As a bridge's port: whether it is isolated, and which frames for the link it passes on."""


@dataclass(frozen=True)
class LinkAddress:
    """An address of the host on one of its links."""

    index: int
    address: Address
    prefix: Address
    """The same one, or the other end's of a line between two."""
    length: int


@dataclass(frozen=True)
class Route:
    """A route of the host that leads to a part of all addresses."""

    table: int
    destination: Address
    length: int
    index: int | None
    """Of the link that it leaves by, where that is one."""


class Listing:
    """Asks the kernel; used by one thread at a time."""

    def __init__(self) -> None:
        self._socket = RequestSocket(NETLINK_ROUTE)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def links(self) -> list[Link]:
        """Return all links of the host. Raises OSError, as the others do."""
        asked = LINK_HEADER.pack(0, 0, 0, 0, 0) + WITHOUT_COUNTERS
        return [_link(answer) for answer in self._socket.dump(Request(RTM_GETLINK, asked), "links")]

    def link(self, name: str) -> Link | None:
        """Return the link of a name, or None where there is none."""
        asked = LINK_HEADER.pack(0, 0, 0, 0, 0) + WITHOUT_COUNTERS
        asked += attribute(IFLA_IFNAME, name.encode() + b"\0")
        try:
            return _link(self._socket.ask(Request(RTM_GETLINK, asked), name))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        return None

    def addresses(self, family: int) -> list[LinkAddress]:
        """Return all addresses of the host of a family."""
        asked = Request(RTM_GETADDR, ADDRESS_HEADER.pack(family, 0, 0, 0, 0))
        return [
            found
            for answer in self._socket.dump(asked, "addresses")
            if (found := _address(answer, family)) is not None
        ]

    def routes(self, family: int) -> list[Route]:
        """Return all routes of the host of a family, but for those that lead everywhere."""
        asked = Request(RTM_GETROUTE, ROUTE_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
        return list(_routes(self._socket.dump(asked, "routes"), family))


def _link(message: Message) -> Link:
    _family, _kind, index, flags, _change = LINK_HEADER.unpack_from(message.payload)
    found = attributes(message.payload, LINK_HEADER.size)
    info = attributes(found.get(IFLA_LINKINFO, b""), 0)
    port: dict[int, bytes] = {}
    if text(info.get(IFLA_INFO_SLAVE_KIND, b"")) == "bridge":
        port = attributes(info.get(IFLA_INFO_SLAVE_DATA, b""), 0)
    return Link(
        index=index,
        name=text(found.get(IFLA_IFNAME, b"")),
        kind=text(info.get(IFLA_INFO_KIND, b"")),
        master=_number(found.get(IFLA_MASTER)),
        up=bool(flags & IFF_UP),
        mtu=_number(found.get(IFLA_MTU)),
        loopback=bool(flags & IFF_LOOPBACK),
        port=(
            bool(_number(port.get(IFLA_BRPORT_ISOLATED))),
            _number(port.get(IFLA_BRPORT_GROUP_FWD_MASK)),
        ),
    )


def _address(message: Message, family: int) -> LinkAddress | None:
    # Where there is none of a family, some kernels answer for all families.
    its, length, _flags, _scope, index = ADDRESS_HEADER.unpack_from(message.payload)
    found = attributes(message.payload, ADDRESS_HEADER.size)
    prefix = found.get(IFA_ADDRESS, found.get(IFA_LOCAL))
    if its != family or prefix is None:
        return None
    own = found.get(IFA_LOCAL, prefix)
    return LinkAddress(index, ip_address(own), ip_address(prefix), length)


def _routes(answers: Iterable[Message], family: int) -> Iterator[Route]:
    for answer in answers:
        its, length, _source, _tos, table, *_ = ROUTE_HEADER.unpack_from(answer.payload)
        found = attributes(answer.payload, ROUTE_HEADER.size)
        if its == family and (destination := found.get(RTA_DST)) is not None:
            index = found.get(RTA_OIF)
            out = None if index is None else _number(index)
            yield Route(table, ip_address(destination), length, out)


def _number(value: bytes | None) -> int:
    """Return a number of the kernel's own order; zero where there is none."""
    return 0 if value is None else int.from_bytes(value, sys.byteorder)

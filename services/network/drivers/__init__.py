"""What the network service asks of a platform.

Words used here:

*segment*
    One L2 network: a bridge on Linux, a port group elsewhere. Its members reach one another unless
    it is isolated, and reach no other segment.
*port*
    The place of one network card of one VM in a segment, with the only MAC and IP address from
    which that card may send.
*doubt*
    The driver has reason to think that somebody changed the platform behind its back.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Protocol

MANAGEMENT_ORDINAL = -1
"""Of the management segment; the default network's is 0."""


class Level(StrEnum):
    """Who may speak to whom on an external network; answers always pass."""

    CLOSED = "closed"
    """Nobody to nobody."""
    OUTBOUND = "outbound"
    """Containers to everybody; nobody to them."""
    PEERS = "peers"
    """Containers of the network to one another, and nobody else."""
    PUBLISHED = "published"
    """Containers to everybody; everybody to their published ports."""
    OPEN = "open"
    """Everybody to everybody."""


@dataclass(frozen=True)
class Uplink:
    """The way from a segment to a network that is there without us."""

    parent: str
    """The platform's name of it: an interface of the host."""
    level: Level


@dataclass(frozen=True)
class Segment:
    """An L2 network as the platform has to provide it."""

    ordinal: int
    """Number of the network in this instance; the platform's name is made from it."""
    subnet: IPv4Network
    gateway: IPv4Address
    """Address of the host in this segment."""
    mtu: int
    isolated: bool = False
    """Members can't reach one another (Docker's enable_icc=false)."""
    outward: bool = True
    """Members have a way out (Docker's networks that are not internal)."""
    masquerade: bool = True
    """What goes out carries the host's address."""
    subnet6: IPv6Network | None = None
    """None where the segment has no IPv6."""
    gateway6: IPv6Address | None = None
    name_server: bool = False
    """Members, and nobody else, may ask the gateway for names."""
    uplink: Uplink | None = None
    """Of an external network: then `gateway` is a router out there, and the host has no part in
    the segment."""

    @property
    def management(self) -> bool:
        """Tell whether members reach the gateway's tether port and nothing else at all."""
        return self.ordinal == MANAGEMENT_ORDINAL


@dataclass(frozen=True)
class Port:
    """One network card of one VM."""

    name: str
    """Name of its tap."""
    ordinal: int
    """The segment's."""
    mac: str
    address: IPv4Address
    level: Level | None = None
    """On an external network."""
    address6: IPv6Address | None = None
    container_id: str = ""
    """Whose VM has the card."""


class Transport(StrEnum):
    """Of published ports."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True)
class Forward:
    """A port of the host behind which a container's is."""

    transport: Transport
    host_address: IPv4Address | IPv6Address
    """0.0.0.0 and :: mean all of the host's."""
    host_port: int
    address: IPv4Address | IPv6Address
    """Of the same kind."""
    port: int

    @property
    def direct(self) -> bool:
        """Tell whether it is the container's own address at which the port is open, on an external
        network, and no port of the host."""
        return self.host_address == self.address


class Driver(Protocol):
    """A platform's networks.

    Every method is idempotent and safe to call while others run; a failed call changes nothing
    that `restore` would not put right. Failures of the platform raise portlayer's Unavailable.
    """

    name: str
    """As the Info call tells it: "linux", "vsphere"."""

    doubt: asyncio.Event
    """Set when `restore` should run before its time; `restore` clears it."""

    def port_name(self, endpoint_id: str) -> str:
        """Return a name for the port of a new endpoint; not necessarily unique."""
        ...

    def segment_name(self, segment: Segment) -> str:
        """Return the platform's name of a segment."""
        ...

    def port_group(self, segment: Segment) -> str:
        """Return the name of the port group that cards belong to; empty where there are none."""
        ...

    def attached(self, port_name: str) -> bool:
        """Tell whether a port is connected now."""
        ...

    async def taken_subnets(self) -> list[IPv4Network]:
        """Return what the platform routes to already, our own segments left out."""
        ...

    async def taken_subnets6(self) -> list[IPv6Network]:
        """Return the same of IPv6."""
        ...

    async def addresses_within(self, subnet: IPv4Network) -> list[IPv4Address]:
        """Return the addresses of a subnet that the host itself has, our segments' left out."""
        ...

    async def start(
        self, segments: Sequence[Segment], ports: Sequence[Port], forwards: Sequence[Forward] = ()
    ) -> None:
        """Make the platform what the database says; ports whose VM runs are connected again."""
        ...

    async def add_segment(self, segment: Segment) -> None:
        """Make a segment.

        Raises InvalidArgument (INVALID_NETWORK) where its uplink's parent can't be one, and
        FailedPrecondition (PARENT_MISSING) where that isn't there.
        """
        ...

    async def remove_segment(self, ordinal: int) -> None:
        """Remove a segment, which has no ports."""
        ...

    async def attach(self, ports: Sequence[Port]) -> None:
        """Connect ports whose VM exists.

        Raises FailedPrecondition (TAP_MISSING, or PARENT_MISSING on an external network whose
        parent is gone) when one can't be; none is connected then.
        """
        ...

    async def detach(self, names: Sequence[str]) -> None:
        """Disconnect ports. A port whose VM is gone already is no error."""
        ...

    async def forward(self, add: Sequence[Forward], remove: Sequence[Forward]) -> None:
        """Take published ports back, then open others. No two have one host port."""
        ...

    async def restore(self) -> list[str]:
        """Put right what differs from what the calls before have asked for; returns what it was."""
        ...

    async def teardown(self) -> None:
        """Remove everything of this instance from the platform; needs no `start` before."""
        ...

    async def close(self) -> None:
        """Let go of the platform; everything stays as it is."""
        ...

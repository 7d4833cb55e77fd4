"""The sets and maps of both tables: what they are called, and what is in them of whom.

Elements come and go without the rules (:mod:`~services.network.drivers.linux.elements`): both must
agree on these.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address
from typing import Any

from services.network.drivers import Forward, Level, Port

PORTS_SET = "sources"
"""Set of the frame table: tap, MAC address, IPv4 address."""

PORTS_SET6 = "sources6"
"""The same with IPv6 addresses."""

TARGETS6 = "targets6"
"""Set of the frame table: tap and IPv6 address, as a number for raw matches: who may say that the
address is its own."""

OUTWARD = "outward"
"""Set of the frame table: taps from which all may be reached, and which few may reach."""

GUARDED_SETS = (Level.CLOSED.value, Level.PEERS.value, OUTWARD)
"""Sets of the frame table: taps on external networks that are not open."""

OPENED = "opened"
OPENED6 = "opened6"
"""Sets of the frame table: address and port of containers on external networks."""

ASKED = "asked"
ASKED6 = "asked6"
"""Sets of the frame table: what containers have sent by UDP, whose answers may come.

There is no connection tracking of bridged frames on every kernel, and none is needed: whoever asked
is remembered here, and TCP says by its flags who began.
"""

ANSWERED = "answered"
ANSWERED6 = "answered6"
"""Sets of the frame table: the same where an answer has come."""

BEGUN = "begun"
"""Set of the frame table: how much each tap has begun of late."""

ASKED_SECONDS = 30
"""From the first packet; what is sent after that begins anew. As with conntrack, which forgets then
what was not answered (nf_conntrack_udp_timeout)."""

ANSWERED_SECONDS = 180
"""From the last packet in either direction (nf_conntrack_udp_timeout_stream is 120)."""

BEGUN_SECONDS = 60
"""Longer than a tap's allowance takes to be whole again."""

MOST_REMEMBERED = 65_536
"""In each of these sets: sixteen taps that begin all they may fill ASKED. Where ANSWERED is full an
answer still comes, but the conversation begins anew every 30 s."""

_CONVERSATION = "ipv4_addr . inet_service . ipv4_addr . inet_service"
_CONVERSATION6 = "ipv6_addr . inet_service . ipv6_addr . inet_service"

REMEMBERED = {
    ASKED: (_CONVERSATION, ASKED_SECONDS),
    ASKED6: (_CONVERSATION6, ASKED_SECONDS),
    ANSWERED: (_CONVERSATION, ANSWERED_SECONDS),
    ANSWERED6: (_CONVERSATION6, ANSWERED_SECONDS),
    BEGUN: ("ifname", BEGUN_SECONDS),
}
"""Types of all sets that packets fill, and how long an element stays."""

PUBLISHED_ANYWHERE = "published_anywhere"
PUBLISHED_AT = "published_at"
"""Maps of the packet table: a port of all addresses of the host, or of one, to a container's."""

PUBLISHED_ANYWHERE6 = "published6_anywhere"
PUBLISHED_AT6 = "published6_at"
"""The same of IPv6."""

PUBLISHED_MAPS = {
    PUBLISHED_ANYWHERE: "inet_proto . inet_service : ipv4_addr . inet_service",
    PUBLISHED_AT: "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
    PUBLISHED_ANYWHERE6: "inet_proto . inet_service : ipv6_addr . inet_service",
    PUBLISHED_AT6: "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service",
}
"""All of them, with their types."""


def remembered_text(name: str) -> str:
    """Return a set that packets fill, as part of a table."""
    kind, seconds = REMEMBERED[name]
    return set_text(name, kind, [], f"dynamic, timeout; timeout {seconds}s; size {MOST_REMEMBERED}")


def is_remembered(found: Mapping[str, Any]) -> bool:
    """Tell whether a set, as nft's JSON describes it, is one that packets fill as it should be."""
    types = found["type"] if isinstance(found["type"], list) else [found["type"]]
    traits = " . ".join(map(str, types)), found.get("timeout")
    wanted = REMEMBERED.get(found["name"])
    return traits == wanted and found.get("size") == MOST_REMEMBERED


def forward_element(forward: Forward) -> tuple[str, str]:
    """Return in which map or set a published port is, and its element there."""
    if forward.direct:
        name = OPENED if forward.address.version == 4 else OPENED6
        return name, f"{forward.address} . {forward.transport} . {forward.port}"
    key = f"{forward.transport} . {forward.host_port}"
    target = f"{forward.address} . {forward.port}"
    six = forward.host_address.version == 6
    if forward.host_address.is_unspecified:
        return PUBLISHED_ANYWHERE6 if six else PUBLISHED_ANYWHERE, f"{key} : {target}"
    where = f"{forward.host_address} . {key} : {target}"
    return PUBLISHED_AT6 if six else PUBLISHED_AT, where


def target_number(address: IPv6Address) -> str:
    """Return an address as nft takes and shows it in TARGETS6."""
    return f"0x{int(address):032x}"


def sources6(port: Port) -> list[IPv6Address]:
    """Return the addresses of IPv6 from which a port may send.

    On an external network these are its own and none at all: whoever has no link-local address
    tells from none which multicast groups it listens to (RFC 3810, 5.2.13), and a switch out there
    that looks into that (RFC 4541) leads neighbours' questions to nobody else.
    """
    if port.address6 is None:
        return []
    return [port.address6] if port.level is None else [port.address6, IPv6Address(0)]


def guarded_set(port: Port) -> str | None:
    """Return in which of the guarded sets of taps a port is; None: what it may is not limited."""
    if port.level in (None, Level.OPEN):
        return None
    if port.level in (Level.CLOSED, Level.PEERS):
        return str(port.level)
    return OUTWARD


def map_text(name: str, kind: str, elements: Mapping[str, Sequence[str]]) -> str:
    """Return a map of a type, with what is in it of all maps' elements, as part of a table."""
    return set_text(name, kind, elements[name]).replace("\tset", "\tmap", 1)


def set_text(name: str, kind: str, elements: Sequence[str], flags: str = "") -> str:
    """Return a set of a type, with its elements, as part of a table."""
    lines = [f"\tset {name} {{", f"\t\ttype {kind}"]
    if flags:
        lines.append(f"\t\tflags {flags}")
    if elements:
        lines.append(f"\t\telements = {{ {', '.join(elements)} }}")
    return "\n".join([*lines, "\t}\n"])

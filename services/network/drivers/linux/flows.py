"""Conversations by UDP that began before a published port came or went: what conntrack remembers.

The kernel decides once for a conversation whether it is translated, with its first packet. Who goes
on asking a port (a resolver, a metrics sender) never begins a new one, so that it would never reach
a container that was published meanwhile, or for ever the address of one that is gone. Connections
by TCP end by themselves: nobody answers them under the old address.

Source: linux/netfilter/nfnetlink_conntrack.h (CTA_FILTER, Linux 5.8)
"""

import errno
import logging
import socket
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from pyroute2 import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from services.network.drivers import Forward, Transport
from services.network.drivers.linux.listing import Listing

log = logging.getLogger("vic.network.flows")

Address = IPv4Address | IPv6Address
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True)
class Flow:
    """A conversation by UDP: what its first packet bore, and who answers it in truth."""

    source: Address
    source_port: int
    target: Address
    target_port: int
    answerer: Address
    answering_port: int

    def concerns(self, forward: Forward) -> bool:
        """Tell whether it goes to a published port."""
        return self.target_port == forward.host_port and (
            forward.host_address in (self.target, type(self.target)(0))
        )

    def reaches(self, forward: Forward) -> bool:
        """Tell whether it is led to a published port's container."""
        return (self.answerer, self.answering_port) == (forward.address, forward.port)


def cut(opened: Sequence[Forward], closed: Sequence[Forward]) -> None:
    """Have the kernel decide anew about what goes to ports that were opened or closed just now.

    Called after the rules have changed. Blocks; where the kernel can't do it, the log says so, and
    old conversations go where they went until they have been silent for two minutes.
    """
    for version, family in _FAMILIES.items():
        new, old = _by_udp(opened, version), _by_udp(closed, version)
        if not new and not old:
            continue
        try:
            with NFCTSocket(nfgen_family=family) as conntrack:
                _cut(conntrack, family, new, old)
        except (NetlinkError, OSError) as error:
            log.warning("conversations by UDP go on where they went before: %s", error)


def outdated(
    flow: Flow, opened: Iterable[Forward], closed: Iterable[Forward], local: frozenset[Address]
) -> bool:
    """Tell whether a conversation goes elsewhere than its next packet would by itself.

    `local` are the host's addresses: what is routed through the host to a port of the same number
    elsewhere is no business of ours.
    """
    if any(flow.concerns(forward) and not flow.reaches(forward) for forward in opened):
        return flow.target in local
    return any(flow.concerns(forward) and flow.reaches(forward) for forward in closed)


def _by_udp(forwards: Sequence[Forward], version: int) -> list[Forward]:
    return [
        forward
        for forward in forwards
        if forward.transport is Transport.UDP
        and forward.address.version == version
        and not forward.direct
    ]


def _cut(
    conntrack: NFCTSocket, family: int, opened: Sequence[Forward], closed: Sequence[Forward]
) -> None:
    ports = {forward.host_port for forward in (*opened, *closed)}
    found = [flow for port in ports for flow in _flows(conntrack, family, port)]
    if not found:
        return
    local = _local_addresses(family)
    for flow in found:
        if not outdated(flow, opened, closed, local):
            continue
        try:
            conntrack.entry("del", tuple_orig=_tuple(family, flow))
        except NetlinkError as error:
            if error.code != errno.ENOENT:  # It ended meanwhile.
                raise


def _flows(conntrack: NFCTSocket, family: int, port: int) -> list[Flow]:
    """Return the conversations with a port, chosen by the kernel: it may know of a million."""
    wanted = NFCTAttrTuple(family=family, proto=socket.IPPROTO_UDP, dport=port)
    return [_flow(family, message) for message in conntrack.dump(tuple_orig=wanted)]


def _flow(family: int, message: Any) -> Flow:
    first = NFCTAttrTuple.from_netlink(family, message.get_attr("CTA_TUPLE_ORIG"))
    answer = NFCTAttrTuple.from_netlink(family, message.get_attr("CTA_TUPLE_REPLY"))
    return Flow(
        *(ip_address(first.saddr), first.sport),
        *(ip_address(first.daddr), first.dport),
        *(ip_address(answer.saddr), answer.sport),
    )


def _tuple(family: int, flow: Flow) -> NFCTAttrTuple:
    return NFCTAttrTuple(
        family=family,
        proto=socket.IPPROTO_UDP,
        saddr=str(flow.source),
        sport=flow.source_port,
        daddr=str(flow.target),
        dport=flow.target_port,
    )


def _local_addresses(family: int) -> frozenset[Address]:
    with closing(Listing()) as listing:
        return frozenset(known.address for known in listing.addresses(family))

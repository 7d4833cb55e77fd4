"""The way from a bridge of ours to a network that is there without us.

The parent is a bridge that the administrator made: then a cable (veth) leads from it to ours, and
nothing of the parent changes but one more port. Or it is an interface that the host has no address
on: then it becomes a port of our bridge, until the network is removed. An interface with addresses
is refused: as a port of a bridge it would lose them, and the host its way out.

All calls block and are made by the links' thread.
"""

import re
import socket
from contextlib import closing

from portlayer.errors import FailedPrecondition, InvalidArgument, Reason
from services.network.drivers import Segment
from services.network.drivers.linux import sysctls
from services.network.drivers.linux.links import Links
from services.network.drivers.linux.listing import Link, Listing
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.netlink import RequestSocket
from services.network.drivers.linux.ports import FOR_THE_LINK, NETLINK_ROUTE, set_port

# What the kernel takes as a name of an interface, without those that no nft rule could name.
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")

_UPLINK = (False, FOR_THE_LINK)
"""What a port of ours to the outside is: not isolated, and past the rules comes nothing."""


def check_parent(name: str) -> None:
    """Raise InvalidArgument (INVALID_NETWORK) for what no interface is called."""
    if _INTERFACE.fullmatch(name) is None:
        raise _unfit(f"invalid name of an interface: {name!r}")


def ensure_uplink(links: Links, names: Names, segment: Segment) -> list[str]:
    """Join a segment's bridge, which is there, to its parent; returns what had to be changed.

    Raises FailedPrecondition (PARENT_MISSING) where there is no parent, InvalidArgument
    (INVALID_NETWORK) where it can't be one, and pyroute2's NetlinkError.
    """
    assert segment.uplink is not None
    name = segment.uplink.parent
    route, listing = links.route, links.listing
    bridge = listing.link(names.bridge(segment.ordinal))
    assert bridge is not None
    parent = listing.link(name)
    if parent is None:
        raise FailedPrecondition(
            f"there is no network interface {name} on this host", Reason.PARENT_MISSING, parent=name
        )
    if parent.kind == "bridge":
        if names.owns_link(name):
            raise _unfit(f"interface {name} is a bridge of this instance's own")
        return _ensure_cable(links, names, segment, bridge, parent)
    if parent.master != bridge.index:
        _check_free(listing, names, parent)
        route.link("set", index=parent.index, master=bridge.index)
        _lead_by_the_rules(parent)
        route.link("set", index=parent.index, state="up")
        return [f"made {name} a port of {bridge.name}"]
    changed = []
    if parent.port != _UPLINK:
        changed += _lead_by_the_rules(parent)
    if not parent.up:
        route.link("set", index=parent.index, state="up")
        changed.append(f"set {name} up")
    return changed


def _lead_by_the_rules(link: Link) -> list[str]:
    """Have frames for the link itself take the way of all others: else they'd be the host's."""
    with closing(RequestSocket(NETLINK_ROUTE)) as kernel:
        kernel.run([set_port(link.index, *_UPLINK)], link.name)
    return [f"led all frames of {link.name} by the rules"]


def _check_free(listing: Listing, names: Names, parent: Link) -> None:
    """Refuse an interface that is not free to be a port of a bridge of ours."""
    name = parent.name
    if names.owns_link(name) or parent.loopback:
        raise _unfit(f"interface {name} leads to no network outside")
    if parent.master:
        raise _unfit(
            f"interface {name} is a port of another interface already; name that one as the "
            "parent, if it is a bridge"
        )
    addresses = [
        str(known.prefix)
        for family in (socket.AF_INET, socket.AF_INET6)
        for known in listing.addresses(family)
        if known.index == parent.index and not known.prefix.is_link_local
    ]
    if addresses:
        raise _unfit(
            f"the host would lose its address {addresses[0]} on {name}: make a bridge that has "
            f"{name} as its port and the host's addresses on it, and name the bridge as the parent"
        )


def _ensure_cable(
    links: Links, names: Names, segment: Segment, bridge: Link, parent: Link
) -> list[str]:
    route, listing = links.route, links.listing
    ours, theirs = names.uplink(segment.ordinal), names.uplink_peer(segment.ordinal)
    changed = []
    if listing.link(ours) is None or listing.link(theirs) is None:
        route.link("add", ifname=ours, kind="veth", peer={"ifname": theirs})
        changed.append(f"laid a cable from {bridge.name} to {parent.name}")
    for end, master in ((ours, bridge), (theirs, parent)):
        link = listing.link(end)
        assert link is not None
        if link.mtu != segment.mtu:
            route.link("set", index=link.index, mtu=segment.mtu)
        if link.master != master.index or not link.up:
            # The host itself says nothing on it.
            sysctls.disable_ipv6(end)
            route.link("set", index=link.index, master=master.index)
            if end == ours:
                _lead_by_the_rules(link)
            route.link("set", index=link.index, state="up")
            changed.append(f"plugged {end} into {master.name}")
        elif end == ours and link.port != _UPLINK:
            changed += _lead_by_the_rules(link)
    return changed


def _unfit(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_NETWORK)

"""`vic create --container-network …`: networks outside on which containers are by themselves.

The words are those of vSphere Integrated Containers: one option names a network and what containers
call it, the others say more of it, each with the network before a colon. What they ask for is what
`vic network external add` asks for, and is checked by the same rules; it is kept in the instance's
record until the network service runs and has mapped it.

Source: "Container Network Options" in "Install vSphere Integrated Containers Engine"
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

from installer.errors import InstallerError, PreconditionError, UsageError
from installer.instance import Instance, amend_record
from installer.networks import ExternalWish, external_request, list_networks, map_external
from portlayer.errors import VicError
from services.network import messages, plans

Say = Callable[[str], None]

OPTION = "--container-network"
LEVELS = ("closed", "outbound", "peers", "published", "open")
DEFAULT_LEVEL = "published"
INTERFACES = Path("/sys/class/net")


@dataclass
class _Described:
    """What the options have said of one network."""

    parent: str
    name: str
    gateways: list[str] = field(default_factory=list)
    subnets: list[str] = field(default_factory=list)
    ip_ranges: list[str] = field(default_factory=list)
    dns: list[str] = field(default_factory=list)
    firewall: str = ""

    def wish(self) -> ExternalWish:
        level = self.firewall or DEFAULT_LEVEL
        return ExternalWish(
            *(self.name, self.parent, self.subnets, self.gateways, self.ip_ranges),
            *(self.dns, level),
        )


def parse_container_networks(
    networks: Sequence[str],
    gateways: Sequence[str] = (),
    ip_ranges: Sequence[str] = (),
    dns: Sequence[str] = (),
    firewalls: Sequence[str] = (),
) -> tuple[ExternalWish, ...]:
    """Return the networks that the options describe. Raises UsageError with all that is wrong."""
    problems: list[str] = []
    known: dict[str, _Described] = {}
    for entry in networks:
        parent, _, alias = entry.rpartition(":") if ":" in entry else (entry, "", "")
        if not parent or (":" in entry and not alias):
            problems.append(f"invalid {OPTION} {entry!r}: expected NETWORK or NETWORK:ALIAS")
        elif parent in known or (alias or parent) in (one.name for one in known.values()):
            problems.append(f"{OPTION} {entry!r}: that network or name is given twice")
        else:
            known[parent] = _Described(parent, alias or parent)
    told: tuple[tuple[str, Sequence[str], Callable[[_Described, str], None]], ...] = (
        ("gateway", gateways, _take_gateway),
        ("ip-range", ip_ranges, _take_range),
        ("dns", dns, _take_dns),
        ("firewall", firewalls, _take_firewall),
    )
    for what, entries, take in told:
        for entry in entries:
            try:
                take(*_split(known, entry))
            except ValueError as error:
                problems.append(f"invalid {OPTION}-{what} {entry!r}: {error}")
    if not problems:
        problems = [text for one in known.values() for text in _problems(one)]
    if problems:
        raise UsageError("\n".join(problems))
    return tuple(one.wish() for one in known.values())


def _split(known: Mapping[str, _Described], entry: str) -> tuple[_Described, str]:
    """Return which network an entry is about, and what it says. Names may have colons in them."""
    fitting = [parent for parent in known if entry.startswith(f"{parent}:")]
    if not fitting:
        raise ValueError(f"expected NETWORK:VALUE, of a network that {OPTION} names")
    parent = max(fitting, key=len)
    return known[parent], entry[len(parent) + 1 :]


def _take_gateway(one: _Described, text: str) -> None:
    if "/" not in text:
        raise ValueError("expected the router's address with its mask, such as 10.2.0.1/16")
    interface = ipaddress.ip_interface(text)
    one.gateways.append(str(interface.ip))
    one.subnets.append(str(interface.network))


def _take_range(one: _Described, text: str) -> None:
    first, dash, last = text.partition("-")
    if not dash:
        one.ip_ranges.append(str(ipaddress.ip_network(text)))
        return
    blocks = _blocks(ipaddress.ip_address(first), ipaddress.ip_address(last))
    if len(blocks) > 1:
        largest = min(blocks, key=lambda block: block.prefixlen)
        raise ValueError(f"a range is one CIDR block here; the largest within it is {largest}")
    one.ip_ranges.append(str(blocks[0]))


def _blocks(
    first: IPv4Address | IPv6Address, last: IPv4Address | IPv6Address
) -> list[IPv4Network] | list[IPv6Network]:
    """Return the CIDR blocks that a range is made of. Raises ValueError."""
    if isinstance(first, IPv4Address) and isinstance(last, IPv4Address):
        return list(ipaddress.summarize_address_range(first, last))
    if isinstance(first, IPv6Address) and isinstance(last, IPv6Address):
        return list(ipaddress.summarize_address_range(first, last))
    raise ValueError("first and last are not of the same version of IP")


def _take_dns(one: _Described, text: str) -> None:
    one.dns.append(str(ipaddress.ip_address(text)))


def _take_firewall(one: _Described, text: str) -> None:
    if text not in LEVELS:
        raise ValueError(f"expected {', '.join(LEVELS)}")
    if one.firewall:
        raise ValueError("given twice")
    one.firewall = text


def _problems(one: _Described) -> list[str]:
    """Return what the network service would refuse."""
    option = f"{OPTION} {one.parent}:{one.name}"
    if not one.gateways:
        return [
            f"{option}: say its router by {OPTION}-gateway {one.parent}:ADDRESS/MASK; addresses "
            "by DHCP are not given"
        ]
    try:
        plans.check(messages.plan(external_request(one.wish())))
    except (VicError, InstallerError) as error:
        message = error.message if isinstance(error, VicError) else str(error)
        return [f"{option}: {' '.join(message.split())}"]
    return []


def check_interfaces(wishes: Sequence[ExternalWish]) -> None:
    """Raise PreconditionError where this machine lacks an interface that is named."""
    there = {path.name for path in INTERFACES.iterdir()}
    lacking = [wish for wish in wishes if wish.parent not in there]
    if lacking:
        raise PreconditionError(
            "\n".join(
                f"{OPTION}: there is no network interface {wish.parent}; there are "
                + ", ".join(sorted(there))
                for wish in lacking
            )
        )


def recorded(wishes: Sequence[ExternalWish]) -> tuple[dict[str, Any], ...]:
    """Return what an instance's record has of networks until they are mapped."""
    return tuple(asdict(wish) for wish in wishes)


def map_recorded(instance: Instance, say: Say) -> None:
    """Map the networks of a record, whose suite runs, and take them out of it.

    Raises InstallerError for one that can't be mapped now: it stays in the record.
    """
    left = list(instance.options.container_networks)
    if not left:
        return
    there = {network.name: network for network in list_networks(instance.data_dir)}
    while left:
        wish = ExternalWish(**left[0])
        known = there.get(wish.name)
        try:
            if known is None:
                map_external(instance.data_dir, wish)
        except InstallerError as error:
            raise InstallerError(
                f"the suite is up, but without container network {wish.name}: {error}; `vic up` "
                "tries it again"
            ) from error
        if known is None or known.external.parent == wish.parent:
            say(f"container network {wish.name} is {wish.parent}")
        else:
            what = known.external.parent or "of another kind"
            say(
                f"container network {wish.name} is {what} already, and stays so; it is not made "
                f"of {wish.parent}"
            )
        del left[0]
        amend_record(instance, container_networks=left)

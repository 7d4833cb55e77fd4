"""Plans of networks: what may be asked for, and whether a network is what was asked for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from portlayer.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Reason
from services.network import external
from services.network.model import External, Network, Pool6

RESERVED_NAMES = frozenset({"bridge", "none", "host", "default"})

# Docker's pattern for names of networks and containers.
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
NETWORK_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Plan:
    """A network as somebody asks for it."""

    name: str
    network_id: str = ""
    subnet: IPv4Network | None = None
    gateway: IPv4Address | None = None
    ip_range: IPv4Network | None = None
    auxiliary: Mapping[str, IPv4Address] = field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    external: External | None = None
    """What is said of an external network; None for a bridge network."""
    ipv6: bool = False
    """Whether it is to have IPv6 as well, in a subnet that is chosen where none is named."""
    subnet6: IPv6Network | None = None
    gateway6: IPv6Address | None = None
    ip_range6: IPv6Network | None = None
    auxiliary6: Mapping[str, IPv6Address] = field(default_factory=dict)


def check(plan: Plan) -> None:
    """Refuse a plan that can't be right.

    Raises InvalidArgument (INVALID_NETWORK) or FailedPrecondition (PREDEFINED_NETWORK).
    """
    if plan.name in RESERVED_NAMES:
        raise FailedPrecondition(
            f"operation is not permitted on predefined {plan.name} network",
            Reason.PREDEFINED_NETWORK,
        )
    problems: Sequence[tuple[bool, str]] = (
        (NAME.fullmatch(plan.name) is None, f"invalid network name: {plan.name!r}"),
        (
            bool(plan.network_id) and NETWORK_ID.fullmatch(plan.network_id) is None,
            "a network's ID has 64 hexadecimal digits",
        ),
        (
            plan.subnet is None and bool(plan.gateway or plan.ip_range or plan.auxiliary),
            "gateway, IP range and auxiliary addresses need a subnet",
        ),
        (
            plan.subnet6 is None and bool(plan.gateway6 or plan.ip_range6 or plan.auxiliary6),
            "gateway, IP range and auxiliary addresses need a subnet",
        ),
        (
            plan.subnet6 is not None and not plan.ipv6,
            f"invalid subnet {plan.subnet6}: IPv6 is not enabled for this network",
        ),
    )
    found = [text for wrong, text in problems if wrong]
    if plan.external is not None:
        complete = bool(plan.subnet and plan.gateway)
        complete6 = not plan.ipv6 or bool(plan.subnet6 and plan.gateway6)
        found += external.problems(plan.external, complete and complete6)
    if plan.subnet is not None and not found:
        found = _check_pool(plan, plan.subnet)
    if plan.subnet6 is not None and not found:
        found = _check_pool6(plan, plan.subnet6)
    if found:
        raise InvalidArgument(found[0], Reason.INVALID_NETWORK)


def _check_pool(plan: Plan, subnet: IPv4Network) -> list[str]:
    problems = []
    if subnet.prefixlen > 30:
        problems.append(f"subnet {subnet} has no room for a gateway and a container")
    if subnet.is_multicast or subnet.is_loopback or subnet.is_link_local:
        problems.append(f"subnet {subnet} is not one that hosts can have")
    if plan.ip_range is not None and not plan.ip_range.subnet_of(subnet):
        problems.append(f"invalid ip-range {plan.ip_range}: it is not within subnet {subnet}")
    edges = (subnet.network_address, subnet.broadcast_address)
    named = {"gateway": plan.gateway, **plan.auxiliary}
    problems += [
        f"no matching subnet for {name} {address}"
        for name, address in named.items()
        if address is not None and (address not in subnet or address in edges)
    ]
    return problems


def _check_pool6(plan: Plan, subnet: IPv6Network) -> list[str]:
    problems = []
    if subnet.prefixlen > 126:
        problems.append(f"subnet {subnet} has no room for a gateway and a container")
    if subnet.is_multicast or subnet.is_loopback or subnet.is_link_local or subnet.is_unspecified:
        problems.append(f"subnet {subnet} is not one that hosts can have")
    if plan.ip_range6 is not None and not plan.ip_range6.subnet_of(subnet):
        problems.append(f"invalid ip-range {plan.ip_range6}: it is not within subnet {subnet}")
    named = {"gateway": plan.gateway6, **plan.auxiliary6}
    if plan.external is not None and plan.gateway6 is not None and plan.gateway6.is_link_local:
        # A router out there may well be known by such an address alone (RFC 4861, 6.3.4).
        del named["gateway"]
    problems += [
        f"no matching subnet for {name} {address}"
        for name, address in named.items()
        if address is not None and (address not in subnet or address == subnet.network_address)
    ]
    return problems


def _asked6(plan: Plan) -> tuple[object, ...]:
    return plan.ipv6, plan.subnet6, plan.gateway6, plan.ip_range6, dict(plan.auxiliary6)


def _has6(pool: Pool6 | None, plan: Plan) -> tuple[object, ...]:
    """Return what a network has of what can be asked for."""
    if pool is None:
        return False, None, None, None, {}
    return (
        True,
        pool.subnet if pool.own_subnet else None,
        None if plan.gateway6 is None else pool.gateway,
        pool.ip_range,
        dict(pool.auxiliary),
    )


def same(known: Network, plan: Plan) -> Network:
    """Return a network that was made by the same plan. Raises AlreadyExists (NETWORK_EXISTS)."""
    pool = known.pool
    assert pool is not None
    asked = (plan.subnet, plan.gateway, plan.ip_range, dict(plan.auxiliary))
    has = (
        pool.subnet if known.own_subnet else None,
        None if plan.gateway is None else pool.gateway,
        pool.ip_range,
        dict(pool.auxiliary),
    )
    traits = (
        *(plan.name, plan.internal, plan.attachable, plan.labels, plan.options),
        *(plan.external, _asked6(plan)),
    )
    if asked == has and traits == (
        known.name,
        known.internal,
        known.attachable,
        known.labels,
        known.options,
        known.external,
        _has6(known.pool6, plan),
    ):
        return known
    raise AlreadyExists(f"network with id {known.id} already exists", Reason.NETWORK_EXISTS)

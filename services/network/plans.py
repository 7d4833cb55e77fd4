"""Plans of networks: what may be asked for, and whether a network is what was asked for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from portlayer.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Reason
from services.network import external
from services.network.model import External, Network, Pool6

RESERVED_NAMES = frozenset({"bridge", "none", "host", "default"})

# Docker's pattern for names of containers, with spaces within, which those of networks can have.
NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_. -]*[a-zA-Z0-9_.-])?")
INVALID_CONFIG = "invalid network config:\n"
"""How Docker begins what it has to say of addresses."""

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network

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
    if found:
        raise InvalidArgument(found[0], Reason.INVALID_NETWORK)
    problems_of_pools: list[str] = []
    if plan.subnet is not None:
        problems_of_pools += _check_pool(plan, plan.subnet)
    if plan.subnet6 is not None:
        problems_of_pools += _check_pool6(plan, plan.subnet6)
    if problems_of_pools:
        raise InvalidArgument(f"{INVALID_CONFIG}{problems_of_pools[0]}", Reason.INVALID_NETWORK)
    taken = _taken(plan.gateway, plan.auxiliary) + _taken(plan.gateway6, plan.auxiliary6)
    if taken:
        raise InvalidArgument(taken[0], Reason.INVALID_NETWORK)


def _taken(gateway: Address | None, auxiliary: Mapping[str, Address]) -> list[str]:
    """Return which auxiliary addresses are somebody else's already, in Docker's words."""
    problems = []
    known = {gateway}
    for name, address in auxiliary.items():
        if address in known:
            problems.append(
                f"failed to allocate secondary ip address ({name}:{address}): "
                "Address already in use"
            )
        known.add(address)
    return problems


def _check_pool(plan: Plan, subnet: IPv4Network) -> list[str]:
    problems = _unfit(subnet, 30) + _outside(subnet, plan.ip_range, plan.gateway, plan.auxiliary)
    edges = (subnet.network_address, subnet.broadcast_address)
    return problems + _at_edges(edges, plan.gateway, plan.auxiliary)


def _check_pool6(plan: Plan, subnet: IPv6Network) -> list[str]:
    gateway = plan.gateway6
    if plan.external is not None and gateway is not None and gateway.is_link_local:
        # A router out there may well be known by such an address alone (RFC 4861, 6.3.4).
        gateway = None
    problems = _unfit(subnet, 126) + _outside(subnet, plan.ip_range6, gateway, plan.auxiliary6)
    return problems + _at_edges((subnet.network_address,), gateway, plan.auxiliary6)


def _unfit(subnet: Subnet, longest: int) -> list[str]:
    """Return why a subnet can't be that of a network, whatever else is asked for."""
    problems = []
    if subnet.prefixlen > longest:
        problems.append(f"subnet {subnet} has no room for a gateway and a container")
    reserved = subnet.version == 6 and subnet.is_unspecified
    if subnet.is_multicast or subnet.is_loopback or subnet.is_link_local or reserved:
        problems.append(f"subnet {subnet} is not one that hosts can have")
    return problems


def _outside(
    subnet: Subnet,
    ip_range: Subnet | None,
    gateway: Address | None,
    auxiliary: Mapping[str, Address],
) -> list[str]:
    """Return what is not within a subnet, in Docker's words."""
    problems = []
    if ip_range is not None and ip_range.prefixlen < subnet.prefixlen:
        problems.append(
            f"invalid ip-range {ip_range}: CIDR block is bigger than its parent subnet {subnet}"
        )
    elif ip_range is not None and not subnet.overlaps(ip_range):
        problems.append(
            f"invalid ip-range {ip_range}: parent subnet {subnet} doesn't contain ip-range"
        )
    named = {f"gateway {gateway}": gateway}
    named |= {f"auxiliary address {name}": address for name, address in auxiliary.items()}
    return problems + [
        f"invalid {what}: parent subnet {subnet} doesn't contain this address"
        for what, address in named.items()
        if address is not None and address not in subnet
    ]


def _at_edges(
    edges: Sequence[Address], gateway: Address | None, auxiliary: Mapping[str, Address]
) -> list[str]:
    """Return which addresses are the subnet's own."""
    return [
        f"invalid address {address}: no host can have it"
        for address in (gateway, *auxiliary.values())
        if address in edges
    ]


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

"""Our few rules in other programs' chains.

A packet passes only when every base chain on its hook lets it pass, so an accept of ours can't help
it past another program's drop. Where a chain of the host drops by default, a commented accept for
our interfaces goes to its beginning (into DOCKER-USER where there is one, which Docker keeps for
such rules). It opens nothing: our own tables still decide about every packet of these interfaces.

Chains of iptables-legacy are not nftables' and are not seen here; docs/network.md names the rules
that an administrator adds there.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portlayer.errors import Unavailable
from services.network.drivers import Segment
from services.network.drivers.linux import nft
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.packets import Guards

log = logging.getLogger("vic.network.foreign")

FAMILIES = ("inet", "ip")
SIX = (*FAMILIES, "ip6")
DOCKER_USER = "DOCKER-USER"
DNS_PORT = 53
DROPS = ("drop", "reject")
PASSED = frozenset({"counter", "log", "comment"})
"""Statements without effect on which packets a rule catches."""

Place = tuple[str, str, str]
"""Family, table and name of a chain."""


@dataclass(frozen=True)
class Accept:
    """One rule that we need in a chain that drops by default."""

    hook: str
    match: str
    """The rule without its verdict, as nft reads it."""
    subject: str
    """What it is for; part of its comment, by which it is found again."""
    families: tuple[str, ...] = FAMILIES
    """Of the tables in which it is needed."""


def accepts(names: Names, guards: Guards, segments: Sequence[Segment]) -> list[Accept]:
    """Return the rules that the instance needs."""
    bridges = f'"{names.bridge_prefix}*"'
    bridge = f'"{names.management_bridge}"'
    routed = SIX if any(segment.subnet6 is not None for segment in segments) else FAMILIES
    found = [
        Accept("forward", f"iifname {bridges}", "from containers", routed),
        Accept("forward", f"oifname {bridges}", "to containers", routed),
        Accept(
            "input",
            f"iifname {bridges} meta l4proto {{ tcp, udp }} th dport {DNS_PORT}",
            "from containers to our name servers",
        ),
        Accept(
            "output",
            f"oifname {bridges} meta l4proto {{ tcp, udp }} th sport {DNS_PORT}",
            "from our name servers to containers",
        ),
    ]
    for segment in segments:
        if segment.management:
            gateway, port = segment.gateway, guards.tether_port
            found += [
                Accept(
                    "input", f"iifname {bridge} ip daddr {gateway} tcp dport {port}", "from tethers"
                ),
                Accept(
                    "output", f"oifname {bridge} ip saddr {gateway} tcp sport {port}", "to tethers"
                ),
            ]
    return found


def ensure(names: Names, wanted: Sequence[Accept]) -> list[str]:
    """Add what is missing in chains that drop by default; returns what was added.

    A chain that goes meanwhile, as all of firewalld's and Docker's do when they are reloaded, is
    left out: the kernel's news of its end raise a doubt, after which all are looked at again.
    """
    added: list[str] = []
    chains = nft.chains()
    known = _places(chains)
    for hook in sorted({accept.hook for accept in wanted}):
        for chain in _filters(chains, hook):
            place = _place(chain)
            user = (*place[:2], DOCKER_USER)
            target = user if hook == "forward" and user in known else place
            try:
                if chain.get("policy") == "drop" or _ends_in_drop(nft.chain_rules(*place)):
                    _complete(names, [a for a in wanted if a.hook == hook], target, added)
            except Unavailable as error:
                if {place, target} <= _places(nft.chains()):
                    raise
                log.warning("a chain of the host went while it was read: %s", error.message)
    if added:
        log.info("the host's firewall drops by default", extra={"added": added})
    return added


def remove(names: Names) -> list[str]:
    """Remove all rules of ours from other programs' chains; returns what was removed."""
    removed = []
    for rule in nft.all_rules():
        place = f"{rule['family']} {rule['table']} {rule['chain']}"
        if rule["table"] in (names.table, names.frame_table):
            continue
        if str(rule.get("comment", "")).startswith(names.comment_prefix):
            try:
                nft.apply(f"delete rule {place} handle {rule['handle']}\n")
            except Unavailable as error:
                # Its owner may have flushed the chain meanwhile; the next run finds what stayed.
                log.warning("cannot remove a rule of ours: %s", error.message)
                continue
            removed.append(f"removed rule from {place}")
    return removed


def _complete(names: Names, wanted: Sequence[Accept], place: Place, added: list[str]) -> None:
    """Add what is missing in a chain, and tell it in `added`."""
    family, table, chain = place
    present = _comments(nft.chain_rules(*place))
    for accept in wanted:
        comment = f"{names.comment_prefix} {accept.subject}"
        if comment in present or family not in accept.families:
            continue
        nft.apply(
            f"insert rule {family} {table} {chain} "
            f'{accept.match} counter accept comment "{comment}"\n'
        )
        added.append(f"accepted traffic {accept.subject} in {family} {table} {chain}")


def _filters(chains: Sequence[Mapping[str, Any]], hook: str) -> Iterator[Mapping[str, Any]]:
    """Yield each chain of other programs that may drop packets on a hook."""
    for chain in chains:
        if chain.get("hook") != hook or chain.get("type") != "filter":
            continue
        if chain["family"] in SIX and not chain["table"].startswith("vic_"):
            yield chain


def _place(chain: Mapping[str, Any]) -> Place:
    return chain["family"], chain["table"], chain["name"]


def _places(chains: Sequence[Mapping[str, Any]]) -> set[Place]:
    return {_place(chain) for chain in chains}


def _ends_in_drop(rules: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a chain drops what none of its rules has accepted, as firewalld's do."""
    if not rules:
        return False
    kinds = {kind for statement in rules[-1].get("expr", []) for kind in statement}
    return bool(kinds & set(DROPS)) and kinds <= PASSED | set(DROPS)


def _comments(rules: Sequence[Mapping[str, Any]]) -> set[str]:
    return {str(rule.get("comment", "")) for rule in rules}

"""What keeps the members of a network apart: rules of the port group's traffic filter.

A member's MAC address is made from its IPv4 address, and the port group lets no VM send from
another one or hear what is sent to another one. So members are known by one range of MAC addresses,
and what comes from it doesn't go to it, whatever is in the frame.

The filter keeps nothing in mind, which is enough here: who is a member doesn't depend on who began
to speak. It stands at each card, on both of its ways; the rules name sender and receiver, so that
they mean the same on either. Members hear one another ask for addresses (ARP), or they couldn't
find the gateway; an answer doesn't pass.

Source: DvsTrafficFilterConfig, DvsTrafficRule and MacRange in the vSphere Web Services API
reference; "Traffic Filtering and Marking Policy" in vSphere Networking: rules are tried in their
order, and the first that fits decides; what fits none passes.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

from pyVmomi import vim, vmodl

from services.network.drivers import Segment
from services.network.ipam import mac_of

Traffic = vim.dvs.TrafficRule
Port = vim.dvs.DistributedVirtualPort

# The filter that is part of every host. Source: vSphere's own client sets it.
AGENT = "dvfilter-generic-vmware"
ETHERTYPE_ARP = 0x0806
# Steps between rules, as vSphere's own client leaves them.
STEP = 10
# Of a rule, and nothing of what it does.
_NAMES = frozenset({"key", "description", "sequence"})
_ALL = "ff:ff:ff:ff:ff:ff"


@dataclass(frozen=True)
class Macs:
    """MAC addresses that are alike where the mask is set."""

    address: str
    mask: str = _ALL

    def __contains__(self, mac: str) -> bool:
        return (_number(self.address) ^ _number(mac)) & _number(self.mask) == 0


GROUPS = Macs("01:00:00:00:00:00", "01:00:00:00:00:00")
"""Addresses of more than one station, everybody's included."""


@dataclass(frozen=True)
class Rule:
    """One rule; a field that is None fits everything."""

    drops: bool
    sender: Macs | None = None
    receiver: Macs | None = None
    not_ethertype: int | None = None
    """The kind of frame that the rule does not fit."""

    def fits(self, sender: str, receiver: str, ethertype: int) -> bool:
        """Tell whether the rule decides about a frame."""
        return (
            (self.sender is None or sender in self.sender)
            and (self.receiver is None or receiver in self.receiver)
            and ethertype != self.not_ethertype
        )


def members(segment: Segment) -> Macs:
    """Return the MAC addresses of a network's members."""
    return Macs(
        mac_of(segment.subnet.network_address),
        mac_of(segment.subnet.netmask).replace("02:42", "ff:ff", 1),
    )


def isolation(segment: Segment) -> tuple[Rule, ...]:
    """Return the rules under which members reach the gateway and not one another."""
    own, gateway = members(segment), Macs(mac_of(segment.gateway))
    # No member ever has the gateway's address; the gateway may have it, or one of VMware's.
    rules = [Rule(drops=False, receiver=gateway), Rule(drops=False, sender=gateway)]
    if segment.gateway6 is not None:
        # As ARP: who looks for the gateway asks this group.
        rules.append(Rule(drops=False, sender=own, receiver=_solicited(segment.gateway6)))
    rules.append(Rule(drops=True, sender=own, receiver=own))
    rules.append(Rule(drops=True, sender=own, receiver=GROUPS, not_ethertype=ETHERTYPE_ARP))
    return tuple(rules)


def filter_policy(rules: tuple[Rule, ...]) -> Port.FilterPolicy:
    """Return rules as vCenter takes them; where a host can't have them, nothing passes."""
    ruleset = vim.dvs.TrafficRuleset(enabled=True, rules=_traffic(rules))
    config = Port.TrafficFilterConfig(
        inherited=False,
        agentName=AGENT,
        onFailure=Port.FilterOnFailure.failClosed,
        trafficRuleset=ruleset,
    )
    return Port.FilterPolicy(inherited=False, filterConfig=[config])


def no_filter_policy() -> Port.FilterPolicy:
    """Return what takes all rules away: on the wire an empty list is one that was left out.

    Source: DvsFilterPolicy.filterConfig, of which an update takes the place of what was there.
    """
    config = Port.TrafficFilterConfig(
        inherited=False,
        agentName=AGENT,
        onFailure=Port.FilterOnFailure.failOpen,
        trafficRuleset=vim.dvs.TrafficRuleset(enabled=False, rules=[]),
    )
    return Port.FilterPolicy(inherited=False, filterConfig=[config])


def has_rules(policy: Port.FilterPolicy | None, rules: tuple[Rule, ...]) -> bool:
    """Tell whether a port group has these rules and no others, but for those of its switch."""
    found: list[Traffic] = []
    for config in policy.filterConfig if policy is not None else []:
        ruleset = getattr(config, "trafficRuleset", None)
        if ruleset is not None and ruleset.enabled and not config.inherited:
            found += ruleset.rules
    there = [_content(rule) for rule in sorted(found, key=lambda rule: rule.sequence or 0)]
    return there == [_content(rule) for rule in _traffic(rules)]


def _traffic(rules: tuple[Rule, ...]) -> list[Traffic]:
    """Return rules as vCenter has them."""
    return [
        Traffic(
            sequence=(index + 1) * STEP,
            direction=Traffic.RuleDirectionType.both,
            qualifier=[_qualifier(rule)],
            action=Traffic.DropAction() if rule.drops else Traffic.AcceptAction(),
        )
        for index, rule in enumerate(rules)
    ]


def _qualifier(rule: Rule) -> Traffic.MacQualifier:
    sender, receiver = (
        None if macs is None else vim.MacRange(address=macs.address, mask=macs.mask)
        for macs in (rule.sender, rule.receiver)
    )
    kind = rule.not_ethertype
    return Traffic.MacQualifier(
        sourceAddress=sender,
        destinationAddress=receiver,
        protocol=None if kind is None else vim.IntExpression(negate=True, value=kind),
    )


def _content(value: Any) -> Any:
    """Return what can be compared of a rule: vCenter gives it a key, and says what is left out."""
    if isinstance(value, vmodl.DynamicData):
        told = (getattr(value, p.name) for p in value._GetPropertyList() if p.name not in _NAMES)
        return type(value), *map(_content, told)
    if isinstance(value, list):
        return [_content(one) for one in value]
    return value.lower() if isinstance(value, str) else value or None


def _solicited(address: IPv6Address) -> Macs:
    """Return the group that is asked for an address. Source: RFC 4291 2.7.1, RFC 2464 7."""
    return Macs("33:33:ff:" + address.packed[-3:].hex(":"))


def _number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)

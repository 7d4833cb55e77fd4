"""The rules that keep members of a port group apart, by the frames that they let pass."""

from ipaddress import IPv4Network, IPv6Network

import pytest

from services.network.drivers import Segment
from services.network.drivers.vsphere.isolation import (
    Macs,
    Rule,
    filter_policy,
    has_rules,
    isolation,
    members,
    no_filter_policy,
)

IP, IP6, ARP, OTHER = 0x0800, 0x86DD, 0x0806, 0x88B5
SUBNET, SUBNET6 = IPv4Network("172.18.64.0/18"), IPv6Network("fd00:18::/64")
NETWORK = Segment(1, SUBNET, SUBNET[1], 1500, isolated=True)
BOTH = Segment(
    *(1, SUBNET, SUBNET[1], 1500), isolated=True, subnet6=SUBNET6, gateway6=SUBNET6[0xABCDEF]
)
ONE, OTHER_ONE, LAST = "02:42:ac:12:40:02", "02:42:ac:12:40:03", "02:42:ac:12:7f:fe"
GATEWAY, APPLIANCE = "02:42:ac:12:40:01", "00:50:56:8a:00:01"
ALL, MULTICAST = "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb"
ASKED, ALL_NODES = "33:33:ff:ab:cd:ef", "33:33:00:00:00:01"


def passes(rules: tuple[Rule, ...], sender: str, receiver: str, ethertype: int) -> bool:
    """Tell what a host does with a frame: the first rule that fits decides."""
    decides = (rule for rule in rules if rule.fits(sender, receiver, ethertype))
    return next((not rule.drops for rule in decides), True)


@pytest.mark.parametrize("kind", [IP, IP6, ARP, OTHER])
def test_members_reach_the_gateway_and_not_one_another(kind: int) -> None:
    rules = isolation(NETWORK)
    for sender, receiver in ((ONE, OTHER_ONE), (OTHER_ONE, ONE), (LAST, ONE), (ONE, LAST)):
        assert not passes(rules, sender, receiver, kind)
    # The gateway has the address that Docker gives it, or its card's.
    for gateway in (GATEWAY, APPLIANCE):
        for member in (ONE, LAST):
            assert passes(rules, member, gateway, kind)
            assert passes(rules, gateway, member, kind)
        assert passes(rules, gateway, ALL, kind)


def test_what_is_sent_to_all_reaches_members_from_the_gateway_alone() -> None:
    for network in (NETWORK, BOTH):
        for kind in (IP, IP6, OTHER):
            for receiver in (ALL, MULTICAST, ALL_NODES):
                assert not passes(isolation(network), ONE, receiver, kind)
        # Or nobody would find the gateway.
        assert passes(isolation(network), ONE, ALL, ARP)
    assert passes(isolation(BOTH), ONE, ASKED, IP6)
    assert not passes(isolation(BOTH), ONE, "33:33:ff:00:00:02", IP6)
    assert not passes(isolation(NETWORK), ONE, ASKED, IP6)


def test_members_are_who_has_an_address_of_the_network() -> None:
    own = members(NETWORK)
    assert own == Macs("02:42:ac:12:40:00", "ff:ff:ff:ff:c0:00")
    assert ONE in own
    assert LAST in own
    # The next network's first, an address that was wished for, a card of VMware's.
    for stranger in ("02:42:ac:12:80:02", "02:43:ac:12:40:02", APPLIANCE):
        assert stranger not in own


def test_rules_are_compared_by_what_they_do() -> None:
    rules = isolation(NETWORK)
    policy = filter_policy(rules)
    assert has_rules(policy, rules)
    ruleset = policy.filterConfig[0].trafficRuleset
    # As vCenter has them: with keys, in any order, and with what was left out.
    for index, rule in enumerate(ruleset.rules):
        rule.key = f"key-{index}"
        rule.qualifier[0].key = f"qualifier-{index}"
        for address in (rule.qualifier[0].sourceAddress, rule.qualifier[0].destinationAddress):
            if address is not None:
                address.negate = False
                address.address = address.address.upper()
    ruleset.rules = ruleset.rules[::-1]
    assert has_rules(policy, rules)
    assert not has_rules(policy, isolation(BOTH))
    assert not has_rules(None, rules)
    ruleset.rules[0].qualifier[0].sourceAddress.negate = True
    assert not has_rules(policy, rules)
    ruleset.rules[0].qualifier[0].sourceAddress.negate = False
    ruleset.enabled = False
    assert not has_rules(policy, rules)


def test_taken_away_no_rule_is_left() -> None:
    assert has_rules(no_filter_policy(), ())
    assert not has_rules(filter_policy(isolation(NETWORK)), ())
    # Those that the switch has for all of its port groups aren't ours to take away.
    inherited = filter_policy(isolation(NETWORK))
    inherited.filterConfig[0].inherited = True
    assert has_rules(inherited, ())

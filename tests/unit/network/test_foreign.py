"""Where our rules in other programs' chains go."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from portlayer.errors import Unavailable
from services.network.drivers import MANAGEMENT_ORDINAL, Segment
from services.network.drivers.linux import foreign, nft
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.packets import Guards

NAMES = Names("1a2b3c4d", 0)
MANAGEMENT = Segment(
    MANAGEMENT_ORDINAL, IPv4Network("100.112.0.0/20"), IPv4Address("100.112.0.1"), 1500
)
FORWARD = [
    accept for accept in foreign.accepts(NAMES, Guards(7443), []) if accept.hook == "forward"
]


class Host:
    """The chains and rules of a host, and what was inserted into them."""

    def __init__(self) -> None:
        self.chains: list[dict[str, Any]] = []
        self.rules: dict[str, list[dict[str, Any]]] = {}
        self.inserted: list[str] = []
        self.listing: Callable[[], list[dict[str, Any]]] = lambda: self.chains

    def chain(self, place: str, **traits: Any) -> None:
        family, table, name = place.split()
        self.chains.append({"family": family, "table": table, "name": name, **traits})
        self.rules.setdefault(place, [])

    def base(self, place: str, hook: str = "forward", policy: str = "drop") -> None:
        self.chain(place, hook=hook, type="filter", policy=policy)

    def chain_rules(self, family: str, table: str, chain: str) -> list[dict[str, Any]]:
        if f"{family} {table} {chain}" not in self.rules:
            raise Unavailable("No such file or directory")
        return self.rules[f"{family} {table} {chain}"]

    def apply(self, text: str) -> None:
        _, _, family, table, chain = text.split()[:5]
        comment = text.split('comment "')[1].split('"')[0]
        self.inserted.append(f"{family} {table} {chain}")
        self.rules[f"{family} {table} {chain}"].append({"comment": comment})


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return an empty host in place of nft."""
    host = Host()
    monkeypatch.setattr(nft, "chains", lambda: host.listing())
    monkeypatch.setattr(nft, "chain_rules", host.chain_rules)
    monkeypatch.setattr(nft, "apply", host.apply)
    return host


def test_a_host_that_drops_nothing_is_left_alone(host: Host) -> None:
    host.base("ip filter FORWARD", policy="accept")
    host.base("inet vic_ffffffff forward", policy="drop")
    assert foreign.ensure(NAMES, FORWARD) == []
    assert host.inserted == []


def test_a_chain_that_drops_by_default_gets_each_rule_once(host: Host) -> None:
    host.base("ip filter FORWARD")
    assert len(foreign.ensure(NAMES, FORWARD)) == 2
    assert foreign.ensure(NAMES, FORWARD) == []
    assert host.inserted == ["ip filter FORWARD"] * 2


def test_docker_s_chain_for_users_is_used_where_there_is_one(host: Host) -> None:
    host.base("ip filter FORWARD")
    host.chain("ip filter DOCKER-USER")
    foreign.ensure(NAMES, FORWARD)
    assert set(host.inserted) == {"ip filter DOCKER-USER"}


def test_a_chain_that_ends_in_a_reject_drops_by_default(host: Host) -> None:
    host.base("inet firewalld filter_FORWARD", policy="accept")
    host.rules["inet firewalld filter_FORWARD"] = [
        {"expr": [{"match": {}}, {"accept": None}]},
        {"expr": [{"counter": {}}, {"reject": {"type": "icmpx"}}]},
    ]
    foreign.ensure(NAMES, FORWARD)
    assert set(host.inserted) == {"inet firewalld filter_FORWARD"}


def test_a_chain_that_drops_something_in_particular_does_not(host: Host) -> None:
    host.base("inet other forward", policy="accept")
    host.rules["inet other forward"] = [{"expr": [{"match": {}}, {"drop": None}]}]
    assert foreign.ensure(NAMES, FORWARD) == []


@pytest.mark.parametrize("goes", ["inet firewalld filter_FORWARD", "ip filter DOCKER-USER"])
def test_a_chain_that_goes_before_it_is_read_is_left_out(host: Host, goes: str) -> None:
    host.base("inet firewalld filter_FORWARD", policy="accept")
    host.base("ip filter FORWARD")
    host.chain("ip filter DOCKER-USER")
    host.base("ip other forward")
    listed = list(host.chains)

    def chains() -> list[dict[str, Any]]:
        if goes in host.rules:
            del host.rules[goes]
            return listed
        return [c for c in listed if f"{c['family']} {c['table']} {c['name']}" != goes]

    host.listing = chains
    foreign.ensure(NAMES, FORWARD)
    assert "ip other forward" in host.inserted
    assert goes not in host.inserted


def test_a_chain_that_stays_and_can_t_be_read_is_told(host: Host) -> None:
    host.base("ip filter FORWARD")
    del host.rules["ip filter FORWARD"]
    with pytest.raises(Unavailable):
        foreign.ensure(NAMES, FORWARD)


def test_another_instance_s_rules_are_not_ours(host: Host) -> None:
    host.base("ip filter FORWARD")
    foreign.ensure(Names("ffffffff", 1), FORWARD)
    assert len(foreign.ensure(NAMES, FORWARD)) == 2


def test_tethers_get_through_a_host_that_drops_input_and_output() -> None:
    found = foreign.accepts(NAMES, Guards(7443), [MANAGEMENT])
    assert [(a.hook, a.match) for a in found if "tethers" in a.subject] == [
        ("input", 'iifname "vic0m" ip daddr 100.112.0.1 tcp dport 7443'),
        ("output", 'oifname "vic0m" ip saddr 100.112.0.1 tcp sport 7443'),
    ]


def test_questions_for_names_get_through_a_host_that_drops_input_and_output() -> None:
    found = foreign.accepts(NAMES, Guards(7443), [])
    assert [(a.hook, a.match) for a in found if "name servers" in a.subject] == [
        ("input", 'iifname "vic0b*" meta l4proto { tcp, udp } th dport 53'),
        ("output", 'oifname "vic0b*" meta l4proto { tcp, udp } th sport 53'),
    ]

"""Making, finding and removing networks."""

import asyncio
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

import pytest

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    NotImplementedYet,
    Reason,
    ResourceExhausted,
    Unavailable,
    VicError,
)
from services.network.model import Kind, LabelRule, Wish
from services.network.plans import Plan
from tests.unit.network.conftest import Facet, Runs

ID = "ab" * 32


async def test_the_first_start_makes_the_predefined_networks(facet: Facet) -> None:
    assert {(n.name, n.kind, n.predefined) for n in facet.networks.all()} == {
        ("bridge", Kind.BRIDGE, True),
        ("none", Kind.NONE, True),
    }
    assert facet.networks.management().name not in {n.name for n in facet.networks.all()}
    default = facet.platform.segments[0]
    assert str(default.subnet) == "172.17.0.0/16"
    assert str(default.gateway) == "172.17.0.1"
    management = facet.platform.segments[-1]
    assert str(management.subnet) == "100.112.0.0/20"
    assert management.management


async def test_networks_keep_identity_and_subnet_over_a_restart(runs: Runs) -> None:
    first = await runs.start()
    made = await first.networks.create(Plan("app", labels={"a": "b"}, internal=True))
    before = first.networks.all()
    second = await runs.start()
    assert second.networks.all() == before
    assert second.networks.find("app") == made
    assert made.ordinal is not None
    assert not second.platform.segments[made.ordinal].outward


async def test_an_unused_default_network_moves_out_of_the_way(runs: Runs) -> None:
    await runs.start()
    second = await runs.start(taken=["172.17.0.0/16"])
    assert str(second.platform.segments[0].subnet) == "172.18.0.0/16"
    third = await runs.start()
    assert str(third.platform.segments[0].subnet) == "172.18.0.0/16"


async def test_a_default_network_in_use_stays_where_it_is(runs: Runs) -> None:
    first = await runs.start()
    await first.endpoints.reserve("c1", "", "", [Wish("bridge")])
    second = await runs.start(taken=["172.17.0.0/16"])
    assert str(second.platform.segments[0].subnet) == "172.17.0.0/16"


async def test_the_administrator_may_name_the_default_subnet(runs: Runs) -> None:
    facet = await runs.start(default_subnet=IPv4Network("10.200.0.0/24"))
    assert str(facet.platform.segments[0].gateway) == "10.200.0.1"


async def test_a_network_is_found_by_name_id_and_prefix(facet: Facet) -> None:
    made = await facet.networks.create(Plan("app", network_id=ID))
    assert {facet.networks.find(key).id for key in ("app", ID, ID[:12])} == {made.id}
    for unknown in ("nope", "", facet.networks.management().id, "(management)"):
        with pytest.raises(NotFound) as refusal:
            facet.networks.find(unknown)
        assert refusal.value.reason is Reason.NETWORK_NOT_FOUND


async def test_a_prefix_of_two_ids_is_ambiguous(facet: Facet) -> None:
    await facet.networks.create(Plan("one", network_id=ID))
    await facet.networks.create(Plan("two", network_id=ID[:-1] + "c"))
    with pytest.raises(InvalidArgument) as refusal:
        facet.networks.find(ID[:20])
    assert refusal.value.reason is Reason.AMBIGUOUS_REFERENCE


async def test_each_network_gets_the_next_free_pool_and_segment(facet: Facet) -> None:
    made = await asyncio.gather(*(facet.networks.create(Plan(f"n{i}")) for i in range(20)))
    subnets = [network.pool.subnet for network in made if network.pool is not None]
    assert len(set(subnets)) == 20
    assert subnets[0] == IPv4Network("172.18.0.0/16")
    assert subnets[-1] == IPv4Network("192.168.80.0/20")
    assert sorted(facet.platform.segments) == [-1, 0, *range(1, 21)]


async def test_pools_and_segments_of_removed_networks_are_used_again(facet: Facet) -> None:
    await facet.networks.create(Plan("a"))
    await facet.networks.create(Plan("b"))
    await facet.networks.remove("a")
    again = await facet.networks.create(Plan("c"))
    assert again.ordinal == 1
    assert again.pool is not None
    assert str(again.pool.subnet) == "172.18.0.0/16"


async def test_when_the_pools_are_used_up_a_network_is_refused(runs: Runs) -> None:
    facet = await runs.start(taken=["172.18.0.0/15", "172.20.0.0/14", "172.24.0.0/13"])
    facet.platform.taken.append(IPv4Network("192.168.0.0/16"))
    with pytest.raises(ResourceExhausted):
        await facet.networks.create(Plan("one"))
    assert sorted(facet.platform.segments) == [-1, 0]


async def test_a_name_can_have_spaces_as_with_docker(facet: Facet) -> None:
    made = await facet.networks.create(Plan("test 01"))
    assert facet.networks.find("test 01") == made


async def test_a_network_is_what_was_asked_for(facet: Facet) -> None:
    made = await facet.networks.create(
        Plan(
            "app",
            subnet=IPv4Network("10.5.0.0/16"),
            ip_range=IPv4Network("10.5.7.0/24"),
            gateway=IPv4Address("10.5.0.9"),
            auxiliary={"printer": IPv4Address("10.5.7.0")},
            options={
                "com.docker.network.driver.mtu": "1400",
                "com.docker.network.bridge.enable_icc": "false",
                "com.docker.network.bridge.enable_ip_masquerade": "false",
            },
        )
    )
    assert made.ordinal is not None
    segment = facet.platform.segments[made.ordinal]
    assert (str(segment.gateway), segment.mtu) == ("10.5.0.9", 1400)
    assert segment.isolated
    assert segment.outward
    assert not segment.masquerade
    reservation = await facet.endpoints.reserve("c1", "", "", [Wish("app")])
    assert str(reservation.endpoints[1].ipv4) == "10.5.7.1"


async def test_creation_is_idempotent_on_the_id(facet: Facet) -> None:
    plan = Plan("app", network_id=ID, subnet=IPv4Network("10.5.0.0/16"), labels={"a": "b"})
    assert await facet.networks.create(plan) == await facet.networks.create(plan)
    with pytest.raises(AlreadyExists) as refusal:
        await facet.networks.create(Plan("app", network_id=ID))
    assert refusal.value.reason is Reason.NETWORK_EXISTS


async def test_two_networks_cannot_have_one_name(facet: Facet) -> None:
    await facet.networks.create(Plan("app"))
    with pytest.raises(AlreadyExists, match="network with name app already exists"):
        await facet.networks.create(Plan("app"))


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan(""), Reason.INVALID_NETWORK),
        (Plan("a/b"), Reason.INVALID_NETWORK),
        (Plan(" a"), Reason.INVALID_NETWORK),
        (Plan("a "), Reason.INVALID_NETWORK),
        (Plan("app", network_id="xyz"), Reason.INVALID_NETWORK),
        (Plan("app", gateway=IPv4Address("10.0.0.1")), Reason.INVALID_NETWORK),
        (Plan("app", subnet=IPv4Network("10.0.0.0/31")), Reason.INVALID_NETWORK),
        (Plan("app", subnet=IPv4Network("224.0.0.0/8")), Reason.INVALID_NETWORK),
        (Plan("app", subnet=IPv4Network("172.17.4.0/24")), Reason.POOL_OVERLAPS),
        (Plan("app", subnet=IPv4Network("100.115.0.0/24")), Reason.POOL_OVERLAPS),
        (
            Plan("app", subnet=IPv4Network("10.0.0.0/24"), gateway=IPv4Address("10.0.1.1")),
            Reason.INVALID_NETWORK,
        ),
        (
            Plan("app", subnet=IPv4Network("10.0.0.0/24"), ip_range=IPv4Network("10.0.1.0/25")),
            Reason.INVALID_NETWORK,
        ),
        (
            Plan(
                "app",
                subnet=IPv4Network("10.0.0.0/24"),
                gateway=IPv4Address("10.0.0.9"),
                auxiliary={"printer": IPv4Address("10.0.0.9")},
            ),
            Reason.INVALID_NETWORK,
        ),
        (
            Plan(
                "app",
                subnet=IPv4Network("10.0.0.0/24"),
                auxiliary=dict.fromkeys(("a", "b"), IPv4Address("10.0.0.9")),
            ),
            Reason.INVALID_NETWORK,
        ),
        (Plan("app", options={"com.docker.network.driver.mtu": "x"}), Reason.INVALID_NETWORK),
        (Plan("app", options={"parent": "eth0"}), Reason.OPTION_NOT_IMPLEMENTED),
    ],
)
async def test_a_plan_that_cannot_be_right_changes_nothing(
    facet: Facet, plan: Plan, reason: Reason
) -> None:
    before = facet.networks.all()
    with pytest.raises((InvalidArgument, NotImplementedYet)) as refusal:
        await facet.networks.create(plan)
    error: VicError = refusal.value
    assert error.reason is reason
    assert facet.networks.all() == before
    assert sorted(facet.platform.segments) == [-1, 0]


async def test_a_platform_that_refuses_leaves_nothing(facet: Facet) -> None:
    facet.platform.refusing = True
    with pytest.raises(Unavailable):
        await facet.networks.create(Plan("app"))
    facet.platform.refusing = False
    assert sorted(facet.platform.segments) == [-1, 0]
    await facet.networks.create(Plan("app"))


async def test_predefined_networks_stay(facet: Facet) -> None:
    for name in ("bridge", "none"):
        with pytest.raises(FailedPrecondition) as refusal:
            await facet.networks.remove(name)
        assert refusal.value.reason is Reason.PREDEFINED_NETWORK


async def test_a_network_in_use_stays(facet: Facet) -> None:
    made = await facet.networks.create(Plan("app"))
    await facet.endpoints.reserve("c1", "", "", [Wish("app")])
    await facet.endpoints.bind("c1")
    with pytest.raises(FailedPrecondition, match="has active endpoints") as refusal:
        await facet.networks.remove("app")
    assert refusal.value.reason is Reason.ACTIVE_ENDPOINTS
    await facet.endpoints.release("c1")
    await facet.networks.remove("app")
    assert made.ordinal not in facet.platform.segments
    with pytest.raises(NotFound):
        await facet.networks.remove("app")


async def test_names_of_predefined_networks_are_taken_for_good(facet: Facet) -> None:
    for name in ("bridge", "none", "host", "default"):
        with pytest.raises(FailedPrecondition, match="predefined") as refusal:
            await facet.networks.create(Plan(name))
        assert refusal.value.reason is Reason.PREDEFINED_NETWORK


async def test_prune_removes_what_nobody_uses_and_what_fits(facet: Facet) -> None:
    await facet.networks.create(Plan("old", labels={"stage": "test"}))
    await facet.networks.create(Plan("used", labels={"stage": "test"}))
    await facet.networks.create(Plan("kept", labels={"stage": "test", "keep": ""}))
    await facet.networks.create(Plan("plain"))
    await facet.endpoints.reserve("c1", "", "", [Wish("used")])
    await facet.endpoints.bind("c1")
    rules = [LabelRule.parse("stage=test"), LabelRule.parse("!keep")]
    before = datetime(2020, 1, 1, tzinfo=UTC)
    assert await facet.networks.prune(before, rules) == []
    assert [network.name for network in await facet.networks.prune(None, rules)] == ["old"]
    assert [network.name for network in await facet.networks.prune(None, [])] == ["kept", "plain"]
    assert {network.name for network in facet.networks.all()} == {"bridge", "none", "used"}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("a", True),
        ("a=1", True),
        ("a=2", False),
        ("b", False),
        ("!a", False),
        ("!a=2", True),
        ("!b", True),
        ("e=", True),
    ],
)
def test_rules_about_labels(rule: str, holds: bool) -> None:
    assert LabelRule.parse(rule).holds({"a": "1", "e": ""}) is holds


async def test_where_ports_are_published_by_default_may_be_named(facet: Facet) -> None:
    option = "com.docker.network.bridge.host_binding_ipv4"
    made = await facet.networks.create(Plan("app", options={option: "127.0.0.1"}))
    assert facet.networks.shown_options(made) == {option: "127.0.0.1"}
    with pytest.raises(InvalidArgument, match=option):
        await facet.networks.create(Plan("bad", options={option: "localhost"}))

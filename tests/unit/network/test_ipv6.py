"""IPv6 of bridge networks: subnets, addresses, names."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from vic.network.v1 import network_pb2 as pb

from portlayer.errors import AlreadyExists, InvalidArgument, Reason
from services.network import messages, pools
from services.network.model import Wish
from services.network.names.answers import Answers
from services.network.names.askers import Askers
from services.network.plans import Plan
from services.network.ways import default_endpoint
from tests.unit.network.conftest import Facet, Runs
from tests.unit.network.naming import asked, questioned, run

OWN = Plan("six", ipv6=True, subnet6=IPv6Network("2001:db8:5::/64"))


async def test_subnets_are_chosen_from_the_instances_own_and_survive(runs: Runs) -> None:
    facet = await runs.start()
    facet.platform.taken6 = [IPv6Network("fd12:3456:789a:1::/64"), IPv6Network("2001:db8::/32")]
    for name in ("a", "b"):
        await facet.networks.create(Plan(name, ipv6=True))
    await facet.networks.create(Plan("four"))
    found = [network.pool6 for network in facet.networks.all()]
    assert [None if pool is None else str(pool.subnet) for pool in found] == [
        *(None, None),
        *("fd12:3456:789a::/64", "fd12:3456:789a:2::/64"),
        None,
    ]
    facet = await runs.start()
    assert [network.pool6 for network in facet.networks.all()] == found
    segment = facet.platform.segments[1]
    assert (segment.subnet6, segment.gateway6) == (
        IPv6Network("fd12:3456:789a::/64"),
        IPv6Address("fd12:3456:789a::1"),
    )


async def test_addresses_are_given_kept_and_given_back(runs: Runs) -> None:
    facet = await runs.start()
    await facet.networks.create(OWN)
    await facet.endpoints.reserve("c1", "", "", [Wish("six")])
    await facet.endpoints.reserve("c2", "", "", [Wish("six", ipv6="2001:db8:5::99")])
    with pytest.raises(AlreadyExists):
        await facet.endpoints.reserve("c3", "", "", [Wish("six", ipv6="2001:db8:5::99")])
    with pytest.raises(InvalidArgument):
        await facet.endpoints.reserve("c3", "", "", [Wish("six", ipv6="2001:db8:6::1")])
    facet = await runs.start()
    endpoints = [facet.endpoints.get(name).endpoints[1] for name in ("c1", "c2")]
    assert [str(endpoint.ipv6) for endpoint in endpoints] == ["2001:db8:5::2", "2001:db8:5::99"]
    with pytest.raises(AlreadyExists):
        await facet.endpoints.reserve("c3", "", "", [Wish("six", ipv6="2001:db8:5::99")])
    await facet.endpoints.release("c2")
    await facet.endpoints.reserve("c3", "", "", [Wish("six", ipv6="2001:db8:5::99")])
    ports = {port.address6 for port in facet.endpoints.ports()}
    assert ports == {None, IPv6Address("2001:db8:5::2"), IPv6Address("2001:db8:5::99")}


async def test_an_address_is_asked_for_only_where_the_user_named_the_subnet(facet: Facet) -> None:
    await facet.networks.create(Plan("chosen", ipv6=True))
    await facet.networks.create(Plan("four"))
    for network in ("bridge", "four", "chosen"):
        with pytest.raises(InvalidArgument, match="user specified IP address is supported"):
            await facet.endpoints.reserve("c1", "", "", [Wish(network, ipv6="fd12:3456:789a::9")])


async def test_both_addresses_have_the_name_and_the_name_both(facet: Facet) -> None:
    await facet.networks.create(OWN)
    four = await run(facet, "c1", "web", Wish("six"))
    assert asked(facet, "six", "172.18.0.9", "web") == ("NOERROR", [four])
    assert asked(facet, "six", "172.18.0.9", "web", "AAAA") == ("NOERROR", ["2001:db8:5::2"])
    answers = Answers(
        facet.endpoints.directory, Askers(facet.networks, facet.endpoints).networks_of
    )
    reverse = IPv6Address("2001:db8:5::2").reverse_pointer
    network = facet.networks.find("six")
    assert questioned(answers, network, "172.18.0.9", reverse, "PTR") == ("NOERROR", ["web.six."])
    nobody = IPv6Address("2001:db8:5::77").reverse_pointer
    assert questioned(answers, network, "172.18.0.9", nobody, "PTR") == ("NXDOMAIN", [])
    elsewhere = IPv6Address("2001:db8:9::77").reverse_pointer
    assert questioned(answers, network, "172.18.0.9", elsewhere, "PTR") is None


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (replace(OWN, ipv6=False), "IPv6 is not enabled"),
        (replace(OWN, subnet6=IPv6Network("fe80::/64")), "is not one that hosts can have"),
        (replace(OWN, subnet6=IPv6Network("2001:db8::/127")), "has no room"),
        (replace(OWN, gateway6=IPv6Address("2001:db8:6::1")), "doesn't contain this address"),
        (replace(OWN, gateway6=IPv6Address("2001:db8:5::")), "no host can have it"),
        (replace(OWN, ip_range6=IPv6Network("2001:db8:6::/80")), "doesn't contain ip-range"),
        (Plan("six", ipv6=True, gateway6=IPv6Address("2001:db8:5::1")), "need a subnet"),
    ],
)
async def test_what_cannot_be_right_is_refused(facet: Facet, plan: Plan, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await facet.networks.create(plan)


async def test_overlapping_subnets_are_refused(facet: Facet) -> None:
    await facet.networks.create(OWN)
    with pytest.raises(InvalidArgument) as refused:
        await facet.networks.create(replace(OWN, name="b", subnet6=IPv6Network("2001:db8::/32")))
    assert refused.value.reason is Reason.POOL_OVERLAPS


async def test_creation_is_idempotent_on_the_id(facet: Facet) -> None:
    plan = replace(OWN, network_id="a" * 64)
    made = await facet.networks.create(plan)
    assert await facet.networks.create(plan) == made
    with pytest.raises(AlreadyExists):
        await facet.networks.create(replace(plan, subnet6=IPv6Network("2001:db8:6::/64")))


def test_a_request_may_have_a_pool_of_each_kind() -> None:
    plan = messages.plan(
        pb.CreateRequest(
            name="six",
            enable_ipv6=True,
            pools=[
                pb.AddressPool(subnet="2001:db8:5::/64", gateway="2001:db8:5::5"),
                pb.AddressPool(subnet="10.5.0.0/16", auxiliary_addresses={"printer": "10.5.0.9"}),
            ],
        )
    )
    assert (plan.subnet6, plan.gateway6) == (
        IPv6Network("2001:db8:5::/64"),
        IPv6Address("2001:db8:5::5"),
    )
    assert plan.auxiliary == {"printer": IPv4Address("10.5.0.9")}


def test_an_instances_prefix_is_its_own_and_stays(tmp_path: Path) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("0123456789abcdef\n")
    one, other = (pools.own_prefix(instance, machine) for instance in ("1a2b3c4d", "deadbeef"))
    assert one == pools.own_prefix("1a2b3c4d", machine)
    assert one != other
    for prefix in (one, other, pools.own_prefix("1a2b3c4d", tmp_path / "none")):
        assert prefix.prefixlen == 48
        assert prefix.subnet_of(IPv6Network("fd00::/8"))


async def test_a_network_with_ipv6_is_joined_and_left(runs: Runs) -> None:
    facet = await runs.start()
    await facet.networks.create(Plan("a-four"))
    await facet.networks.create(OWN)
    await facet.endpoints.reserve("c1", "web", "", [Wish("a-four")])
    joined = await facet.endpoints.connect("c1", Wish("six", ipv6="2001:db8:5::99"))
    facet = await runs.start()
    reservation = facet.endpoints.get("c1")
    assert reservation.endpoints[2] == joined
    # Each version of IP has the first network that has it for its way out.
    ways = [default_endpoint(reservation, facet.networks.get, version) for version in (4, 6)]
    assert [way and facet.networks.get(way.network_id).name for way in ways] == ["a-four", "six"]
    await facet.endpoints.disconnect("c1", "six")
    assert default_endpoint(facet.endpoints.get("c1"), facet.networks.get, 6) is None
    again = await facet.endpoints.connect("c1", Wish("six", ipv6="2001:db8:5::99"))
    assert str(again.ipv6) == "2001:db8:5::99"

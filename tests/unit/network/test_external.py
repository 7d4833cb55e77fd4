"""External networks: what may be asked for, and which ports are open on them."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from portlayer.errors import FailedPrecondition, InvalidArgument, Reason
from services.network.drivers import Level, Transport, Uplink
from services.network.drivers.linux.uplinks import check_parent
from services.network.external import PortWish
from services.network.model import External, Wish
from services.network.plans import Plan
from tests.unit.network.conftest import Facet, Runs

PLAN = Plan(
    "lan",
    subnet=IPv4Network("10.2.0.0/16"),
    gateway=IPv4Address("10.2.0.1"),
    ip_range=IPv4Network("10.2.7.0/24"),
    external=External("br0", Level.PUBLISHED, (IPv4Address("10.2.0.53"),)),
)
SIX = replace(
    PLAN,
    ipv6=True,
    subnet6=IPv6Network("2001:db8:2::/64"),
    gateway6=IPv6Address("2001:db8:2::1"),
    ip_range6=IPv6Network("2001:db8:2::40/122"),
)


async def test_it_is_a_segment_with_an_uplink_and_survives_a_restart(runs: Runs) -> None:
    facet = await runs.start()
    made = await facet.networks.create(PLAN)
    assert facet.platform.segments[1].uplink == Uplink("br0", Level.PUBLISHED)
    facet = await runs.start()
    assert facet.networks.find("lan") == made
    assert facet.platform.segments[1].uplink == Uplink("br0", Level.PUBLISHED)
    reservation = await facet.endpoints.reserve("c1", "", "", [Wish("lan")])
    assert str(reservation.endpoints[1].ipv4) == "10.2.7.0"


async def test_the_host_may_be_on_it_but_no_other_network_of_ours(runs: Runs) -> None:
    facet = await runs.start(taken=["10.2.0.0/16"])
    await facet.networks.create(PLAN)
    for subnet in ("10.2.0.0/24", "172.17.0.0/16"):
        wanted = replace(PLAN, name="other", subnet=IPv4Network(subnet), ip_range=None)
        with pytest.raises(InvalidArgument) as refused:
            await facet.networks.create(replace(wanted, gateway=IPv4Network(subnet)[1]))
        assert refused.value.reason is Reason.POOL_OVERLAPS


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (replace(PLAN, gateway=None), "needs its subnet and gateway"),
        (replace(PLAN, subnet=None, gateway=None, ip_range=None), "needs its subnet and gateway"),
        (replace(PLAN, external=External("")), "needs its parent"),
        (
            replace(PLAN, external=External("br0", resolvers=(IPv4Address("127.0.0.1"),))),
            "invalid name server",
        ),
        (replace(PLAN, ipv6=True), "needs its subnet and gateway"),
        (replace(SIX, gateway6=None), "needs its subnet and gateway"),
        (replace(SIX, gateway6=IPv6Address("2001:db8:3::1")), "doesn't contain this address"),
        (replace(PLAN, ip_range=IPv4Network("10.3.0.0/24")), "doesn't contain ip-range"),
    ],
)
async def test_what_cannot_be_right_is_refused(facet: Facet, wanted: Plan, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await facet.networks.create(wanted)
    assert [network.name for network in facet.networks.all()] == ["none", "bridge"]


@pytest.mark.parametrize("name", ["eth0; drop", "x" * 16, "VM Network"])
def test_what_no_interface_is_called_is_refused_where_interfaces_are(name: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid name of an interface"):
        check_parent(name)


async def test_only_its_administrator_removes_it(facet: Facet) -> None:
    await facet.networks.create(PLAN)
    assert await facet.networks.prune(None, ()) == []
    with pytest.raises(FailedPrecondition) as refused:
        await facet.networks.remove("lan")
    assert refused.value.reason is Reason.PREDEFINED_NETWORK
    await facet.networks.create(Plan("app"))
    with pytest.raises(FailedPrecondition, match="app is no external network"):
        await facet.networks.remove("app", external=True)
    await facet.networks.remove("lan", external=True)


async def test_what_is_exposed_and_published_is_open_at_the_own_address(facet: Facet) -> None:
    await facet.networks.create(PLAN)
    await facet.endpoints.reserve("c1", "", "", [Wish("lan")])
    forwards = await facet.publications.publish(
        "c1", [PortWish(Transport.TCP, 80)], [(Transport.TCP, 80), (Transport.UDP, 53)]
    )
    own = facet.endpoints.get("c1").endpoints[1].ipv4
    assert [(f.host_address, f.transport, f.host_port) for f in forwards] == [
        (own, Transport.TCP, 80),
        (own, Transport.UDP, 53),
    ]
    assert all(forward.direct for forward in forwards)
    # It is no port of the host's, which another container may have.
    await facet.endpoints.reserve("c2", "", "", [Wish("lan")])
    assert len(await facet.publications.publish("c2", [PortWish(Transport.TCP, 80)])) == 1


async def test_ipv6_is_the_network_s_own(runs: Runs) -> None:
    facet = await runs.start()
    facet.platform.taken6 = [IPv6Network("2001:db8:2::/64")]  # The host may be on it as well.
    # A router that is known by its address on the link alone.
    router = IPv6Address("fe80::1")
    made = await facet.networks.create(replace(SIX, gateway6=router))
    facet = await runs.start()
    assert facet.networks.find("lan") == made
    segment = facet.platform.segments[1]
    assert (segment.subnet6, segment.gateway6) == (SIX.subnet6, router)
    wanted = Wish("lan", ipv6="2001:db8:2::99")
    own = (await facet.endpoints.reserve("c1", "", "", [wanted])).endpoints[1]
    other = (await facet.endpoints.reserve("c2", "", "", [Wish("lan")])).endpoints[1]
    assert (str(own.ipv6), str(other.ipv6)) == ("2001:db8:2::99", "2001:db8:2::40")
    for where in (None, own.ipv4, own.ipv6, IPv6Address("::")):
        forwards = await facet.publications.publish("c1", [PortWish(Transport.TCP, 80, where)])
        assert [(f.host_address, f.host_port) for f in forwards] == [(own.ipv4, 80), (own.ipv6, 80)]
    elsewhere = PortWish(Transport.TCP, 80, other.ipv6)
    with pytest.raises(InvalidArgument, match="configuration error"):
        await facet.publications.publish("c1", [elsewhere])


async def test_exposing_opens_nothing_elsewhere(facet: Facet) -> None:
    await facet.endpoints.reserve("c1", "", "", [Wish("bridge")])
    assert await facet.publications.publish("c1", [], [(Transport.TCP, 80)]) == ()
    assert facet.platform.forwards == set()


async def test_one_is_the_default_for_publishing(facet: Facet) -> None:
    publishing = replace(PLAN, external=External("br0", publishes=True))
    with pytest.raises(FailedPrecondition, match=r"no address in 10\.2\.0\.0/16"):
        await facet.networks.create(publishing)
    facet.platform.own = [IPv4Address("127.0.0.9"), IPv4Address("10.2.0.5")]
    await facet.networks.create(publishing)
    second = replace(
        publishing,
        name="second",
        subnet=IPv4Network("127.0.0.8/29"),
        gateway=IPv4Address("127.0.0.10"),
        ip_range=None,
    )
    with pytest.raises(InvalidArgument):
        await facet.networks.create(second)
    second = replace(second, subnet=IPv4Network("10.3.0.0/16"), gateway=IPv4Address("10.3.0.1"))
    with pytest.raises(FailedPrecondition, match="lan is the default for publishing already"):
        await facet.networks.create(second)
    network = facet.networks.find("bridge")
    assert await facet.networks.publishing.host_address(network) == IPv4Address("10.2.0.5")
    facet.platform.own = []
    await facet.endpoints.reserve("c1", "web", "", [Wish("bridge")])
    with pytest.raises(FailedPrecondition, match=r"no address in 10\.2\.0\.0/16"):
        await facet.publications.publish("c1", [PortWish(Transport.TCP, 80)])
    # Who names an address asks for no default.
    loopback = PortWish(Transport.TCP, 80, IPv4Address("127.0.0.1"))
    assert len(await facet.publications.publish("c1", [loopback])) == 1

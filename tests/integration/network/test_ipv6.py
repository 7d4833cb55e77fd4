"""IPv6 of bridge networks, as packets: who reaches whom, and who can't say that it is another."""

import socket
from ipaddress import IPv6Network

import pytest

from services.network.drivers import Forward, Transport
from services.network.plans import Plan
from tests.integration.network import frames6
from tests.integration.network.conftest import Facet
from tests.integration.network.guest import BOUND_SECONDS, Guest
from tests.integration.network.namespaces import Outside, run

HOST = "2001:db8:1::1"
FAR = "2001:db8:1::2"
SUBNET = "fd12:3456:789a::/64"
GATEWAY = "fd12:3456:789a::1"


@pytest.fixture
def far(outside: Outside) -> Outside:
    """The machine outside, which has IPv6 as well and knows no route back to containers."""
    run("ip", "addr", "add", f"{HOST}/64", "dev", "up0", "nodad")
    outside.run("ip", "addr", "add", f"{FAR}/64", "dev", "eth0", "nodad")
    return outside


async def six(facet: Facet) -> None:
    """Make a network with IPv6 in a subnet that is chosen for it."""
    await facet.networks.create(Plan("six", ipv6=True))


def listening(where: str, port: int, outside: Outside | None = None) -> socket.socket:
    """Return a bound socket of IPv6."""
    if outside is None:
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    else:
        made = outside.socket(family=socket.AF_INET6)
    made.settimeout(BOUND_SECONDS)
    made.bind((where, port))
    return made


async def test_containers_reach_one_another_the_host_and_the_outside(
    facet: Facet, far: Outside
) -> None:
    await six(facet)
    network = facet.networks.find("six")
    assert network.pool6 is not None
    assert network.pool6.subnet == IPv6Network(SUBNET)
    _, one = await facet.container("c1", "six")
    _, two = await facet.container("c2", "six")
    # While an address of the host is tentative there, it finds no container.
    (bridge,) = (facet.driver.segment_name(s) for s in facet.networks.segments() if s.subnet6)
    assert "tentative" not in run("ip", "-6", "addr", "show", "dev", bridge)
    assert (one.address6, two.address6) == ("fd12:3456:789a::2", "fd12:3456:789a::3")
    one.send_udp6(two.address6, 9, b"neighbour", two.mac)
    assert frames6.source_of(two.receive_data6(b"neighbour")) == one.address6
    with listening("::", 9000) as here, listening(FAR, 9000, far) as there:
        one.send_udp6(GATEWAY, 9000, b"host")
        assert here.recvfrom(100)[0] == b"host"
        one.send_udp6(FAR, 9000, b"outside")
        data, sender = there.recvfrom(100)
        # Under the host's address, as the outside knows no other way back.
        assert (data, sender[0]) == (b"outside", HOST)
        there.sendto(b"answer", sender)
        assert frames6.source_of(one.receive_data6(b"answer")) == FAR
    assert await facet.driver.restore() == []


async def test_nothing_passes_between_networks_nor_out_of_an_internal_one(
    facet: Facet, far: Outside
) -> None:
    await six(facet)
    await facet.networks.create(Plan("other", ipv6=True))
    await facet.networks.create(Plan("inner", ipv6=True, internal=True))
    _, one = await facet.container("c1", "six")
    _, other = await facet.container("c2", "other")
    _, inner = await facet.container("c3", "inner")
    _, neighbour = await facet.container("c4", "other")
    with listening(FAR, 9000, far) as there:
        one.send_udp6(other.address6, 9, b"stray")
        inner.send_udp6(other.address6, 9, b"stray")
        inner.send_udp6(FAR, 9000, b"stray")
        one.send_udp6(FAR, 9000, b"mark")
        assert there.recv(100) == b"mark"
    neighbour.send_udp6(other.address6, 9, b"mark", other.mac)
    other.receive_data6(b"mark")
    assert all(frames6.data_of(seen) != b"stray" for seen in other.seen)


async def test_nobody_says_that_it_is_another(facet: Facet) -> None:
    await six(facet)
    _, rogue = await facet.container("c1", "six")
    _, victim = await facet.container("c2", "six")
    own, router, target = rogue.address6, GATEWAY, victim.address6
    wrong = "fd12:3456:789a::99"
    forged = [
        frames6.udp6(wrong, target, 1000, 9, b"forged"),
        frames6.udp6("fe80::1", target, 1000, 9, b"forged"),
        frames6.udp6(own, target, 547, 546, b"forged"),
        frames6.advertisement(own, target, router, rogue.mac),
        frames6.advertisement(router, target, router, rogue.mac),
        frames6.router_advertisement(own, target),
        frames6.router_advertisement("fe80::1", "ff02::1"),
        frames6.icmpv6(own, target, 137, bytes(36)),
    ]
    for packet in forged:
        rogue.send_ipv6(packet, victim.mac)
    rogue.send(frames6.framed(victim.mac, victim.mac, frames6.udp6(own, target, 1, 9, b"forged")))
    # What is honest passes: its own advertisement, and pings.
    rogue.send_ipv6(frames6.advertisement(own, target, own, rogue.mac), victim.mac)
    rogue.send_ipv6(frames6.icmpv6(own, target, frames6.PING, bytes(4)), victim.mac)
    rogue.send_udp6(target, 9, b"mark", victim.mac)
    victim.receive_data6(b"mark")
    kinds = [frames6.icmp_kind(seen) for seen in victim.seen if seen.source == rogue.mac]
    assert kinds == [frames6.ADVERTISEMENT, frames6.PING]
    assert all(frames6.data_of(seen) != b"forged" for seen in victim.seen)


async def test_who_has_no_ipv6_sends_none(facet: Facet) -> None:
    await facet.networks.create(Plan("four"))
    _, one = await facet.container("c1", "four")
    _, two = await facet.container("c2", "four")
    assert one.address6 == ""
    one.send_ipv6(frames6.udp6("fd12:3456:789a::2", "ff02::1", 1, 9, b"six"), "33:33:00:00:00:01")
    one.send_udp(two.address, 9, b"four", two.mac)
    two.receive_data(b"four")
    assert all(frames6.data_of(seen) != b"six" for seen in two.seen)


async def test_a_published_port_from_the_host(facet: Facet, far: Outside) -> None:
    await six(facet)
    card = await forwarded(facet, "::")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asking:
        asking.settimeout(BOUND_SECONDS)
        asking.sendto(b"question", (HOST, 5353))
        answer(card)
        assert asking.recvfrom(100)[0] == b"answer"


async def test_a_published_port_from_outside_and_from_another_network(
    facet: Facet, far: Outside
) -> None:
    await six(facet)
    await facet.networks.create(Plan("other", ipv6=True))
    card = await forwarded(facet, HOST)
    _, other = await facet.container("c9", "other")
    with far.socket(family=socket.AF_INET6) as asking:
        asking.settimeout(BOUND_SECONDS)
        asking.sendto(b"question", (HOST, 5353))
        assert answer(card) == FAR
        assert asking.recvfrom(100)[:1] == (b"answer",)
    other.send_udp6(HOST, 5353, b"question")
    assert answer(card) == GATEWAY
    assert frames6.source_of(other.receive_data6(b"answer")) == HOST
    assert await facet.driver.restore() == []


async def forwarded(facet: Facet, where: str) -> Guest:
    """Return the card of a container to whose port 53 the host's 5353 leads."""
    _, card = await facet.container("c1", "six")
    endpoint = facet.endpoints.get("c1").endpoints[1]
    assert endpoint.ipv6 is not None
    forward = Forward(Transport.UDP, type(endpoint.ipv6)(where), 5353, endpoint.ipv6, 53)
    await facet.driver.forward([forward], ())
    return card


def answer(card: Guest) -> str:
    """Wait for the question in a container and answer it; returns who asked."""
    seen = card.receive_data6(b"question")
    source, target = frames6.ports_of(seen)
    asker = frames6.source_of(seen)
    card.send_ipv6(frames6.udp6(card.address6, asker, target, source, b"answer"))
    return asker


async def test_what_somebody_took_is_put_back(facet: Facet) -> None:
    await six(facet)
    await facet.container("c1", "six")
    for harm in (
        "ip -6 addr flush dev vic0b1 scope global",
        f"ip -6 route del {SUBNET} dev vic0b1",
        "nft flush set bridge vic_1a2b3c4d_l2 sources6",
        "nft flush set bridge vic_1a2b3c4d_l2 targets6",
    ):
        run(*harm.split())
        assert await facet.driver.restore() != []
        assert await facet.driver.restore() == []


async def test_the_host_goes_on_listening_to_its_own_router(facet: Facet, far: Outside) -> None:
    await six(facet)

    def setting(interface: str) -> str:
        return run("sysctl", "-n", f"net.ipv6.conf.{interface}.accept_ra").strip()

    assert run("sysctl", "-n", "net.ipv6.conf.all.forwarding").strip() == "1"
    assert (setting("up0"), setting("vic0b1")) == ("2", "0")

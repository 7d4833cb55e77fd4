"""External networks, as packets: who reaches whom at each firewall level, and at what interface."""

import json
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from portlayer.errors import FailedPrecondition, InvalidArgument
from services.network.drivers import Level, Transport
from services.network.drivers.linux import nft
from services.network.external import PortWish
from tests.integration.network import frames, frames6
from tests.integration.network.conftest import LAN_HOST as HOST
from tests.integration.network.conftest import LAN_HOST6 as HOST6
from tests.integration.network.conftest import LAN_ROUTER as ROUTER
from tests.integration.network.conftest import LAN_ROUTER6 as ROUTER6
from tests.integration.network.conftest import Facet
from tests.integration.network.guest import BOUND_SECONDS, Guest
from tests.integration.network.lan import mac_of_outside, mapped, on_lan
from tests.integration.network.namespaces import Outside, run

FRAME_TABLE = "vic_1a2b3c4d_l2"


def delivered(outside: Outside, card: Guest, port: int, data: bytes) -> None:
    """Send datagrams from outside, of IPv4 and IPv6."""
    with outside.socket() as sender, outside.socket(family=socket.AF_INET6) as sender6:
        sender.sendto(data, (card.address, port))
        sender6.sendto(data, (card.address6, port))


def seen_by(card: Guest) -> tuple[set[bytes], set[bytes]]:
    """Return what datagrams have come to a card before the last that was waited for."""
    six = {frames6.data_of(frame) for frame in card.seen}
    return {frame.data for frame in card.seen}, six


@pytest.mark.parametrize("parent", ["lan0", "br0"])
async def test_a_container_is_on_the_lan_with_an_address_from_the_range(
    facet: Facet, request: pytest.FixtureRequest, parent: str
) -> None:
    lan: Outside = request.getfixturevalue("office" if parent == "br0" else "cable")
    await mapped(facet, parent)
    card = await on_lan(facet, "c1", 80)
    assert IPv4Address(card.address) in IPv4Network("10.2.0.64/28")
    with lan.socket() as asking:
        asking.settimeout(BOUND_SECONDS)
        asking.sendto(b"question", (card.address, 80))
        seen = card.receive_data(b"question")
        assert seen.ip_source == ROUTER
        card.send_ip(frames.udp(card.address, ROUTER, 80, seen.ports[0], b"answer"), seen.source)
        assert asking.recvfrom(100) == (b"answer", (card.address, 80))
    # By IPv6 as well; nobody knew its MAC address, so it was asked for and told.
    assert IPv6Address(card.address6) in IPv6Network("2001:db8:2::40/122")
    with lan.socket(family=socket.AF_INET6) as asking:
        asking.settimeout(BOUND_SECONDS)
        asking.sendto(b"question", (card.address6, 80))
        seen = card.receive_data6(b"question")
        assert frames6.source_of(seen) == ROUTER6
        own, asker = 80, frames6.ports_of(seen)[0]
        answer = frames6.udp6(card.address6, ROUTER6, own, asker, b"answer")
        card.send_ipv6(answer, seen.source)
        assert asking.recvfrom(100)[:2] == (b"answer", (card.address6, 80, 0, 0))
    assert await facet.driver.restore() == []


# Whether these reach a container: another one of the network, the outside by a published port, the
# outside by another one; and whether it reaches the outside itself.
PASSES = {
    Level.CLOSED: (False, False, False, False),
    Level.OUTBOUND: (False, False, False, True),
    Level.PEERS: (True, False, False, False),
    Level.PUBLISHED: (False, True, False, True),
    Level.OPEN: (True, True, True, True),
}


@pytest.mark.parametrize("level", Level)
async def test_who_reaches_whom_at_each_level(facet: Facet, cable: Outside, level: Level) -> None:
    from_peer, published, other, out = PASSES[level]
    await mapped(facet, "lan0", level)
    admits = level in (Level.PUBLISHED, Level.OPEN)
    card = await on_lan(facet, "c1", *([80] if admits else []))
    peer = await on_lan(facet, "c2")
    outside_mac = mac_of_outside(cable)
    # It is not asked for by ARP where nothing passes: both know the other's address.
    for address in (card.address, card.address6):
        cable.run("ip", "neigh", "replace", address, "lladdr", card.mac, "dev", "eth0")
    with cable.socket() as listening, cable.socket(family=socket.AF_INET6) as listening6:
        for one, where in ((listening, ROUTER), (listening6, ROUTER6)):
            one.settimeout(BOUND_SECONDS)
            one.bind((where, 5000))
        card.send_udp(ROUTER, 5000, b"way out", outside_mac)
        card.send_udp6(ROUTER6, 5000, b"way out", outside_mac)
        if out:
            assert (listening.recv(100), listening6.recv(100)) == (b"way out", b"way out")
            # The answer passes, and nothing else from there does.
            listening.sendto(b"answer", (card.address, 1000))
            card.receive_data(b"answer")
            listening6.sendto(b"answer", (card.address6, 1000))
            card.receive_data6(b"answer")
        delivered(cable, card, 80, b"published")
        delivered(cable, card, 81, b"other")
        peer.send_udp(card.address, 82, b"peer", card.mac)
        peer.send_udp6(card.address6, 82, b"peer", card.mac)
        # All of them could be sent: without the rules the same sender is heard.
        nft.apply(f"flush chain bridge {FRAME_TABLE} forward\n")
        delivered(cable, card, 83, b"the end")
        card.receive_data(b"the end")
        card.receive_data6(b"the end")
        for seen in seen_by(card):
            passed = (b"published" in seen, b"other" in seen, b"peer" in seen)
            assert passed == (published, other, from_peer)
            assert not out or b"answer" not in seen


async def test_tcp_connections_begin_where_they_may(facet: Facet, cable: Outside) -> None:
    await mapped(facet, "lan0")
    card = await on_lan(facet, "c1", 80)
    outside_mac = mac_of_outside(cable)
    cable.run("ip", "neigh", "replace", card.address, "lladdr", card.mac, "dev", "eth0")
    # From inside: nobody listens out there, and the refusal comes back.
    card.send_ip(frames.tcp(card.address, ROUTER, 2000, 9, frames.SYN), outside_mac)
    assert card.receive(lambda seen: seen.tcp_flags & frames.RST != 0).ports == (9, 2000)
    for port in (81, 80):
        with cable.socket(socket.SOCK_STREAM) as caller:
            caller.setblocking(False)
            caller.connect_ex((card.address, port))
            if port == 80:
                assert card.receive(lambda seen: seen.tcp_flags == frames.SYN).ports[1] == 80
    assert all(seen.tcp_flags != frames.SYN for seen in card.seen)
    for port in (81, 80):
        with cable.socket(socket.SOCK_STREAM, socket.AF_INET6) as caller:
            caller.setblocking(False)
            caller.connect_ex((card.address6, port))
            if port == 80:
                assert frames6.ports_of(card.receive(of_tcp6))[1] == 80
    assert not any(map(of_tcp6, card.seen))


def of_tcp6(seen: frames.Seen) -> bool:
    return frames6.protocol_of(seen) == frames.TCP


async def test_the_host_has_no_part_in_it(facet: Facet, office: Outside) -> None:
    await mapped(facet, "br0", Level.OPEN)
    card = await on_lan(facet, "c1")
    mac = json.loads(run("ip", "-json", "link", "show", "vic0b1"))[0]["address"]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as service6,
    ):
        service.settimeout(BOUND_SECONDS)
        service.bind((HOST, 9000))
        service6.settimeout(BOUND_SECONDS)
        service6.bind((HOST6, 9000))
        # By the bridge that is ours nothing comes in, and nobody there answers for the host …
        card.send_udp(HOST, 9000, b"by our bridge", mac)
        card.send_udp6(HOST6, 9000, b"by our bridge", mac)
        card.ask_arp(HOST)
        found = card.receive(lambda seen: seen.arp_operation == 2)
        assert found.arp_sender[0] != mac
        # … who is a neighbour on the LAN like any other.
        card.send_udp(HOST, 9000, b"by the LAN", found.source)
        assert service.recv(100) == b"by the LAN"
        card.send_udp6(HOST6, 9000, b"by the LAN", found.source)
        assert service6.recv(100) == b"by the LAN"
    assert all(seen.arp_operation != 2 for seen in card.seen)


async def test_a_container_speaks_for_itself_alone(facet: Facet, cable: Outside) -> None:
    await mapped(facet, "lan0", Level.OPEN)
    card = await on_lan(facet, "c1")
    outside_mac = mac_of_outside(cable)
    with cable.socket() as listening:
        listening.settimeout(BOUND_SECONDS)
        listening.bind((ROUTER, 5000))
        for source in ("10.2.0.77", card.address):
            packet = frames.udp(source, ROUTER, 1000, 5000, source.encode())
            card.send_ip(packet, outside_mac)
        assert listening.recv(100) == card.address.encode()
    peer = await on_lan(facet, "c2")
    listener_report = frames6.icmpv6("::", "ff02::16", 143, bytes(4))
    forged = [
        frames6.udp6("2001:db8:2::99", peer.address6, 1, 9, b"forged"),
        frames6.udp6("fe80::99", peer.address6, 1, 9, b"forged"),
        frames6.udp6("::", peer.address6, 1, 9, b"forged"),
        frames6.advertisement(card.address6, peer.address6, ROUTER6, card.mac),
        frames6.advertisement("::", peer.address6, ROUTER6, card.mac),
        frames6.router_advertisement(card.address6, "ff02::1"),
    ]
    for packet in (*forged, listener_report):
        card.send_ipv6(packet, peer.mac)
    card.send(frames6.framed(peer.mac, peer.mac, listener_report))
    card.send_udp6(peer.address6, 9, b"mark", peer.mac)
    peer.receive_data6(b"mark")
    # Who has no address of the link's tells from none which groups it listens to, and no more.
    assert [(frames6.icmp_kind(seen), frames6.data_of(seen)) for seen in from_(card, peer)] == [
        (143, b"")
    ]


def from_(sender: Guest, card: Guest) -> list[frames.Seen]:
    """Return what of IPv6 has come from a guest, or under a name that isn't its sender's."""
    return [
        seen
        for seen in card.seen
        if seen.kind == frames.IPV6 and seen.source in (sender.mac, card.mac)
    ]


async def test_a_port_has_no_other_number_there(facet: Facet, cable: Outside) -> None:
    await mapped(facet, "lan0")
    _, card = await facet.container("c1", "lan")
    for wish in (
        PortWish(Transport.TCP, 80, None, 8080, 8080),
        PortWish(Transport.TCP, 80, IPv4Address("10.2.0.5"), 80, 80),
    ):
        with pytest.raises(InvalidArgument, match="configuration error: port 80 can't be mapped"):
            await facet.publications.publish("c1", [wish])
    for wish in (
        PortWish(Transport.TCP, 80),
        PortWish(Transport.TCP, 80, None, 80, 80),
        PortWish(Transport.TCP, 80, IPv4Address(card.address), 70, 90),
        PortWish(Transport.TCP, 80, IPv6Address(card.address6), 80, 80),
    ):
        opened = await facet.publications.publish("c1", [wish])
        places = [(str(forward.host_address), forward.host_port) for forward in opened]
        assert places == [(card.address, 80), (card.address6, 80)]
    assert await facet.driver.restore() == []
    await facet.publications.unpublish("c1")
    assert await facet.driver.restore() == []


@pytest.mark.parametrize("level", [Level.CLOSED, Level.OUTBOUND, Level.PEERS])
async def test_nothing_is_published_where_nobody_comes_in(
    facet: Facet, cable: Outside, level: Level
) -> None:
    await mapped(facet, "lan0", level)
    await facet.container("c1", "lan")
    with pytest.raises(FailedPrecondition, match=f"external network lan is {level}"):
        await facet.publications.publish("c1", [PortWish(Transport.TCP, 80)])
    # To say what one serves is no wish.
    assert await facet.publications.publish("c1", [], [(Transport.TCP, 80)]) == ()


async def test_what_somebody_took_is_put_back(facet: Facet, office: Outside) -> None:
    await mapped(facet, "br0")
    await on_lan(facet, "c1", 80)
    for harm in (
        "ip link del vic0u1",
        "ip link set vic0p1 nomaster",
        f"nft flush set bridge {FRAME_TABLE} opened",
        f"nft flush set bridge {FRAME_TABLE} opened6",
        f"nft flush set bridge {FRAME_TABLE} sources6",
        f"nft flush set bridge {FRAME_TABLE} outward",
    ):
        run(*harm.split())
        assert await facet.driver.restore() != []
        assert await facet.driver.restore() == []


async def test_a_parent_that_goes_and_comes_again(facet: Facet, cable: Outside) -> None:
    await mapped(facet, "lan0")
    await on_lan(facet, "c1")
    run("ip", "link", "set", "lan0", "name", "gone0")
    with pytest.raises(FailedPrecondition, match="no network interface lan0"):
        await facet.container("c2", "lan")
    # The service starts all the same, and others' networks work.
    await facet.stop()
    await facet.start()
    await facet.container("c3")
    run("ip", "link", "set", "gone0", "name", "lan0")
    await facet.container("c4", "lan")


async def test_an_unfit_parent_is_refused_and_nothing_is_left(
    facet: Facet, office: Outside
) -> None:
    run("ip", "link", "add", "own0", "type", "veth", "peer", "name", "own1")
    run("ip", "addr", "add", "192.0.2.1/24", "dev", "own0")
    before = links()
    for parent, message in {
        "own0": "would lose its address 192.0.2.1 on own0: make a bridge",
        "lan0": "is a port of another interface already",
        "lo": "leads to no network outside",
        "vic0b0": "a bridge of this instance's own",
    }.items():
        with pytest.raises(InvalidArgument, match=message):
            await mapped(facet, parent)
    with pytest.raises(FailedPrecondition, match="no network interface nope0"):
        await mapped(facet, "nope0")
    assert [network.name for network in facet.networks.all()] == ["none", "bridge"]
    assert links() == before
    assert await facet.driver.restore() == []


async def test_all_of_it_goes_and_the_parent_stays(facet: Facet, office: Outside) -> None:
    await mapped(facet, "br0")
    with pytest.raises(FailedPrecondition, match="vic network external rm"):
        await facet.networks.remove("lan")
    await facet.networks.remove("lan", external=True)
    assert "vic0u" not in run("ip", "-brief", "link")
    await mapped(facet, "br0")
    await facet.driver.teardown()
    links = run("ip", "-brief", "link")
    assert "vic0" not in links
    assert "br0" in links


def links() -> list[tuple[str, str]]:
    """Return the interfaces with their hardware addresses; carriers come and go."""
    words = (line.split() for line in run("ip", "-brief", "link").splitlines())
    return [(name, mac) for name, _state, mac, *_ in words]

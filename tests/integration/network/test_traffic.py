"""Where packets of containers get, and where not.

A packet that must not arrive is followed by one that must, on the same way where there is one: what
came before that one is all that will ever come, since a bridge keeps the order.
"""

import socket
from collections.abc import Iterator

import pytest

from services.network.plans import Plan
from tests.integration.network import frames
from tests.integration.network.conftest import CLOSED_PORT, HOST_ADDRESS, OTHERS_CLOSED_PORT, Facet
from tests.integration.network.guest import BOUND_SECONDS, Guest
from tests.integration.network.namespaces import Outside, run

# linux/in.h
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2


@pytest.fixture
def server(outside: Outside) -> Iterator[socket.socket]:
    """Listen outside on UDP port 9000."""
    with outside.socket() as listener:
        listener.settimeout(BOUND_SECONDS)
        listener.bind((outside.address, 9000))
        yield listener


@pytest.fixture
def on_host(host: None) -> Iterator[socket.socket]:
    """Listen on the host on UDP port 9000, on all addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.settimeout(BOUND_SECONDS)
        listener.bind(("0.0.0.0", 9000))
        yield listener


def listen(port: int) -> socket.socket:
    """Listen on a TCP port of all addresses of the host."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("0.0.0.0", port))
    listener.listen()
    return listener


def heard_of(guest: Guest, port: int) -> list[frames.Seen]:
    """Return the TCP answers of a port that a guest saw."""
    return [f for f in guest.seen if f.protocol == frames.TCP and f.ports[0] == port]


async def test_a_container_reaches_the_outside_under_the_host_s_address(
    facet: Facet, outside: Outside, server: socket.socket
) -> None:
    _, card = await facet.container("c1")
    card.send_udp(outside.address, 9000, b"question")
    data, sender = server.recvfrom(100)
    assert (data, sender[0]) == (b"question", HOST_ADDRESS)
    server.sendto(b"answer", sender)
    assert card.receive_data(b"answer").ip_source == outside.address


async def test_nobody_outside_reaches_a_container_on_his_own(
    facet: Facet, outside: Outside, server: socket.socket
) -> None:
    _, card = await facet.container("c1")
    outside.run("ip", "route", "add", "172.17.0.0/16", "via", HOST_ADDRESS)
    server.sendto(b"intruder", (card.address, 1000))
    card.send_udp(outside.address, 9000, b"question")
    _, sender = server.recvfrom(100)
    server.sendto(b"answer", sender)
    card.receive_data(b"answer")
    assert all(frame.data != b"intruder" for frame in card.seen)


async def test_containers_of_one_network_reach_each_other(facet: Facet) -> None:
    _, one = await facet.container("c1")
    _, two = await facet.container("c2")
    one.ask_arp(two.address)
    two.receive(lambda frame: frame.arp_target == two.address)
    answer = one.receive(lambda frame: frame.arp_operation == 2)
    assert answer.arp_sender == (two.mac, two.address)
    one.send_udp(two.address, 5, b"hello", two.mac)
    assert two.receive_data(b"hello").ip_source == one.address


async def test_containers_of_two_networks_do_not(
    facet: Facet, outside: Outside, server: socket.socket
) -> None:
    await facet.networks.create(Plan("app"))
    _, one = await facet.container("c1")
    _, two = await facet.container("c2", "app")
    for source, target in ((one, two), (two, one)):
        source.send_udp(target.address, 5, b"stranger")
        # The sender can send, and the receiver can be reached.
        source.send_udp(outside.address, 9000, b"question")
        server.recvfrom(100)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as from_host:
            from_host.sendto(b"from the host", (target.address, 5))
        target.receive_data(b"from the host")
        assert all(frame.data != b"stranger" for frame in target.seen)


async def test_an_internal_network_has_no_way_out(
    facet: Facet, outside: Outside, server: socket.socket
) -> None:
    await facet.networks.create(Plan("inner", internal=True))
    _, inner = await facet.container("c1", "inner")
    _, two = await facet.container("c2", "inner")
    _, card = await facet.container("c3")
    inner.send_udp(outside.address, 9000, b"escape")
    inner.send_udp(two.address, 5, b"hello", two.mac)
    two.receive_data(b"hello")
    card.send_udp(outside.address, 9000, b"question")
    assert server.recvfrom(100)[0] == b"question"


async def test_without_icc_members_do_not_reach_each_other(
    facet: Facet, outside: Outside, server: socket.socket
) -> None:
    await facet.networks.create(
        Plan("apart", options={"com.docker.network.bridge.enable_icc": "false"})
    )
    _, one = await facet.container("c1", "apart")
    _, two = await facet.container("c2", "apart")
    one.send_udp(two.address, 5, b"neighbour", two.mac)
    one.send_udp(two.address, 5, b"by the gateway")
    one.send_udp(outside.address, 9000, b"question")
    server.recvfrom(100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as from_host:
        from_host.sendto(b"from the host", (two.address, 5))
    two.receive_data(b"from the host")
    assert not {b"neighbour", b"by the gateway"} & {frame.data for frame in two.seen}


async def test_a_container_reaches_the_host_but_not_what_is_closed_to_it(
    facet: Facet, on_host: socket.socket
) -> None:
    _, card = await facet.container("c1")
    with listen(CLOSED_PORT), listen(8080), listen(7443):
        for address in (card.gateway, "100.112.0.1"):
            card.connect(address, CLOSED_PORT)
        card.connect("100.112.0.1", 7443)
        card.connect("100.112.0.1", 8080)
        card.connect(card.gateway, 8080)
        answer = card.receive(lambda f: f.protocol == frames.TCP and f.ip_source == card.gateway)
    assert (answer.ports[0], answer.tcp_flags) == (8080, frames.SYN_ACK)
    assert not any(heard_of(card, port) for port in (CLOSED_PORT, 7443, 8080))
    card.send_udp("100.112.0.1", 9000, b"to the management gateway")
    card.send_udp(card.gateway, 9000, b"to the gateway")
    assert on_host.recvfrom(100)[0] == b"to the gateway"


async def test_the_host_s_loopback_is_out_of_reach_even_with_route_localnet(
    facet: Facet, on_host: socket.socket
) -> None:
    _, card = await facet.container("c1")
    run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    card.send_udp("127.0.0.1", 9000, b"to loopback")
    card.send_udp(card.gateway, 9000, b"to the gateway")
    assert on_host.recvfrom(100)[0] == b"to the gateway"


async def test_from_the_management_network_only_the_tether_port_answers(
    facet: Facet, outside: Outside, on_host: socket.socket
) -> None:
    tether, card = await facet.container("c1")
    with listen(7443), listen(8080):
        tether.connect("100.112.0.1", 8080)
        tether.connect("172.17.0.1", 7443)
        tether.connect(HOST_ADDRESS, 7443)
        tether.connect("100.112.0.1", 7443)
        answer = tether.receive(lambda frame: frame.protocol == frames.TCP)
    assert (answer.ports[0], answer.tcp_flags) == (7443, frames.SYN_ACK)
    assert answer.ip_source == "100.112.0.1"
    tether.send_udp("100.112.0.1", 9000, b"from the tether")
    card.send_udp(card.gateway, 9000, b"from the container")
    assert on_host.recvfrom(100)[0] == b"from the container"


async def test_the_management_network_leads_nowhere(
    facet: Facet, outside: Outside, server: socket.socket
) -> None:
    tether, card = await facet.container("c1")
    other_tether, other_card = await facet.container("c2")
    tether.send_udp(outside.address, 9000, b"out")
    tether.send_udp(other_card.address, 5, b"to a container")
    tether.send_udp(other_tether.address, 5, b"direct", other_tether.mac)
    tether.send_udp(other_tether.address, 5, b"by the gateway")
    tether.ask_arp(other_tether.address)
    card.send_udp(other_tether.address, 5, b"from a container")
    card.send_udp(outside.address, 9000, b"question")
    assert server.recvfrom(100)[0] == b"question"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as from_host:
        for target in (other_tether, other_card):
            from_host.sendto(b"from the host", (target.address, 5))
            target.receive_data(b"from the host")
            assert {frame.data for frame in target.seen} <= {b""}
    # The host's own question on our behalf is the only ARP that the other tether may have seen.
    assert all(frame.arp_sender[0] != tether.mac for frame in other_tether.seen)


async def test_the_host_answers_arp_on_the_management_network_for_its_gateway_alone(
    facet: Facet,
) -> None:
    tether, _ = await facet.container("c1")
    tether.ask_arp("172.17.0.1")
    tether.ask_arp("100.112.0.1")
    answer = tether.receive(lambda frame: frame.arp_operation == 2)
    assert answer.arp_sender[1] == "100.112.0.1"


async def test_two_instances_do_not_meet(
    facet: Facet, other: Facet, outside: Outside, server: socket.socket
) -> None:
    tether, card = await facet.container("c1")
    other_tether, other_card = await other.container("c1")
    assert other_card.address.startswith("172.18.")
    assert other_tether.address.startswith("100.112.16.")
    with listen(7443), listen(CLOSED_PORT), listen(OTHERS_CLOSED_PORT), listen(8080):
        for source in (tether, card):
            for target in (other_tether, other_card):
                source.send_udp(target.address, 5, b"stranger")
            source.connect("100.112.16.1", 7443)
            for address in (card.gateway, other_card.gateway, HOST_ADDRESS):
                # Of the one as of the other: neither's endpoint is there for containers.
                source.connect(address, CLOSED_PORT)
                source.connect(address, OTHERS_CLOSED_PORT)
        card.connect(HOST_ADDRESS, 8080)
        card.receive(lambda f: f.tcp_flags == frames.SYN_ACK and f.ports[0] == 8080)
        tether.connect("100.112.0.1", 7443)
        tether.receive(lambda f: f.tcp_flags == frames.SYN_ACK and f.ports[0] == 7443)
    card.send_udp(outside.address, 9000, b"question")
    server.settimeout(BOUND_SECONDS)
    _, sender = server.recvfrom(100)
    server.sendto(b"answer", sender)
    card.receive_data(b"answer")
    assert not any(heard_of(card, port) for port in (7443, CLOSED_PORT, OTHERS_CLOSED_PORT))
    assert all(f.ip_source == "100.112.0.1" for f in heard_of(tether, 7443))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as from_host:
        for target in (other_tether, other_card):
            from_host.sendto(b"from the host", (target.address, 5))
            target.receive_data(b"from the host")
            assert all(frame.data != b"stranger" for frame in target.seen)


async def test_a_name_server_is_there_for_its_own_network_alone(
    facet: Facet, other: Facet, outside: Outside, server: socket.socket
) -> None:
    await facet.networks.create(Plan("app"))
    _, member = await facet.container("c1", "app")
    _, stranger = await facet.container("c2")
    _, of_another = await other.container("c1")
    outside.run("ip", "route", "add", member.gateway, "via", HOST_ADDRESS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as by_udp, listen(53):
        by_udp.settimeout(BOUND_SECONDS)
        by_udp.bind(("0.0.0.0", 53))
        server.sendto(b"question", (member.gateway, 53))
        # What is not ours answers whom it likes, at the gateway of the default network say.
        for card, target in ((stranger, stranger.gateway), (of_another, HOST_ADDRESS)):
            card.send_udp(member.gateway, 53, b"question")
            card.connect(member.gateway, 53)
            card.send_udp(target, 53, b"to the host")
            assert by_udp.recvfrom(100)[0] == b"to the host"
        member.send_udp(member.gateway, 53, b"to the name server")
        assert by_udp.recvfrom(100) == (b"to the name server", (member.address, 1000))
        member.connect(member.gateway, 53)
        member.receive(lambda f: f.tcp_flags == frames.SYN_ACK and f.ports[0] == 53)
    assert not any(heard_of(card, 53) for card in (stranger, of_another))


async def test_without_masquerading_the_outside_sees_a_container_s_own_address(
    facet: Facet, outside: Outside, server: socket.socket
) -> None:
    option = "com.docker.network.bridge.enable_ip_masquerade"
    await facet.networks.create(Plan("plain", options={option: "false"}))
    _, card = await facet.container("c1", "plain")
    outside.run("ip", "route", "add", f"{card.address}/32", "via", HOST_ADDRESS)
    card.send_udp(outside.address, 9000, b"question")
    assert server.recvfrom(100) == (b"question", (card.address, 1000))
    server.sendto(b"answer", (card.address, 1000))
    assert card.receive_data(b"answer").ip_source == outside.address


async def test_what_is_longer_than_a_network_takes_is_told_so(
    facet: Facet, outside: Outside, server: socket.socket
) -> None:
    await facet.networks.create(Plan("narrow", options={"com.docker.network.driver.mtu": "1280"}))
    _, card = await facet.container("c1", "narrow")
    assert " mtu 1280 " in run("ip", "link", "show", card.name)
    card.send_udp(outside.address, 9000, b"question")
    _, asker = server.recvfrom(100)
    fits, longer = bytes(1280 - 28), bytes(1281 - 28)
    # Whole or not at all: the host refuses what is longer, and says what fits (RFC 1191).
    server.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    server.sendto(longer, asker)
    server.sendto(fits, asker)
    card.receive_data(fits)
    with pytest.raises(OSError, match="Message too long"):
        server.sendto(longer, asker)
    assert all(frame.data != longer for frame in card.seen)

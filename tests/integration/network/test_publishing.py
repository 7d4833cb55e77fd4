"""Published ports, as packets: from outside, from the host, from containers."""

import socket
from ipaddress import IPv4Address

import pytest

from portlayer.errors import AlreadyExists
from services.network.drivers import Forward, Transport
from services.network.drivers.linux import nft
from services.network.external import PortWish
from services.network.plans import Plan
from tests.integration.network import frames
from tests.integration.network.conftest import HOST_ADDRESS, Facet
from tests.integration.network.guest import BOUND_SECONDS, Guest
from tests.integration.network.namespaces import Outside, run


def udp(port: int, host_port: int, at: str = "") -> PortWish:
    """Return the wish for a UDP port."""
    address = IPv4Address(at) if at else None
    return PortWish(Transport.UDP, port, address, host_port, host_port)


async def published(facet: Facet, *wishes: PortWish, network: str = "bridge") -> Guest:
    """Return the card of a container with published ports."""
    container_id = f"c{len(facet.guests)}"
    _, card = await facet.container(container_id, network)
    await facet.publications.publish(container_id, wishes)
    return card


def answer(card: Guest, question: bytes, data: bytes) -> str:
    """Wait for a question in a container and answer it; returns who asked."""
    seen = card.receive_data(question)
    source, target = seen.ports
    card.send_ip(frames.udp(card.address, seen.ip_source, target, source, data))
    return seen.ip_source


async def test_from_outside_with_the_caller_s_own_address(facet: Facet, outside: Outside) -> None:
    card = await published(facet, udp(53, 5353))
    with outside.socket() as asking:
        asking.settimeout(BOUND_SECONDS)
        asking.sendto(b"question", (HOST_ADDRESS, 5353))
        assert answer(card, b"question", b"answer") == outside.address
        assert asking.recvfrom(100) == (b"answer", (HOST_ADDRESS, 5353))


@pytest.mark.parametrize("address", ["127.0.0.1", HOST_ADDRESS])
async def test_from_the_host(facet: Facet, outside: Outside, address: str) -> None:
    card = await published(facet, udp(53, 5353))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(BOUND_SECONDS)
        asking.sendto(b"question", (address, 5353))
        answer(card, b"question", b"answer")
        assert asking.recvfrom(100) == (b"answer", (address, 5353))


@pytest.mark.parametrize("address", ["127.0.0.1", HOST_ADDRESS])
async def test_that_nobody_listens_there_is_told_at_once(
    facet: Facet, outside: Outside, address: str
) -> None:
    card = await published(facet, udp(53, 5353))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(BOUND_SECONDS)
        asking.connect((address, 5353))
        asking.send(b"question")
        seen = card.receive_data(b"question")
        card.send_ip(frames.port_unreachable(card.address, seen.ip_source, seen.payload))
        with pytest.raises(ConnectionRefusedError):
            asking.recv(100)


async def test_from_the_container_s_own_network_and_itself_and_others(
    facet: Facet, outside: Outside
) -> None:
    await facet.networks.create(Plan("app"))
    card = await published(facet, udp(53, 5353))
    _, neighbour = await facet.container("n1")
    _, other = await facet.container("n2", "app")
    for asker in (neighbour, other):
        asker.send_udp(HOST_ADDRESS, 5353, b"question")
        # The answer has to come back through the host, whatever network the asker is in.
        assert answer(card, b"question", b"answer") == card.gateway
        seen = asker.receive_data(b"answer")
        assert (seen.ip_source, seen.ports) == (HOST_ADDRESS, (5353, 1000))


async def test_an_internal_network_has_no_way_out_by_published_ports(
    facet: Facet, outside: Outside
) -> None:
    await facet.networks.create(Plan("inner", internal=True))
    card = await published(facet, udp(53, 5353))
    _, inner = await facet.container("n1", "inner")
    _, neighbour = await facet.container("n2")
    inner.send_udp(HOST_ADDRESS, 5353, b"escape")
    neighbour.send_udp(HOST_ADDRESS, 5353, b"question")
    card.receive_data(b"question")
    assert all(frame.data != b"escape" for frame in card.seen)


async def test_a_port_of_one_address_is_none_of_another(facet: Facet, outside: Outside) -> None:
    card = await published(facet, udp(53, 5353, "127.0.0.1"), udp(54, 5354))
    with (
        outside.socket() as asking,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as from_host,
    ):
        asking.sendto(b"intruder", (HOST_ADDRESS, 5353))
        asking.sendto(b"visitor", (HOST_ADDRESS, 5354))
        card.receive_data(b"visitor")
        from_host.sendto(b"host", ("127.0.0.1", 5353))
        card.receive_data(b"host")
    assert all(frame.data != b"intruder" for frame in card.seen)


async def test_containers_reach_nothing_of_the_host_s_loopback(facet: Facet) -> None:
    card = await published(facet, udp(53, 5353, "127.0.0.1"))
    _, other = await facet.container("n1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as private:
        private.settimeout(BOUND_SECONDS)
        private.bind(("0.0.0.0", 9000))
        for target in ("127.0.0.1", other.gateway):
            other.send_udp(target, 9000, target.encode())
            other.send_udp(target, 5353, b"intruder")
        assert private.recvfrom(100)[0] == other.gateway.encode()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.sendto(b"host", ("127.0.0.1", 5353))
            card.receive_data(b"host")
    assert all(frame.data != b"intruder" for frame in card.seen)


async def test_a_port_given_back_leads_nowhere_and_can_be_had_again(
    facet: Facet, outside: Outside
) -> None:
    card = await published(facet, udp(53, 5353), udp(54, 5354))
    with pytest.raises(AlreadyExists):
        await published(facet, udp(53, 5353))
    await facet.publications.unpublish("c0")
    after = await published(facet, udp(53, 5353))
    with outside.socket() as asking:
        asking.sendto(b"question", (HOST_ADDRESS, 5353))
        after.receive_data(b"question")
    assert all(frame.data != b"question" for frame in card.seen)


async def test_who_asks_all_the_time_reaches_who_is_published_now(
    facet: Facet, outside: Outside
) -> None:
    with outside.socket() as asking:
        asking.settimeout(BOUND_SECONDS)
        asking.sendto(b"early", (HOST_ADDRESS, 5353))
        # The kernel knows the conversation already, as one with the host.
        card = await published(facet, udp(53, 5353))
        asking.sendto(b"question", (HOST_ADDRESS, 5353))
        answer(card, b"question", b"answer")
        assert asking.recvfrom(100) == (b"answer", (HOST_ADDRESS, 5353))
        # Another container takes the port over.
        await facet.publications.unpublish("c0")
        successor = await published(facet, udp(53, 5353))
        asking.sendto(b"again", (HOST_ADDRESS, 5353))
        answer(successor, b"again", b"successor")
        assert asking.recvfrom(100) == (b"successor", (HOST_ADDRESS, 5353))


async def test_the_port_of_name_servers_is_theirs_for_members_alone(
    facet: Facet, outside: Outside
) -> None:
    await facet.networks.create(Plan("app"))
    card = await published(facet, udp(53, 53), network="app")
    _, neighbour = await facet.container("n1", "app")
    with (
        outside.socket() as asking,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as name_server,
    ):
        name_server.settimeout(BOUND_SECONDS)
        name_server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        name_server.bind((card.gateway, 53))
        asking.sendto(b"visitor", (HOST_ADDRESS, 53))
        card.receive_data(b"visitor")
        neighbour.send_udp(HOST_ADDRESS, 53, b"neighbour")
        card.receive_data(b"neighbour")
        neighbour.send_udp(card.gateway, 53, b"question")
        assert name_server.recvfrom(100) == (b"question", (neighbour.address, 1000))


async def test_published_ports_work_while_the_service_is_away_and_after(
    facet: Facet, outside: Outside
) -> None:
    card = await published(facet, udp(53, 5353))
    with outside.socket() as asking:
        asking.sendto(b"before", (HOST_ADDRESS, 5353))
        card.receive_data(b"before")
        await facet.stop()
        asking.sendto(b"meanwhile", (HOST_ADDRESS, 5353))
        card.receive_data(b"meanwhile")
        await facet.start()
        asking.sendto(b"after", (HOST_ADDRESS, 5353))
        card.receive_data(b"after")


async def test_ports_are_restored_where_somebody_took_them(facet: Facet) -> None:
    await published(facet, udp(53, 5353), udp(54, 5354, "127.0.0.1"))
    assert await facet.driver.restore() == []
    before = nft.table("inet", "vic_1a2b3c4d")
    run("nft", "flush", "map", "inet", "vic_1a2b3c4d", "published_anywhere")
    assert await facet.driver.restore() == ["put the published ports back"]
    assert nft.table("inet", "vic_1a2b3c4d") == before
    assert await facet.driver.restore() == []


async def test_a_thousand_ports_are_a_thousand_elements_and_no_rule(facet: Facet) -> None:
    def rules() -> int:
        return sum("rule" in entry for entry in nft.table("inet", "vic_1a2b3c4d") or [])

    before = rules()
    address = IPv4Address("172.17.0.2")
    forwards = [
        Forward(Transport.TCP, IPv4Address(0), 20_000 + n, address, n + 1) for n in range(1000)
    ]
    await facet.driver.forward(forwards, ())
    assert rules() == before
    assert await facet.driver.restore() == []
    await facet.driver.forward((), forwards)
    assert await facet.driver.restore() == []


async def test_two_instances_do_not_publish_one_port(facet: Facet, other: Facet) -> None:
    await published(facet, PortWish(Transport.TCP, 80, None, 8080, 8080))
    with pytest.raises(AlreadyExists, match="address already in use"):
        await published(other, PortWish(Transport.TCP, 80, None, 8080, 8080))

"""Frames that the kernel takes off a tap past its bridge: nothing of the host hears them.

What is sent to 01:80:c2:00:00:00 to …0f belongs to the link itself (IEEE 802.1Q, 8.6.3). A bridge
gives such a frame to the host as its tap's own, without the hooks that see all others
(br_handle_frame in net/bridge/br_input.c).
"""

import json
import socket
from collections.abc import Iterator

import pytest

from services.network.drivers import Level
from tests.integration.network import frames
from tests.integration.network.conftest import LAN_HOST, LAN_ROUTER, Facet
from tests.integration.network.frames import ethernet
from tests.integration.network.lan import mapped, on_lan
from tests.integration.network.namespaces import Outside, run

TO_THE_LINK = [f"01:80:c2:00:00:{last:02x}" for last in range(16)]


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A server of the host by UDP, on all of its addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("0.0.0.0", 0))
        listener.settimeout(60.0)
        yield listener


async def test_nobody_gets_past_the_rules_by_a_frame_for_the_link(
    facet: Facet, server: socket.socket
) -> None:
    tether, liar = await facet.container("c1")
    port = server.getsockname()[1]
    for card, source in ((tether, tether.address), (tether, "192.0.2.7"), (liar, "192.0.2.7")):
        for target in TO_THE_LINK:
            packet = frames.udp(source, card.gateway, 1000, port, target.encode())
            card.send(ethernet(card.mac, target, frames.IPV4, packet))
    liar.send_udp(liar.gateway, port, b"the truth")
    assert server.recvfrom(100) == (b"the truth", (liar.address, 1000))


async def test_the_host_believes_no_neighbour_who_asks_it_past_the_rules(facet: Facet) -> None:
    tether, liar = await facet.container("c1")
    for card in (tether, liar):
        for target in TO_THE_LINK:
            stranger = card.gateway.rpartition(".")[0] + ".99"
            question = frames.arp(1, card.mac, stranger, "00:00:00:00:00:00", card.gateway)
            card.send(ethernet(card.mac, target, frames.ARP, question))
        card.ask_arp(card.gateway)
        answer = card.receive(lambda frame: frame.arp_operation == 2)
        assert answer.arp_target == card.address


async def test_nobody_on_the_lan_reaches_the_host_by_a_frame_for_the_link(
    facet: Facet, cable: Outside, server: socket.socket
) -> None:
    await mapped(facet, "lan0", Level.OPEN)
    card = await on_lan(facet, "c1")
    _, honest = await facet.container("c2")
    cable.run("ip", "neigh", "replace", card.address, "lladdr", card.mac, "dev", "eth0")
    port = server.getsockname()[1]
    shown = json.loads(cable.run("ip", "-json", "link", "show", "eth0"))
    mac = shown[0]["address"]
    with cable.socket(socket.SOCK_RAW, socket.AF_PACKET) as raw, cable.socket() as sender:
        raw.bind(("eth0", frames.IPV4))
        for target in TO_THE_LINK:
            for source, host in ((LAN_ROUTER, honest.gateway), ("192.0.2.7", honest.gateway)):
                packet = frames.udp(source, host, 1000, port, target.encode())
                raw.send(ethernet(mac, target, frames.IPV4, packet))
        # The wire carries, and keeps the order.
        sender.sendto(b"the end", (card.address, 1000))
        card.receive_data(b"the end")
    assert not [frame for frame in card.seen if frame.target in TO_THE_LINK]
    honest.send_udp(honest.gateway, port, b"the truth")
    assert server.recvfrom(100) == (b"the truth", (honest.address, 1000))


async def test_no_container_reaches_the_host_past_the_rules_by_the_parent_bridge(
    facet: Facet, office: Outside, server: socket.socket
) -> None:
    await mapped(facet, "br0", Level.OPEN)
    card = await on_lan(facet, "c1")
    port = server.getsockname()[1]
    for target in TO_THE_LINK:
        for host in (LAN_HOST, "172.17.0.1", "100.112.0.1"):
            packet = frames.udp(card.address, host, 1000, port, target.encode())
            card.send(ethernet(card.mac, target, frames.IPV4, packet))
    card.ask_arp(LAN_HOST)
    found = card.receive(lambda seen: seen.arp_operation == 2)
    card.send_udp(LAN_HOST, port, b"the truth", found.source)
    assert server.recvfrom(100) == (b"the truth", (card.address, 1000))


@pytest.mark.parametrize("parent", ["lan0", "br0"])
async def test_what_others_let_an_uplink_do_is_taken_back(
    facet: Facet, request: pytest.FixtureRequest, parent: str
) -> None:
    request.getfixturevalue("office" if parent == "br0" else "cable")
    await mapped(facet, parent)
    uplink = "vic0u1" if parent == "br0" else parent
    assert await facet.driver.restore() == []
    run("ip", "link", "set", uplink, "type", "bridge_slave", "group_fwd_mask", "0")
    assert await facet.driver.restore() != []
    assert "group_fwd_mask 0xfffd" in run("ip", "-d", "link", "show", uplink)
    assert await facet.driver.restore() == []

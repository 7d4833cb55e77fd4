"""Frames that the kernel takes off a tap past its bridge: nothing of the host hears them.

What is sent to 01:80:c2:00:00:00 to …0f belongs to the link itself (IEEE 802.1Q, 8.6.3). A bridge
gives such a frame to the host as its tap's own, without the hooks that see all others
(br_handle_frame in net/bridge/br_input.c).
"""

import socket
from collections.abc import Iterator

import pytest

from tests.integration.network import frames
from tests.integration.network.conftest import Facet
from tests.integration.network.frames import ethernet

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

"""A VM that lies about who it is: nobody hears it."""

import struct
from collections.abc import Callable

import pytest

from tests.integration.network import frames
from tests.integration.network.conftest import Facet
from tests.integration.network.frames import ARP, BROADCAST, IPV4, IPV6, VLAN, ethernet
from tests.integration.network.guest import Guest

LIE = b"a lie"
FOREIGN_MAC = "02:42:ac:11:00:99"


def other_mac(liar: Guest, victim: Guest) -> bytes:
    packet = frames.udp(liar.address, victim.address, 1, 5, LIE)
    return ethernet(FOREIGN_MAC, victim.mac, IPV4, packet)


def victim_s_mac(liar: Guest, victim: Guest) -> bytes:
    return ethernet(victim.mac, BROADCAST, IPV4, frames.udp(liar.address, "1.2.3.4", 1, 5, LIE))


def other_address(liar: Guest, victim: Guest) -> bytes:
    packet = frames.udp("172.17.0.99", victim.address, 1, 5, LIE)
    return ethernet(liar.mac, victim.mac, IPV4, packet)


def gateway_s_address(liar: Guest, victim: Guest) -> bytes:
    packet = frames.udp(liar.gateway, victim.address, 1, 5, LIE)
    return ethernet(liar.mac, victim.mac, IPV4, packet)


def arp_for_gateway(liar: Guest, victim: Guest) -> bytes:
    answer = frames.arp(2, liar.mac, liar.gateway, victim.mac, victim.address)
    return ethernet(liar.mac, victim.mac, ARP, answer)


def arp_with_other_mac(liar: Guest, victim: Guest) -> bytes:
    answer = frames.arp(2, FOREIGN_MAC, liar.address, victim.mac, victim.address)
    return ethernet(liar.mac, victim.mac, ARP, answer)


def arp_from_other_mac(liar: Guest, victim: Guest) -> bytes:
    answer = frames.arp(2, liar.mac, liar.address, victim.mac, victim.address)
    return ethernet(FOREIGN_MAC, victim.mac, ARP, answer)


def dhcp_offer(liar: Guest, victim: Guest) -> bytes:
    packet = frames.udp(liar.address, "255.255.255.255", 67, 68, LIE)
    return ethernet(liar.mac, BROADCAST, IPV4, packet)


def dhcp_question(liar: Guest, victim: Guest) -> bytes:
    packet = frames.udp("0.0.0.0", "255.255.255.255", 68, 67, LIE)
    return ethernet(liar.mac, BROADCAST, IPV4, packet)


def router_advertisement(liar: Guest, victim: Guest) -> bytes:
    message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    head = struct.pack("!IHBB", 6 << 28, len(message), 58, 255)
    addresses = bytes.fromhex("fe80" + "00" * 13 + "01" + "ff02" + "00" * 13 + "01")
    return ethernet(liar.mac, "33:33:00:00:00:01", IPV6, head + addresses + message)


def spanning_tree(liar: Guest, victim: Guest) -> bytes:
    bpdu = bytes.fromhex("424203") + b"\0" * 35
    return ethernet(liar.mac, "01:80:c2:00:00:00", len(bpdu), bpdu)


def tagged(liar: Guest, victim: Guest) -> bytes:
    packet = frames.udp(liar.address, victim.address, 1, 5, LIE)
    return ethernet(liar.mac, victim.mac, VLAN, struct.pack("!HH", 5, IPV4) + packet)


def unknown_kind(liar: Guest, victim: Guest) -> bytes:
    return ethernet(liar.mac, BROADCAST, 0x88B5, LIE)


LIES = [
    other_mac,
    victim_s_mac,
    other_address,
    gateway_s_address,
    arp_for_gateway,
    arp_with_other_mac,
    arp_from_other_mac,
    dhcp_offer,
    dhcp_question,
    router_advertisement,
    spanning_tree,
    tagged,
    unknown_kind,
]


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_reaches_nobody(facet: Facet, lie: Callable[[Guest, Guest], bytes]) -> None:
    _, liar = await facet.container("c1")
    _, victim = await facet.container("c2")
    liar.send(lie(liar, victim))
    liar.send_udp(victim.address, 5, b"the truth", victim.mac)
    victim.receive_data(b"the truth")
    assert victim.seen == []


async def test_a_lie_of_a_tether_does_not_reach_the_host(facet: Facet) -> None:
    tether, _ = await facet.container("c1")
    claim = frames.arp(1, tether.mac, "100.112.0.77", "00:00:00:00:00:00", "100.112.0.1")
    tether.send(ethernet(tether.mac, BROADCAST, ARP, claim))
    tether.ask_arp("100.112.0.1")
    answer = tether.receive(lambda frame: frame.arp_operation == 2)
    assert answer.arp_target == tether.address


async def test_an_unbound_card_says_nothing(facet: Facet) -> None:
    _, card = await facet.container("c1")
    _, listener = await facet.container("c2")
    _, third = await facet.container("c3")
    await facet.endpoints.unbind("c1")
    with pytest.raises(OSError, match="Input/output error"):
        card.send_udp(listener.address, 5, b"from nowhere", listener.mac)
    third.send_udp(listener.address, 5, b"the truth", listener.mac)
    listener.receive_data(b"the truth")
    assert listener.seen == []
    await facet.endpoints.bind("c1")
    card.send_udp(listener.address, 5, b"back again", listener.mac)
    listener.receive_data(b"back again")

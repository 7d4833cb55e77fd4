"""Fragments and extension headers: nobody hides behind them what may not pass, and others do pass.

Source: RFC 5722, RFC 6980 and RFC 7112, which say how a firewall is fooled by them
"""

import socket

from services.network.plans import Plan
from tests.integration.network import frames, frames6
from tests.integration.network.conftest import Facet
from tests.integration.network.frames import Seen
from tests.integration.network.guest import Guest
from tests.integration.network.lan import mapped, on_lan
from tests.integration.network.namespaces import Outside

HEAD, TAIL = b"the beginning", b"the end"
BIG = HEAD + bytes(1000) + TAIL
CUT = 512
FORGED = b"\xfd\x01forged"
"""An option of neighbour discovery that nobody knows (RFC 4727), and as good as any other data."""


def carrying(data: bytes, card: Guest) -> Seen:
    """Wait for a frame that has some data anywhere in it."""
    return card.receive(lambda seen: data in seen.payload)


async def test_a_liar_s_fragments_do_not_pass_and_others_do(facet: Facet) -> None:
    _, rogue = await facet.container("c1")
    _, victim = await facet.container("c2")
    router = "172.17.0.1"
    forged = [
        frames.udp(router, victim.address, 53, 1000, b"forged" + bytes(100)),
        frames.udp(rogue.address, victim.address, 67, 68, b"forged" + bytes(100)),
    ]
    for number, packet in enumerate(forged, 100):
        # In the smallest there is, the ports are in the first one.
        for at in (8, 24):
            for part in frames.fragmented(packet, at, number + at):
                rogue.send_ip(part, victim.mac)
    for part in frames.fragmented(frames.udp(rogue.address, victim.address, 9, 9, BIG), CUT, 7):
        rogue.send_ip(part, victim.mac)
    carrying(TAIL, victim)
    rogue.send_udp(victim.address, 9, b"mark", victim.mac)
    victim.receive_data(b"mark")
    firsts = [seen for seen in victim.seen if seen.protocol and not frames.is_later_fragment(seen)]
    assert {seen.ports[0] for seen in firsts} <= {9}


async def test_no_header_hides_a_router_a_neighbour_or_a_dhcp_server(facet: Facet) -> None:
    await facet.networks.create(Plan("six", ipv6=True))
    _, rogue = await facet.container("c1", "six")
    _, victim = await facet.container("c2", "six")
    own, router, target = rogue.address6, "fd12:3456:789a::1", victim.address6
    body = bytes([64, 0, 7, 8]) + bytes(8) + FORGED
    lies = [
        frames6.icmpv6(own, target, frames6.ROUTER_ADVERTISEMENT, body),
        frames6.icmpv6(own, target, frames6.ADVERTISEMENT, advertised(router)),
        frames6.icmpv6(own, target, 137, bytes(36) + FORGED),
        frames6.udp6(own, target, 547, 546, FORGED * 4),
        frames6.udp6(router, target, 9, 9, FORGED * 4),
    ]
    number = 100
    for lie in lies:
        hidden = [
            frames6.extended(lie, frames6.HOP_BY_HOP),
            frames6.extended(lie, frames6.TARGET_OPTIONS),
            frames6.extended(frames6.extended(lie, frames6.TARGET_OPTIONS), frames6.HOP_BY_HOP),
        ]
        # Cut behind the header that tells what it is, and before it.
        for packet, at in ((lie, 8), (lie, 24), (hidden[1], 8), (hidden[1], 16)):
            number += 1
            hidden += frames6.fragmented(packet, at, number)
        for packet in hidden:
            rogue.send_ipv6(packet, victim.mac)
    honest = frames6.udp6(own, target, 9, 9, BIG)
    for packet in (
        frames6.extended(frames6.udp6(own, target, 9, 9, b"behind options"), 60),
        *frames6.fragmented(honest, CUT, 7),
    ):
        rogue.send_ipv6(packet, victim.mac)
    carrying(b"behind options", victim)
    carrying(TAIL, victim)
    rogue.send_udp6(target, 9, b"mark", victim.mac)
    victim.receive_data6(b"mark")
    # Without its first fragment a packet is never whole again.
    assert not [
        seen
        for seen in victim.seen
        if seen.kind == frames.IPV6
        and seen.source == rogue.mac
        and not frames6.is_later_fragment(seen)
        and not honest_first(seen)
    ]


def advertised(address: str) -> bytes:
    """Return the body of an advertisement: solicited, overriding, of an address."""
    packed = socket.inet_pton(socket.AF_INET6, address)
    return b"\x60\0\0\0" + packed + b"\x02\x01\x02\0\0\0\0\x99" + FORGED


def honest_first(seen: Seen) -> bool:
    """Tell whether a frame has what was sent in truth, or its first fragment."""
    return any(data in seen.payload for data in (HEAD, b"behind options", b"mark"))


async def test_fragments_reach_a_published_port_of_the_lan_and_no_other(
    facet: Facet, cable: Outside
) -> None:
    await mapped(facet, "lan0")
    card = await on_lan(facet, "c1", 80)
    cable.run("ip", "neigh", "replace", card.address, "lladdr", card.mac, "dev", "eth0")
    cable.run("ip", "neigh", "replace", card.address6, "lladdr", card.mac, "dev", "eth0")
    data = bytes(2000)
    with cable.socket() as sender, cable.socket(family=socket.AF_INET6) as sender6:
        for one, address in ((sender, card.address), (sender6, card.address6)):
            one.sendto(b"stranger" + data + b"stranger", (address, 81))
            one.sendto(HEAD + data + TAIL, (address, 80))
            carrying(HEAD, card)
            carrying(TAIL, card)
    assert not [seen for seen in card.seen if seen.payload.find(b"stranger") in range(60)]

"""What a container can't do to others, with real machines: each could send what it sent."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

import pytest

from tests.e2e.raw import Card, install, listening
from tests.e2e.suite import Suite
from tests.integration.network import frames

# An address of the packet that the stranger sends in vain, as it stands in its ICMP.
ICMP_ECHO = b"\x08\x00"
STRANGER_MAC = "02:42:c0:ff:ee:01"
# Until a packet's answer is there, and until it would have been.
ANSWER_SECONDS = "30"
SILENCE_SECONDS = "2"


@dataclass(frozen=True)
class Street:
    """Two neighbours in a network, and somebody in another one."""

    suite: Suite
    rogue: Card
    neighbour: Card
    stranger: Card
    gateway: str

    def reaches(self, card: Card, target: str) -> bool:
        """Tell whether a packet is answered."""
        # Of several, busybox waits for the last one two round trips of the others at most.
        return " 0% packet loss" in self._ping(card, target, "-c", "1", "-W", ANSWER_SECONDS)

    def is_kept_from(self, card: Card, target: str) -> bool:
        """Tell whether none of three packets is answered."""
        three = ("-c", "3", "-i", "0.3", "-W", SILENCE_SECONDS)
        return "100% packet loss" in self._ping(card, target, *three)

    def _ping(self, card: Card, target: str, *options: str) -> str:
        return self.suite.docker("exec", card.container, "ping", *options, target).stdout


@pytest.fixture(scope="module")
def street(suite: Suite, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """Three containers on two networks."""
    for network in ("one", "two"):
        suite.ok("network", "create", network)
    try:
        for name, network in (("rogue", "one"), ("neighbour", "one"), ("stranger", "two")):
            options = ("--name", name, "--network", network, "--privileged")
            suite.ok("run", "-d", *options, image, "sleep", "1000")
        install(suite, tmp_path_factory.mktemp("raw"), "rogue")
        rogue, neighbour = Card.of(suite, "rogue", "one"), Card.of(suite, "neighbour", "one")
        stranger = Card.of(suite, "stranger", "two")
        gateway = suite.inspect("one")["IPAM"]["Config"][0]["Gateway"]
        yield Street(suite, rogue, neighbour, stranger, gateway)
    finally:
        suite.docker("rm", "--force", "rogue", "neighbour", "stranger")
        for network in ("one", "two"):
            suite.ok("network", "rm", network)


def test_no_packet_passes_between_two_networks(street: Street) -> None:
    assert street.reaches(street.rogue, street.neighbour.address)
    for card, target in ((street.rogue, street.stranger), (street.stranger, street.rogue)):
        assert street.is_kept_from(card, target.address)
    # Nor where the sender says that it is a neighbour, and sends past its own routes.
    with listening(street.rogue, street.stranger) as ears:
        packet = frames.udp(street.rogue.address, street.stranger.address, 1000, 9, b"stray")
        frame = frames.ethernet(street.rogue.mac, street.stranger.mac, frames.IPV4, packet)
        street.rogue.send(street.suite, frame)
        mark(street)
        assert any(seen.data == b"stray" for seen in ears[0].until(b"the mark"))
        # The stranger hears a mark of its own, by which the stray would have come before it.
        assert street.is_kept_from(street.stranger, street.rogue.address)
        heard = ears[1].until(ICMP_ECHO)
        assert not any(seen.data == b"stray" for seen in heard)


def mark(street: Street) -> None:
    """Send what passes, after which all that was sent before has arrived or won't."""
    packet = frames.udp(street.rogue.address, street.neighbour.address, 1000, 9, b"the mark")
    frame = frames.ethernet(street.rogue.mac, street.neighbour.mac, frames.IPV4, packet)
    street.rogue.send(street.suite, frame)


def forged(street: Street) -> dict[str, bytes]:
    """Return frames that a container must not be able to send, by what they are."""
    rogue, neighbour = street.rogue, street.neighbour
    gateway_mac = "02:42:" + ":".join(f"{int(part):02x}" for part in street.gateway.split("."))

    def ip(packet: bytes, mac: str = rogue.mac) -> bytes:
        return frames.ethernet(mac, neighbour.mac, frames.IPV4, packet)

    def arp(mac: str, address: str) -> bytes:
        claim = frames.arp(2, mac, address, neighbour.mac, neighbour.address)
        return frames.ethernet(rogue.mac, neighbour.mac, frames.ARP, claim)

    honest = frames.udp(rogue.address, neighbour.address, 1000, 9, b"forged")
    advert = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    six = struct.pack("!IHBB", 6 << 28, len(advert), 58, 255)
    six += IPv6Address("fe80::1").packed + IPv6Address("ff02::1").packed + advert
    return {
        "another's address": ip(frames.udp(street.gateway, neighbour.address, 1000, 9, b"forged")),
        "another's MAC address": ip(honest, gateway_mac),
        "nobody's MAC address": ip(honest, STRANGER_MAC),
        "the gateway by ARP": arp(rogue.mac, street.gateway),
        "another's card by ARP": arp(gateway_mac, rogue.address),
        "answers of a DHCP server": ip(
            frames.udp(rogue.address, neighbour.address, 67, 68, b"forged")
        ),
        "router advertisements": frames.ethernet(rogue.mac, "33:33:00:00:00:01", frames.IPV6, six),
        "a VLAN": frames.ethernet(
            rogue.mac, neighbour.mac, frames.VLAN, struct.pack("!HH", 5, frames.IPV4) + honest
        ),
        "spanning trees": frames.ethernet(
            rogue.mac, "01:80:c2:00:00:00", 38, b"\x42\x42\x03" + bytes(35)
        ),
    }


def test_what_is_forged_leaves_the_machine_and_arrives_nowhere(street: Street) -> None:
    for what, frame in forged(street).items():
        with listening(street.rogue, street.neighbour) as (own, theirs):
            street.rogue.send(street.suite, frame)
            mark(street)
            # A VLAN's tag is off the frame before anybody on the host hears of it.
            wire = frame[18:] if frame[12:14] == struct.pack("!H", frames.VLAN) else frame[14:]
            assert any(seen.payload.startswith(wire) for seen in own.until(b"the mark")), what
            arrived = theirs.until(b"the mark")
        assert not any(seen.payload.startswith(wire[:40]) for seen in arrived), what


def test_another_address_of_its_own_making_reaches_nobody(street: Street) -> None:
    suite, rogue = street.suite, street.rogue
    other = f"{rogue.address.rpartition('.')[0]}.99"
    suite.ok("exec", "rogue", "ip", "addr", "add", f"{other}/16", "dev", "eth0")
    ping = ("exec", "rogue", "ping", "-c", "1", "-W")
    neighbour = street.neighbour.address
    kept = suite.docker(*ping, SILENCE_SECONDS, "-I", other, neighbour).stdout
    assert "100% packet loss" in kept
    answered = suite.docker(*ping, ANSWER_SECONDS, "-I", rogue.address, neighbour).stdout
    assert " 0% packet loss" in answered
    suite.ok("exec", "rogue", "ip", "addr", "del", f"{other}/16", "dev", "eth0")


def test_an_internal_network_has_no_way_out(street: Street, image: str) -> None:
    suite = street.suite
    suite.ok("network", "create", "--internal", "inner")
    try:
        gateway = suite.inspect("inner")["IPAM"]["Config"][0]["Gateway"]
        options = ("--network", "inner", "--name", "inmate", "--cap-add", "NET_ADMIN")
        suite.ok("run", "-d", *options, image, "sleep", "1000")
        inmate = Card.of(suite, "inmate", "inner")
        # It has no route; with one of its own making, nothing comes of it either.
        assert "default" not in suite.ok("exec", "inmate", "ip", "route")
        suite.ok("exec", "inmate", "ip", "route", "add", "default", "via", gateway)
        assert street.reaches(inmate, gateway)
        for target in (street.rogue.address, street.stranger.address, "192.0.2.1"):
            assert street.is_kept_from(inmate, target)
    finally:
        suite.docker("rm", "--force", "inmate")
        suite.ok("network", "rm", "inner")

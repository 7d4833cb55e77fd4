"""Packets of IPv6, written byte by byte."""

import struct
from ipaddress import IPv6Address

from tests.integration.network.frames import IPV6, UDP, Seen, checksum, ethernet, mac_bytes

ICMPV6 = 58
SOLICITATION = 135
ADVERTISEMENT = 136
ROUTER_ADVERTISEMENT = 134
UNREACHABLE = 1
PING, PONG = 128, 129
HEADER = 40
HOP_BY_HOP, FRAGMENT, TARGET_OPTIONS = 0, 44, 60


def ipv6(source: str, target: str, protocol: int, payload: bytes, at: int) -> bytes:
    """Return a packet; the checksum of its payload stands at an offset."""
    addresses = IPv6Address(source).packed + IPv6Address(target).packed
    pseudo = addresses + struct.pack("!II", len(payload), protocol)
    total = checksum(pseudo + payload) or 0xFFFF
    payload = payload[:at] + struct.pack("!H", total) + payload[at + 2 :]
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255) + addresses + payload


def udp6(source: str, target: str, from_port: int, to_port: int, data: bytes) -> bytes:
    segment = struct.pack("!HHHH", from_port, to_port, 8 + len(data), 0) + data
    return ipv6(source, target, UDP, segment, 6)


def icmpv6(source: str, target: str, kind: int, body: bytes, code: int = 0) -> bytes:
    return ipv6(source, target, ICMPV6, struct.pack("!BBH", kind, code, 0) + body, 2)


def advertisement(source: str, target: str, address: str, mac: str) -> bytes:
    """Return the answer that an address is at a MAC address, solicited and overriding."""
    body = (
        struct.pack("!I", 0x60000000) + IPv6Address(address).packed + b"\x02\x01" + mac_bytes(mac)
    )
    return icmpv6(source, target, ADVERTISEMENT, body)


def router_advertisement(source: str, target: str) -> bytes:
    return icmpv6(source, target, ROUTER_ADVERTISEMENT, struct.pack("!BBHII", 64, 0, 1800, 0, 0))


def extended(packet: bytes, kind: int) -> bytes:
    """Return a packet with a header of options, which say nothing, before all that it carries."""
    options = bytes([packet[6], 0, 1, 4, 0, 0, 0, 0])
    return _carrying(packet, kind, options + packet[HEADER:])


def fragmented(packet: bytes, at: int, number: int) -> list[bytes]:
    """Return both fragments of a packet, whose payload is cut at a multiple of eight bytes."""
    return [
        _carrying(packet, FRAGMENT, struct.pack("!BBHI", packet[6], 0, place, number) + part)
        for place, part in ((1, packet[HEADER : HEADER + at]), (at, packet[HEADER + at :]))
    ]


def _carrying(packet: bytes, protocol: int, payload: bytes) -> bytes:
    """Return a packet that carries something else."""
    return packet[:4] + struct.pack("!HB", len(payload), protocol) + packet[7:HEADER] + payload


def is_later_fragment(seen: Seen) -> bool:
    """Tell whether a frame has a fragment that is not its packet's first."""
    offset = int.from_bytes(seen.payload[HEADER + 2 : HEADER + 4], "big") & ~7
    return protocol_of(seen) == FRAGMENT and offset > 0


def framed(source_mac: str, target_mac: str, packet: bytes) -> bytes:
    return ethernet(source_mac, target_mac, IPV6, packet)


def protocol_of(seen: Seen) -> int:
    return seen.payload[6] if seen.kind == IPV6 else 0


def source_of(seen: Seen) -> str:
    return str(IPv6Address(seen.payload[8:24]))


def segment_of(seen: Seen) -> bytes:
    return seen.payload[HEADER : HEADER + int.from_bytes(seen.payload[4:6], "big")]


def icmp_kind(seen: Seen) -> int:
    return seen.payload[HEADER] if protocol_of(seen) == ICMPV6 else 0


def data_of(seen: Seen) -> bytes:
    return segment_of(seen)[8:] if protocol_of(seen) == UDP else b""


def ports_of(seen: Seen) -> tuple[int, int]:
    source, target = struct.unpack_from("!HH", segment_of(seen))
    return source, target


def solicited(seen: Seen) -> str:
    """Return the address that a solicitation asks for, or nothing."""
    if icmp_kind(seen) != SOLICITATION:
        return ""
    return str(IPv6Address(seen.payload[HEADER + 8 : HEADER + 24]))

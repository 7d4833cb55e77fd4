"""Ethernet frames, written and read byte by byte, so that a guest can also lie."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP = 0x0806
IPV4 = 0x0800
IPV6 = 0x86DD
VLAN = 0x8100
ICMP = 1
TCP = 6
UDP = 17
SYN = 2
SYN_ACK = 0x12
RST = 4


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(source: str, target: str, kind: int, payload: bytes) -> bytes:
    return mac_bytes(target) + mac_bytes(source) + struct.pack("!H", kind) + payload


def arp(operation: int, mac: str, address: str, target_mac: str, target: str) -> bytes:
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    sender = mac_bytes(mac) + IPv4Address(address).packed
    return head + sender + mac_bytes(target_mac) + IPv4Address(target).packed


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    addresses = IPv4Address(source).packed + IPv4Address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    total = checksum(head + addresses)
    return head[:10] + struct.pack("!H", total) + addresses + payload


def fragmented(packet: bytes, at: int, number: int) -> list[bytes]:
    """Return both fragments of a packet, whose payload is cut at a multiple of eight bytes."""
    more = 1 << 13
    return [
        _fragment(packet, part, number, place)
        for place, part in ((more, packet[20 : 20 + at]), (at // 8, packet[20 + at :]))
    ]


def is_later_fragment(seen: "Seen") -> bool:
    """Tell whether a frame has a fragment that is not its packet's first."""
    return seen.kind == IPV4 and int.from_bytes(seen.payload[6:8], "big") & 0x1FFF > 0


def _fragment(packet: bytes, part: bytes, number: int, place: int) -> bytes:
    head = packet[:2] + struct.pack("!HHH", 20 + len(part), number, place) + packet[8:10]
    addresses = packet[12:20]
    return head + struct.pack("!H", checksum(head + b"\0\0" + addresses)) + addresses + part


def _transport(source: str, target: str, protocol: int, segment: bytes, at: int) -> bytes:
    """Return a segment with its checksum, which stands at an offset of it."""
    pseudo = IPv4Address(source).packed + IPv4Address(target).packed
    pseudo += struct.pack("!BBH", 0, protocol, len(segment))
    return segment[:at] + struct.pack("!H", checksum(pseudo + segment)) + segment[at + 2 :]


def udp(source: str, target: str, from_port: int, to_port: int, data: bytes) -> bytes:
    segment = struct.pack("!HHHH", from_port, to_port, 8 + len(data), 0) + data
    return ipv4(source, target, UDP, _transport(source, target, UDP, segment, 6))


def tcp(source: str, target: str, from_port: int, to_port: int, flags: int) -> bytes:
    segment = struct.pack("!HHIIBBHHH", from_port, to_port, 1, 0, 5 << 4, flags, 65535, 0, 0)
    return ipv4(source, target, TCP, _transport(source, target, TCP, segment, 16))


def port_unreachable(source: str, target: str, packet: bytes) -> bytes:
    """Return the ICMP message that nobody listens where a packet went."""
    message = struct.pack("!BBHI", 3, 3, 0, 0) + packet[:28]
    return ipv4(
        source, target, ICMP, message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    )


@dataclass(frozen=True)
class Seen:
    """A frame that arrived."""

    source: str
    target: str
    kind: int
    payload: bytes

    @property
    def arp_operation(self) -> int:
        return int.from_bytes(self.payload[6:8], "big") if self.kind == ARP else 0

    @property
    def arp_sender(self) -> tuple[str, str]:
        return self.payload[8:14].hex(":"), str(IPv4Address(self.payload[14:18]))

    @property
    def arp_target(self) -> str:
        return str(IPv4Address(self.payload[24:28]))

    @property
    def protocol(self) -> int:
        return self.payload[9] if self.kind == IPV4 else 0

    @property
    def ip_source(self) -> str:
        return str(IPv4Address(self.payload[12:16]))

    @property
    def segment(self) -> bytes:
        """What comes after the IPv4 header."""
        length = int.from_bytes(self.payload[2:4], "big")
        return self.payload[(self.payload[0] & 15) * 4 : length]

    @property
    def ports(self) -> tuple[int, int]:
        source, target = struct.unpack_from("!HH", self.segment)
        return source, target

    @property
    def tcp_flags(self) -> int:
        return int(self.segment[13]) if self.protocol == TCP else 0

    @property
    def data(self) -> bytes:
        return self.segment[8:] if self.protocol == UDP else b""


def parse(frame: bytes) -> Seen:
    return Seen(
        frame[6:12].hex(":"), frame[:6].hex(":"), int.from_bytes(frame[12:14], "big"), frame[14:]
    )

"""Sends what a machine's rehearsal says to nobody back to it, as if somebody had said it.

A machine that warms up is on no network, and so it would meet its first packet, and all that its
kernel does for one that comes, when it is used. Here it has a partner: each packet comes back with
sender and receiver swapped. So a machine that calls the mirror's address is called by the mirror,
and both ends of the connection are its own. Checksums stay as they are: neither those of IP nor
those of TCP mind in which order addresses are added up.

The host's kernel takes nothing in of it: packets have a hardware address that isn't its own.
Source: packet(7), RFC 826, RFC 791.
"""

import asyncio
import fcntl
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# <linux/if_packet.h>, <linux/if_ether.h>
_SOL_PACKET, _PACKET_VNET_HDR, _PACKET_OUTGOING = 263, 15, 4
_ETH_P_ALL, _ETH_P_IP, _ETH_P_ARP = 0x0003, 0x0800, 0x0806
# <linux/sockios.h>, <linux/if.h>
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 0x1
# struct virtio_net_hdr; it says how far a packet's checksum has come, and goes back as it came.
_VIRTIO_HEADER = 10
_ETHERNET = slice(_VIRTIO_HEADER, _VIRTIO_HEADER + 14)
_REQUEST, _REPLY = 1, 2
_LONGEST = 1 << 17
# A machine that is talked to by itself can be talkative: others have their turn after so many.
_AT_ONCE = 64
# Nobody's (RFC 7042).
HARDWARE_ADDRESS = bytes.fromhex("02005e005302")


class Mirror:
    """The partner of one machine, by its tap, on the running event loop."""

    def __init__(self, tap_name: str) -> None:
        """Take the tap up. Raises OSError."""
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            self._socket.bind((tap_name, _ETH_P_ALL))
            # It would look for routers. Where that can't be said, the machine doesn't answer.
            with suppress(OSError):
                Path(f"/proc/sys/net/ipv6/conf/{tap_name}/disable_ipv6").write_text("1")
            _set_up(self._socket, tap_name, up=True)
        except BaseException:
            self._socket.close()
            raise
        self._tap_name = tap_name
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._reflect)

    def close(self) -> None:
        """Leave the machine alone again, its tap down. Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            # With its machine it is gone.
            with suppress(OSError):
                _set_up(self._socket, self._tap_name, up=False)
            self._socket.close()

    def _reflect(self) -> None:
        # What doesn't fit, or is in the way of an end, is lost as on any network.
        with suppress(OSError):
            for _ in range(_AT_ONCE):
                packet, (_, _, kind, *_) = self._socket.recvfrom(_LONGEST)
                if kind != _PACKET_OUTGOING:
                    for answer in answers(packet):
                        self._socket.send(answer)


def answers(packet: bytes) -> list[bytes]:
    """Return what comes back for a packet, both with a virtio header and an Ethernet one."""
    frame = packet[_VIRTIO_HEADER:]
    if len(frame) < 14:
        return []
    answer = _ANSWERS.get(int.from_bytes(frame[12:14]))
    back = packet[:_VIRTIO_HEADER] + frame[6:12] + HARDWARE_ADDRESS + frame[12:14]
    return [back + body for body in answer(frame[14:])] if answer is not None else []


def _answers_to_arp(body: bytes) -> list[bytes]:
    """Say where whoever is asked for is, and ask in turn where the asker is."""
    if len(body) < 28 or body[:8] != struct.pack("!HHBBH", 1, _ETH_P_IP, 6, 4, _REQUEST):
        return []
    asker, asker_address, asked_address = body[8:14], body[14:18], body[24:28]
    own = HARDWARE_ADDRESS + asked_address
    return [
        struct.pack("!HHBBH", 1, _ETH_P_IP, 6, 4, _REPLY) + own + asker + asker_address,
        struct.pack("!HHBBH", 1, _ETH_P_IP, 6, 4, _REQUEST) + own + bytes(6) + asker_address,
    ]


def _answers_to_ip(body: bytes) -> list[bytes]:
    """Swap the addresses."""
    return [body[:12] + body[16:20] + body[12:16] + body[20:]] if len(body) >= 20 else []


_ANSWERS: dict[int, Callable[[bytes], list[bytes]]] = {
    _ETH_P_ARP: _answers_to_arp,
    _ETH_P_IP: _answers_to_ip,
}


def _set_up(control: socket.socket, name: str, *, up: bool) -> None:
    """Take an interface up or down. Source: netdevice(7)."""
    request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
    _, flags = struct.unpack_from("16sH", request)
    flags = flags | _IFF_UP if up else flags & ~_IFF_UP
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags))

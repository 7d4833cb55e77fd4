"""A VM's network card without the VM: a tap whose other end the test holds."""

import fcntl
import os
import select
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from services.network.ipam import mac_of
from services.network.model import Endpoint
from tests.integration.network import frames, frames6
from tests.integration.network.frames import Seen

TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
BOUND_SECONDS = 60.0


class NothingArrivedError(AssertionError):
    """What was waited for did not come."""


@dataclass
class Guest:
    """The inside of a VM: it says what it is told to, and answers ARP for its address."""

    name: str
    mac: str
    address: str
    gateway: str
    gateway_mac: str
    seen: list[Seen] = field(default_factory=list)
    descriptor: int = -1
    address6: str = ""

    @classmethod
    def of(cls, endpoint: Endpoint, gateway: object) -> "Guest":
        """Return the guest of an endpoint, with its tap made as the host agent makes it."""
        assert endpoint.port_name is not None
        assert endpoint.mac is not None
        address = mac_of(gateway)  # type: ignore[arg-type]
        guest = cls(endpoint.port_name, endpoint.mac, str(endpoint.ipv4), str(gateway), address)
        guest.address6 = "" if endpoint.ipv6 is None else str(endpoint.ipv6)
        guest.plug_in()
        return guest

    def plug_in(self) -> None:
        """Make the tap."""
        self.descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", self.name.encode(), IFF_TAP | IFF_NO_PI)
        fcntl.ioctl(self.descriptor, TUNSETIFF, request)

    def unplug(self) -> None:
        """End the tap, as the end of QEMU does."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def send(self, frame: bytes) -> None:
        """Send a frame as it is."""
        os.write(self.descriptor, frame.ljust(60, b"\0"))

    def send_ip(self, packet: bytes, target_mac: str | None = None) -> None:
        """Send a packet from our MAC address, by default to the gateway."""
        target = self.gateway_mac if target_mac is None else target_mac
        self.send(frames.ethernet(self.mac, target, frames.IPV4, packet))

    def send_udp(self, target: str, port: int, data: bytes, target_mac: str | None = None) -> None:
        """Send a datagram from our address and port 1000."""
        self.send_ip(frames.udp(self.address, target, 1000, port, data), target_mac)

    def connect(self, target: str, port: int) -> None:
        """Send the first packet of a TCP connection, from a port of the same number plus 10000."""
        self.send_ip(frames.tcp(self.address, target, 10_000 + port % 10_000, port, frames.SYN))

    def ask_arp(self, target: str) -> None:
        """Ask who has an address."""
        question = frames.arp(1, self.mac, self.address, "00:00:00:00:00:00", target)
        self.send(frames.ethernet(self.mac, frames.BROADCAST, frames.ARP, question))

    def receive(self, wanted: Callable[[Seen], bool]) -> Seen:
        """Return the first frame that fits; those before it are in `seen`.

        Raises NothingArrivedError after a bound.
        """
        while True:
            ready, _, _ = select.select([self.descriptor], [], [], BOUND_SECONDS)
            if not ready:
                raise NothingArrivedError(f"{self.name} waited in vain; it saw {self.seen}")
            frame = frames.parse(os.read(self.descriptor, 65536))
            self._answer(frame)
            if wanted(frame):
                return frame
            self.seen.append(frame)

    def receive_data(self, data: bytes) -> Seen:
        """Return the datagram that carries this data."""
        return self.receive(lambda frame: frame.data == data)

    def send_ipv6(self, packet: bytes, target_mac: str | None = None) -> None:
        """Send a packet of IPv6 from our MAC address, by default to the gateway."""
        target = self.gateway_mac if target_mac is None else target_mac
        self.send(frames6.framed(self.mac, target, packet))

    def send_udp6(self, target: str, port: int, data: bytes, target_mac: str | None = None) -> None:
        """Send a datagram from our IPv6 address and port 1000."""
        self.send_ipv6(frames6.udp6(self.address6, target, 1000, port, data), target_mac)

    def receive_data6(self, data: bytes) -> Seen:
        """Return the datagram of IPv6 that carries this data."""
        return self.receive(lambda frame: frames6.data_of(frame) == data)

    def _answer(self, frame: Seen) -> None:
        if self.address6 and frames6.solicited(frame) == self.address6:
            asker = frames6.source_of(frame)
            answer = frames6.advertisement(self.address6, asker, self.address6, self.mac)
            self.send(frames6.framed(self.mac, frame.source, answer))
        if frame.arp_operation == 1 and frame.arp_target == self.address:
            mac, address = frame.arp_sender
            answer = frames.arp(2, self.mac, self.address, mac, address)
            self.send(frames.ethernet(self.mac, mac, frames.ARP, answer))

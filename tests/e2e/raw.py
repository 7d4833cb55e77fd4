"""Sending raw frames from inside a container, and seeing on the host what came of them."""

import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.suite import Suite
from tests.integration.network.frames import Seen, parse

BASE = 0x400000
HEADER_BYTES = 64 + 56
SENDER = "/raw"
BOUND_SECONDS = 60.0
ETH_P_ALL = 3


def sender() -> bytes:
    """Return a program for x86-64 Linux that sends one frame by a packet socket.

    Its standard input is a struct sockaddr_ll, which says by which card, and the frame. It exits
    with 0 when the kernel took the frame. Nothing else in the test image can say what it likes.
    """
    buffer = BASE + 0x1000
    code = b"".join(
        (
            b"\x31\xc0\x31\xff\xbe" + struct.pack("<I", buffer),  # read(0, buffer, 4096)
            b"\xba\x00\x10\x00\x00\x0f\x05",
            b"\x41\x89\xc4",  # its length → r12
            b"\xb8\x29\x00\x00\x00\xbf\x11\x00\x00\x00",  # socket(AF_PACKET, SOCK_RAW, 0)
            b"\xbe\x03\x00\x00\x00\x31\xd2\x0f\x05",
            b"\x89\xc7\xb8\x2c\x00\x00\x00",  # sendto(it, buffer + 20, length - 20, 0, buffer, 20)
            b"\xbe" + struct.pack("<I", buffer + 20),
            b"\x41\x8d\x54\x24\xec\x45\x31\xd2",
            b"\x41\xb8" + struct.pack("<I", buffer),
            b"\x41\xb9\x14\x00\x00\x00\x0f\x05",
            b"\xc1\xe8\x1f\x89\xc7\xb8\x3c\x00\x00\x00\x0f\x05",  # exit(whether it was negative)
        )
    )
    length = HEADER_BYTES + len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    entry = BASE + HEADER_BYTES
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    # One segment that can be read, written and executed, with room for the frame behind it.
    program = struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, length, 0x3000, 0x1000)
    return ident + header + program + code


@dataclass(frozen=True)
class Card:
    """A container's network card, as the rules know it."""

    container: str
    tap: str
    mac: str
    address: str

    @classmethod
    def of(cls, suite: Suite, container: str, network: str) -> "Card":
        """Return a running container's card in a network."""
        shown = suite.inspect(container)["NetworkSettings"]["Networks"][network]
        instance = json.loads((suite.data_dir / "instance.json").read_text())["instance_id"]
        listed = subprocess.run(
            ["nft", "--json", "list", "set", "bridge", f"vic_{instance}_l2", "sources"],
            capture_output=True,
            text=True,
            check=True,
        )
        (found,) = (
            entry["set"] for entry in json.loads(listed.stdout)["nftables"] if "set" in entry
        )
        taps = {mac: tap for tap, mac, _ in (element["concat"] for element in found["elem"])}
        mac = shown["MacAddress"]
        return cls(container, taps[mac], mac, shown["IPAddress"])

    def send(self, suite: Suite, frame: bytes) -> None:
        """Send a frame as it is, from inside, which must succeed."""
        # struct sockaddr_ll: eth0 is the second interface that the container sees.
        index = int(suite.ok("exec", self.container, "cat", "/sys/class/net/eth0/ifindex"))
        where = struct.pack("=HHiHBB8s", socket.AF_PACKET, 0, index, 0, 0, 6, b"")
        process = suite.popen(
            *("exec", "-i", self.container, SENDER),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        told, _ = process.communicate(where + frame.ljust(60, b"\0"), timeout=BOUND_SECONDS)
        assert process.returncode == 0, told


def install(suite: Suite, directory: Path, *containers: str) -> None:
    """Put the program into containers."""
    path = directory / "raw"
    path.write_bytes(sender())
    path.chmod(0o755)
    for container in containers:
        suite.ok("cp", str(path), f"{container}:{SENDER}")


class Ear:
    """Everything that passes a card, in both directions, from now on."""

    def __init__(self, card: Card) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((card.tap, ETH_P_ALL))
        self._socket.settimeout(BOUND_SECONDS)
        self.heard: list[Seen] = []

    def until(self, mark: bytes) -> list[Seen]:
        """Wait for a frame that carries a mark; return all before it."""
        before = self.heard
        self.heard = []
        while True:
            frame = parse(self._socket.recv(65536))
            if mark in frame.payload:
                return before
            before.append(frame)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@contextmanager
def listening(*cards: Card) -> Iterator[list[Ear]]:
    """Listen at cards."""
    ears = [Ear(card) for card in cards]
    try:
        yield ears
    finally:
        for ear in ears:
            ear.close()

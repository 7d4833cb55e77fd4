"""What a machine that rehearses hears from the mirror."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from hostagent.mirror import HARDWARE_ADDRESS, answers

HEADER = bytes([1, 0, 0, 0, 0, 0, 34, 0, 16, 0])
"""That of a packet whose checksum is left to do."""
GUEST = bytes.fromhex("02005e005301")
OWN, MIRROR = bytes([192, 0, 2, 2]), bytes([192, 0, 2, 1])


def frame(kind: int, body: bytes, to: bytes = HARDWARE_ADDRESS) -> bytes:
    return HEADER + to + GUEST + struct.pack("!H", kind) + body


def arp(operation: int, *parts: bytes) -> bytes:
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + b"".join(parts)


def test_whoever_is_asked_for_is_there_and_asks_in_turn() -> None:
    asked = frame(0x0806, arp(1, GUEST, OWN, bytes(6), MIRROR), to=b"\xff" * 6)
    back = HEADER + GUEST + HARDWARE_ADDRESS + b"\x08\x06"
    assert answers(asked) == [
        back + arp(2, HARDWARE_ADDRESS, MIRROR, GUEST, OWN),
        back + arp(1, HARDWARE_ADDRESS, MIRROR, bytes(6), OWN),
    ]


def test_nobody_answers_an_answer() -> None:
    assert answers(frame(0x0806, arp(2, GUEST, OWN, HARDWARE_ADDRESS, MIRROR))) == []


def test_a_packet_comes_back_from_where_it_went() -> None:
    head, payload = bytes(range(12)), b"whatever TCP says"
    sent = frame(0x0800, head + OWN + MIRROR + payload)
    back = HEADER + GUEST + HARDWARE_ADDRESS + b"\x08\x00"
    assert answers(sent) == [back + head + MIRROR + OWN + payload]


def test_other_protocols_are_not_answered() -> None:
    assert answers(frame(0x86DD, bytes(40))) == []


@given(st.binary(max_size=80))
def test_whatever_comes_nothing_grows_of_it(packet: bytes) -> None:
    assert sum(map(len, answers(packet))) <= 2 * len(packet)

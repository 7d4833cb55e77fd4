"""The mirror of a machine that warms up, on a tap."""

import asyncio
import os
import secrets
import struct
from pathlib import Path

from hostagent.mirror import HARDWARE_ADDRESS, Mirror
from hostagent.taps import create_tap

TAP = f"vr9-{secrets.token_hex(3)}"
HEADER = bytes(10)
GUEST = bytes.fromhex("02005e005301")
OWN, PARTNER = bytes([192, 0, 2, 2]), bytes([192, 0, 2, 1])


def is_up() -> bool:
    return bool(int(Path(f"/sys/class/net/{TAP}/flags").read_text(), 16) & 1)


async def heard(tap: int, kind: bytes) -> bytes:
    """Return the next frame of a kind that a machine gets of its mirror.

    What the host itself says on the interface, as it comes up, is none.
    """
    loop = asyncio.get_running_loop()
    while True:
        readable = loop.create_future()
        loop.add_reader(tap, readable.set_result, None)
        try:
            async with asyncio.timeout(60):
                await readable
        finally:
            loop.remove_reader(tap)
        frame = os.read(tap, 2048)[len(HEADER) :]
        if frame[6:14] == HARDWARE_ADDRESS + kind:
            return frame


async def test_a_machine_is_answered_until_the_mirror_goes() -> None:
    tap = create_tap(TAP)
    try:
        mirror = Mirror(TAP)
        assert is_up()
        there = HARDWARE_ADDRESS + GUEST
        os.write(tap, HEADER + there + b"\x08\x00" + bytes(12) + OWN + PARTNER + b"words")
        frame = await heard(tap, b"\x08\x00")
        assert (
            frame == GUEST + HARDWARE_ADDRESS + b"\x08\x00" + bytes(12) + PARTNER + OWN + b"words"
        )
        asked = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + GUEST + OWN + bytes(6) + PARTNER
        os.write(tap, HEADER + b"\xff" * 6 + GUEST + b"\x08\x06" + asked)
        assert (await heard(tap, b"\x08\x06"))[14 + 8 : 14 + 18] == HARDWARE_ADDRESS + PARTNER
        mirror.close()
        assert not is_up()
        mirror.close()
    finally:
        os.close(tap)


async def test_a_mirror_goes_after_its_machine() -> None:
    tap = create_tap(TAP)
    mirror = Mirror(TAP)
    os.close(tap)
    mirror.close()

"""The device filter's program, run by a small interpreter of the instructions that it has."""

from __future__ import annotations

import struct

import pytest

from tether.supervisor.devices import DeviceRule, device_program

MKNOD, READ, WRITE = 1, 2, 4
BLOCK, CHARACTER = 1, 2


def run(program: bytes, kind: int, access: int, major: int, minor: int) -> bool:
    """Run it as the kernel does, on ``struct bpf_cgroup_dev_ctx``. Source: linux/bpf.h."""
    context = struct.pack("<III", access << 16 | kind, major, minor)
    registers = dict.fromkeys(range(11), 0)
    instructions = list(struct.iter_unpack("<BBhi", program))
    position = 0
    while True:
        code, pair, offset, value = instructions[position]
        source, target = pair >> 4, pair & 15
        position += 1
        match code:
            case 0x61:
                registers[target] = struct.unpack_from("<I", context, offset)[0]
            case 0xB7:
                registers[target] = value
            case 0xBF:
                registers[target] = registers[source]
            case 0x57:
                registers[target] &= value
            case 0x77:
                registers[target] >>= value
            case 0x15:
                position += offset if registers[target] == value else 0
            case 0x55:
                position += offset if registers[target] != value else 0
            case 0x95:
                return bool(registers[0])
            case other:
                raise AssertionError(f"instruction {other:#x}")


def allowed(rules: list[str], kind: int, access: int, major: int, minor: int) -> bool:
    return run(device_program([DeviceRule.parse(r) for r in rules]), kind, access, major, minor)


@pytest.mark.parametrize(
    ("rules", "device", "expected"),
    [
        ([], (CHARACTER, READ | WRITE, 1, 3), True),  # /dev/null
        ([], (CHARACTER, READ, 1, 1), False),  # /dev/mem
        ([], (CHARACTER, MKNOD, 1, 1), True),  # a node alone harms nobody
        ([], (BLOCK, READ, 254, 0), False),
        (["c 10:229 rwm"], (CHARACTER, READ | WRITE, 10, 229), True),
        (["c 10:229 rwm"], (CHARACTER, READ, 10, 200), False),
        (["c 10:229 rwm"], (BLOCK, READ, 10, 229), False),
        (["c 10:229 r"], (CHARACTER, READ, 10, 229), True),
        (["c 10:229 r"], (CHARACTER, READ | WRITE, 10, 229), False),
        (["b *:* r", "c 10:* w"], (BLOCK, READ, 254, 0), True),
        (["b *:* r", "c 10:* w"], (BLOCK, WRITE, 254, 0), False),
        (["b *:* r", "c 10:* w"], (CHARACTER, WRITE, 10, 5), True),
        (["b *:* r", "c 10:* w"], (CHARACTER, READ, 1, 5), True),
        (["a *:* rwm"], (CHARACTER, READ | WRITE, 1, 1), True),
    ],
)
def test_what_may_be_used(
    rules: list[str], device: tuple[int, int, int, int], expected: bool
) -> None:
    assert allowed(rules, *device) == expected


@pytest.mark.parametrize("rule", ["x 1:3 rwm", "c 1:3", "c 1:3 x", "c :3 r", "c 1:3 rwm "])
def test_rules_that_cannot_be(rule: str) -> None:
    with pytest.raises(ValueError, match="invalid device cgroup rule"):
        DeviceRule.parse(rule)

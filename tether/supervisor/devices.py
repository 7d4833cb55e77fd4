"""Which devices the workload may use: a BPF program on its cgroup, as Docker's device rules.

The workload has CAP_MKNOD by default, as in Docker. Without this filter it could make itself a node
for the configuration port or for the machine's memory.

Instruction format: ``linux/bpf.h``; the context is ``struct bpf_cgroup_dev_ctx``.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tether.supervisor.request import SandboxRequest
from tether.supervisor.syscalls import bpf

_INSTRUCTION = struct.Struct("<BBhi")
_BPF_PROG_LOAD = 5
_BPF_PROG_ATTACH = 8
_BPF_PROG_DETACH = 9
_PROG_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6

_LOAD_WORD = 0x61  # dst = *(u32 *)(src + offset)
_MOVE = 0xB7  # dst = immediate
_MOVE_REGISTER = 0xBF
_AND = 0x57
_SHIFT_RIGHT = 0x77
_JUMP_EQUAL = 0x15
_JUMP_NOT_EQUAL = 0x55
_EXIT = 0x95

_KINDS = {"b": 1, "c": 2}
_CHARACTER = _KINDS["c"]
_ACCESS = {"m": 1, "r": 2, "w": 4}
_MKNOD = _ACCESS["m"]
_ALL_ACCESS = sum(_ACCESS.values())
_RULE = re.compile(r"([abc]) ([0-9]{1,7}|\*):([0-9]{1,7}|\*) ([rwm]{1,3})")
# Character devices, by major number: the minors that may be used, None for all.
# null zero full random urandom; tty console ptmx; the pseudo-terminals.
_ALLOWED: dict[int, tuple[int, ...] | None] = {1: (3, 5, 7, 8, 9), 5: (0, 1, 2), 136: None}


@dataclass(frozen=True)
class DeviceRule:
    """Devices that may be used beyond Docker's default ones; None stands for any."""

    kind: int | None
    major: int | None
    minor: int | None
    access: int

    @classmethod
    def parse(cls, text: str) -> DeviceRule:
        """Read "c 10:200 rwm". Raises ValueError."""
        found = _RULE.fullmatch(text)
        if found is None:
            raise ValueError(f"invalid device cgroup rule: '{text}'")
        kind, major, minor, access = found.groups()
        return cls(
            _KINDS.get(kind),
            None if major == "*" else int(major),
            None if minor == "*" else int(minor),
            _access(access),
        )

    @classmethod
    def of_device(cls, path: str, permissions: str) -> DeviceRule:
        """The rule for a device of this machine. Raises OSError, ValueError for what is none."""
        status = os.stat(path)
        kind = {stat.S_IFBLK: 1, stat.S_IFCHR: 2}.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            raise ValueError("not a device node")
        device = status.st_rdev
        return cls(kind, os.major(device), os.minor(device), _access(permissions))

    def code(self) -> bytes:
        """Instructions that allow what fits, and go on past their end with what doesn't."""
        tests: list[tuple[int, int]] = [
            (register, value)
            for register, value in ((2, self.kind), (4, self.major), (5, self.minor))
            if value is not None
        ]
        allow = _instruction(_MOVE, dst=0, value=1) + _instruction(_EXIT)
        length = len(allow) // _INSTRUCTION.size
        code = allow
        if self.access != _ALL_ACCESS:
            # What is asked for and not allowed must be nothing.
            code = (
                _instruction(_MOVE_REGISTER, dst=6, src=3)
                + _instruction(_AND, dst=6, value=_ALL_ACCESS & ~self.access)
                + _instruction(_JUMP_NOT_EQUAL, dst=6, offset=length, value=0)
                + code
            )
        for register, value in reversed(tests):
            length = len(code) // _INSTRUCTION.size
            code = _instruction(_JUMP_NOT_EQUAL, dst=register, offset=length, value=value) + code
        return code


def _access(letters: str) -> int:
    return sum(_ACCESS[letter] for letter in set(letters))


class _LoadAttributes(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
    )


class _AttachAttributes(ctypes.Structure):
    _fields_ = (
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
    )


def _instruction(code: int, dst: int = 0, src: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, src << 4 | dst, offset, value)


def device_program(rules: Sequence[DeviceRule] = ()) -> bytes:
    """Allows making any node, and using Docker's default devices and those of the rules.

    The verifier takes no jumps backward, so a rule that matches falls into its own "allow".
    """
    allow = _instruction(_MOVE, dst=0, value=1) + _instruction(_EXIT)
    program = [
        _instruction(_LOAD_WORD, dst=2, src=1, offset=0),
        _instruction(_MOVE_REGISTER, dst=3, src=2),
        _instruction(_SHIFT_RIGHT, dst=3, value=16),  # r3: access
        _instruction(_AND, dst=2, value=0xFFFF),  # r2: kind of device
        _instruction(_LOAD_WORD, dst=4, src=1, offset=4),  # r4: major
        _instruction(_LOAD_WORD, dst=5, src=1, offset=8),  # r5: minor
        _instruction(_JUMP_NOT_EQUAL, dst=3, offset=2, value=_MKNOD),
        allow,
        *(rule.code() for rule in rules),
        _instruction(_JUMP_EQUAL, dst=2, offset=2, value=_CHARACTER),
        _instruction(_MOVE, dst=0, value=0),
        _instruction(_EXIT),
    ]
    for major, minors in _ALLOWED.items():
        if minors is None:
            program += [_instruction(_JUMP_NOT_EQUAL, dst=4, offset=2, value=major), allow]
            continue
        usable = [
            _instruction(_JUMP_NOT_EQUAL, dst=5, offset=2, value=minor) + allow for minor in minors
        ]
        program += [_instruction(_JUMP_NOT_EQUAL, dst=4, offset=3 * len(usable), value=major)]
        program += usable
    program += [_instruction(_MOVE, dst=0, value=0), _instruction(_EXIT)]
    return b"".join(program)


class DeviceFilter:
    """The filter on one cgroup."""

    def __init__(self, cgroup: Path) -> None:
        """Load the program and attach it to ``cgroup``."""
        self._cgroup = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._program = self._attach(device_program())

    def admit(self, sandbox: SandboxRequest, *, privileged: bool) -> None:
        """Let the workload use what it was given. Raises ValueError, OSError."""
        if privileged:
            bpf(_BPF_PROG_DETACH, self._attributes(self._program))
            return
        rules = [DeviceRule.parse(rule) for rule in sandbox.device_rules]
        for path, _target, permissions in sandbox.devices:
            try:
                rules.append(DeviceRule.of_device(path, permissions))
            except (ValueError, OSError) as error:
                why = (getattr(error, "strerror", None) or str(error)).lower()
                raise ValueError(
                    f'error gathering device information while adding custom device "{path}": {why}'
                ) from error
        if rules:
            former, self._program = self._program, self._attach(device_program(rules))
            os.close(former)

    def _attach(self, code: bytes) -> int:
        """Load a program and put it in the place of a former one."""
        text = ctypes.create_string_buffer(code, len(code))
        licence = ctypes.create_string_buffer(b"Apache-2.0")
        program = bpf(
            _BPF_PROG_LOAD,
            _LoadAttributes(
                prog_type=_PROG_TYPE_CGROUP_DEVICE,
                insn_cnt=len(code) // _INSTRUCTION.size,
                insns=ctypes.addressof(text),
                license=ctypes.addressof(licence),
            ),
        )
        bpf(_BPF_PROG_ATTACH, self._attributes(program))
        return program

    def _attributes(self, program: int) -> _AttachAttributes:
        return _AttachAttributes(
            target_fd=self._cgroup,
            attach_bpf_fd=program,
            attach_type=_ATTACH_CGROUP_DEVICE,
        )

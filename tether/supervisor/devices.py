"""Which devices the workload may use: a BPF program on its cgroup, as Docker's device rules.

The workload has CAP_MKNOD by default, as in Docker. Without this filter it could make itself a node
for the configuration port or for the machine's memory.

Instruction format: ``linux/bpf.h``; the context is ``struct bpf_cgroup_dev_ctx``.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

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

_CHARACTER = 2
_MKNOD = 1
# Character devices, by major number: the minors that may be used, None for all.
# null zero full random urandom; tty console ptmx; the pseudo-terminals.
_ALLOWED: dict[int, tuple[int, ...] | None] = {1: (3, 5, 7, 8, 9), 5: (0, 1, 2), 136: None}


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


def device_program() -> bytes:
    """Allows making any node, and using Docker's default devices; denies the rest.

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
        _instruction(_JUMP_EQUAL, dst=2, offset=2, value=_CHARACTER),
        _instruction(_MOVE, dst=0, value=0),
        _instruction(_EXIT),
    ]
    for major, minors in _ALLOWED.items():
        if minors is None:
            program += [_instruction(_JUMP_NOT_EQUAL, dst=4, offset=2, value=major), allow]
            continue
        rules = [
            _instruction(_JUMP_NOT_EQUAL, dst=5, offset=2, value=minor) + allow for minor in minors
        ]
        program += [_instruction(_JUMP_NOT_EQUAL, dst=4, offset=3 * len(rules), value=major)]
        program += rules
    program += [_instruction(_MOVE, dst=0, value=0), _instruction(_EXIT)]
    return b"".join(program)


class DeviceFilter:
    """The filter on one cgroup."""

    def __init__(self, cgroup: Path) -> None:
        """Load the program and attach it to ``cgroup``."""
        code = device_program()
        text = ctypes.create_string_buffer(code, len(code))
        licence = ctypes.create_string_buffer(b"Apache-2.0")
        self._program = bpf(
            _BPF_PROG_LOAD,
            _LoadAttributes(
                prog_type=_PROG_TYPE_CGROUP_DEVICE,
                insn_cnt=len(code) // _INSTRUCTION.size,
                insns=ctypes.addressof(text),
                license=ctypes.addressof(licence),
            ),
        )
        self._cgroup = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        bpf(_BPF_PROG_ATTACH, self._attributes())

    def lift(self) -> None:
        """Let the workload use every device of its machine (``--privileged``)."""
        bpf(_BPF_PROG_DETACH, self._attributes())

    def _attributes(self) -> _AttachAttributes:
        return _AttachAttributes(
            target_fd=self._cgroup,
            attach_bpf_fd=self._program,
            attach_type=_ATTACH_CGROUP_DEVICE,
        )

"""What a fork of a template must lose before it runs: the template's powers, and ways to others.

The template runs only our own bootstrap image; a fork runs what others bring. So the fork gets, as
system calls that it is made to make, what :mod:`hostagent.confine` gives any other machine's
process, and a filter in place of the parts of QEMU's own sandbox that would have kept it from that.
"""

import struct
from collections.abc import Iterable

# <linux/seccomp.h>, <linux/bpf_common.h>, <linux/audit.h>
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_ALLOW = 0x7FFF0000
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ARCHITECTURE, _NUMBER, _FIRST_ARGUMENT = 4, 0, 16
_X86_64 = 0xC000003E
_X32 = 0x40000000
_ENOSYS = 38
_CLONE_THREAD = 0x00010000
_CLONE, _CLONE3 = 56, 435

DENIED = {
    "fork": 57,
    "vfork": 58,
    "execve": 59,
    "execveat": 322,
    "ptrace": 101,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "setuid": 105,
    "setgid": 106,
    "setpgid": 109,
    "setsid": 112,
    "setreuid": 113,
    "setregid": 114,
    "setgroups": 116,
    "setresuid": 117,
    "setresgid": 119,
    "setfsuid": 122,
    "setfsgid": 123,
    "capset": 126,
    "unshare": 272,
    "setns": 308,
    "pivot_root": 155,
    "chroot": 161,
    "keyctl": 250,
    "add_key": 248,
    "request_key": 249,
    "bpf": 321,
    "perf_event_open": 298,
    "open_by_handle_at": 304,
    "userfaultfd": 323,
}
"""System calls that end a fork that tries them, by their names. Source: asm/unistd_64.h."""


def sandbox(denied: Iterable[int] = DENIED.values()) -> bytes:
    """Return the program of the filter, as of seccomp(2).

    Threads may be made, by clone; clone3, whose flags no filter can see, is not there, and the C
    library falls back to the former.
    """
    numbers = sorted(denied)
    rules = [
        _statement(_LOAD_WORD, _ARCHITECTURE),
        _jump(_JUMP_EQUAL, _X86_64, 1, 0),
        _statement(_RETURN, _KILL_PROCESS),
        _statement(_LOAD_WORD, _NUMBER),
        _jump(_JUMP_AT_LEAST, _X32, len(numbers) + 4, 0),
        *(
            _jump(_JUMP_EQUAL, number, len(numbers) - place + 3, 0)
            for place, number in enumerate(numbers)
        ),
        _jump(_JUMP_EQUAL, _CLONE3, 4, 0),
        _jump(_JUMP_EQUAL, _CLONE, 0, 4),
        _statement(_LOAD_WORD, _FIRST_ARGUMENT),
        _jump(_JUMP_ANY_BIT, _CLONE_THREAD, 2, 0),
        _statement(_RETURN, _KILL_PROCESS),
        _statement(_RETURN, _ERRNO | _ENOSYS),
        _statement(_RETURN, _ALLOW),
    ]
    return b"".join(rules)


def _statement(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value)


def _jump(code: int, value: int, matches: int, otherwise: int) -> bytes:
    return struct.pack("=HBBI", code, matches, otherwise, value)

"""Linux system calls that Python 3.11 has no function for, by way of ctypes.

Numbers and constants are those of x86-64 Linux (``asm/unistd_64.h``, ``linux/mount.h`` …). Every
function raises OSError as Python's own do.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_DIRSYNC = 128
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MNT_DETACH = 2

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_SYMLINKS = 0x10

PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

_SECCOMP_MODE_FILTER = 2
_SOCK_FILTER_BYTES = 8

RB_POWER_OFF = 0x4321FEDC
BLKFLSBUF = 0x1261
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207

_SYS_CAPSET = 126
_SYS_KEYCTL = 250
_SYS_FINIT_MODULE = 313
_SYS_BPF = 321
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_PIDFD_SEND_SIGNAL = 424
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_MOUNT_ATTR_RDONLY = 1
_KEYCTL_JOIN_SESSION_KEYRING = 1
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _long(value: int) -> ctypes.c_long:
    return ctypes.c_long(value)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() or None, flags, data.encode()
    )
    _check(result, f"mount {source} on {target}")


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), f"unmount {target}")


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """setns(2); ``descriptor`` may be a pidfd, ``kind`` several namespaces at once then."""
    _check(_libc.setns(descriptor, kind), "setns")


def open_tree(path: str) -> int:
    """A detached copy of the mount at ``path`` and of those below it: open_tree(2)."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
    result = _libc.syscall(_SYS_OPEN_TREE, _long(AT_FDCWD), os.fsencode(path), _long(flags))
    return _check(result, f"open_tree {path}")


def open_tree_at(directory: int) -> int:
    """A detached copy of the mount behind a descriptor, from its directory on."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH
    result = _libc.syscall(_SYS_OPEN_TREE, _long(directory), b"", _long(flags))
    return _check(result, "open_tree")


def open_in_root(root: int, path: str, flags: int) -> int:
    """Open a path as if ``root`` were the root directory: openat2(2)."""
    how = struct.pack("=QQQ", flags, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    result = _libc.syscall(_SYS_OPENAT2, _long(root), os.fsencode(path), how, _long(len(how)))
    return _check(result, f"open {path}")


def make_read_only(tree: int) -> None:
    """Let nobody write by way of a detached mount: mount_setattr(2)."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR,
        _long(tree),
        b"",
        _long(AT_EMPTY_PATH | AT_RECURSIVE),
        attributes,
        _long(len(attributes)),
    )
    _check(result, "mount_setattr")


def move_mount(descriptor: int, target: str, *, follow: bool = False) -> None:
    """Attach the mount behind ``descriptor`` at ``target``; ``follow`` follows a final link."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (MOVE_MOUNT_T_SYMLINKS if follow else 0)
    result = _libc.syscall(
        _SYS_MOVE_MOUNT, _long(descriptor), b"", _long(AT_FDCWD), os.fsencode(target), _long(flags)
    )
    _check(result, f"move_mount to {target}")


def finit_module(descriptor: int, parameters: str = "") -> None:
    """Load a kernel module from an open file."""
    result = _libc.syscall(_SYS_FINIT_MODULE, _long(descriptor), parameters.encode(), _long(0))
    _check(result, "finit_module")


def bpf(command: int, attributes: ctypes.Structure) -> int:
    """bpf(2)."""
    size = ctypes.sizeof(attributes)
    result = _libc.syscall(_SYS_BPF, _long(command), ctypes.byref(attributes), _long(size))
    return _check(result, "bpf")


def drop_from_bounding_set(numbers: Iterable[int]) -> None:
    """Let the caller and its children never have these capabilities again: prctl(2)."""
    # Called some thirty times by each process that begins: no objects are made for the arguments.
    for number in numbers:
        _check(_libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "prctl")


def prctl(option: int, argument: int = 0) -> None:
    """prctl(2) with one argument."""
    _check(_libc.prctl(option, argument, 0, 0, 0), "prctl")


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def set_seccomp_filter(program: bytes) -> None:
    """Install a classic BPF program as the caller's seccomp filter: seccomp(2), linux/filter.h."""
    code = ctypes.create_string_buffer(program, len(program))
    described = _SockFprog(len(program) // _SOCK_FILTER_BYTES, ctypes.addressof(code))
    mode = _SECCOMP_MODE_FILTER
    result = _libc.prctl(PR_SET_SECCOMP, mode, ctypes.addressof(described), 0, 0)
    _check(result, "seccomp")


def set_capabilities(mask: int) -> None:
    """Make ``mask`` the permitted and effective capabilities; none are inheritable."""
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _check(_libc.syscall(_SYS_CAPSET, ctypes.byref(header), ctypes.byref(data)), "capset")


def new_session_keyring() -> None:
    """Join a fresh anonymous session keyring, so that the tether's is out of reach."""
    _check(_libc.syscall(_SYS_KEYCTL, _long(_KEYCTL_JOIN_SESSION_KEYRING), None), "keyctl")


def set_domain_name(name: str) -> None:
    """setdomainname(2), for the caller's UTS namespace."""
    data = name.encode()
    _check(_libc.setdomainname(data, ctypes.c_size_t(len(data))), "setdomainname")


def sync_file_system(descriptor: int) -> None:
    """syncfs(2)."""
    _check(_libc.syncfs(descriptor), "syncfs")


def reboot(command: int) -> None:
    """reboot(2); RB_POWER_OFF does not return."""
    _check(_libc.reboot(ctypes.c_int(command)), "reboot")


def slew_clock(nanoseconds: int) -> None:
    """Lead the clock by a difference, some 0.5 ms a second: adjtime(3)."""
    seconds, rest = divmod(nanoseconds // 1000, 1_000_000)
    delta = (ctypes.c_long * 2)(seconds, rest)
    _check(_libc.adjtime(ctypes.byref(delta), None), "adjtime")


def pidfd_send_signal(descriptor: int, number: int) -> None:
    """Send a signal to the process behind a pidfd."""
    result = _libc.syscall(_SYS_PIDFD_SEND_SIGNAL, _long(descriptor), _long(number), None, _long(0))
    _check(result, "pidfd_send_signal")

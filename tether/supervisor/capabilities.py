"""Docker's default capabilities, and what a container adds to and drops from them.

Numbers: ``linux/capability.h``.
"""

from __future__ import annotations

_NAMES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]
NUMBERS = {name: number for number, name in enumerate(_NAMES)}
ALL = (1 << len(_NAMES)) - 1
_DEFAULT = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
]


class UnknownCapabilityError(Exception):
    """A capability's name that Linux doesn't have."""


def capability_mask(add: list[str], drop: list[str], *, privileged: bool) -> int:
    """The set as a bit mask; adding wins over dropping, except with ALL, as in Docker.

    Raises UnknownCapabilityError for a name that Linux doesn't have.
    """
    if privileged:
        return ALL
    if not add and not drop:
        return _DEFAULT_MASK
    added = _mask([name for name in add if name.upper() != "ALL"])
    dropped = _mask([name for name in drop if name.upper() != "ALL"])
    if any(name.upper() == "ALL" for name in add):
        return ALL & ~dropped
    if any(name.upper() == "ALL" for name in drop):
        return added
    return _DEFAULT_MASK & ~dropped | added


def _mask(names: list[str]) -> int:
    mask = 0
    for name in names:
        number = NUMBERS.get(name.upper().removeprefix("CAP_"))
        if number is None:
            raise UnknownCapabilityError(f"unknown capability: {name!r}")
        mask |= 1 << number
    return mask


_DEFAULT_MASK = _mask(_DEFAULT)

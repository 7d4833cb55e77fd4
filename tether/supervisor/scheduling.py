"""How long the guest's kernel lets a process run before another's turn."""

from __future__ import annotations

import os

from tether.supervisor import kernelfile
from tether.supervisor.boot import TETHER_CGROUP, log
from tether.supervisor.failures import sentence
from tether.supervisor.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount, unmount

EMULATED = b"vic.emulated"
"""Word of the kernel's command line: the processor is emulated."""

_DEBUG = "/sys/kernel/debug"
_WEIGHT = f"{TETHER_CGROUP}/cpu.weight"
_OWN_WEIGHT = b"100"
_LEAST_WEIGHT = b"1"
# In nanoseconds; the kernel's own for one processor are 6, 0.75 and 1 ms, rounded up to its tick
# of 4. An emulator forgets at each change of process where it has the guest's memory and code,
# which costs it up to a millisecond: as much as a turn may then be worth. With these there are
# half as many from a container's launch to its end.
_TURNS = {
    "latency_ns": b"30000000",
    "min_granularity_ns": b"10000000",
    "wakeup_granularity_ns": b"15000000",
}


def lengthen_turns() -> None:
    """Let processes of an emulated machine have longer turns.

    A kernel that can't do that, which is another one than Debian's, goes on with its own; the
    console says so. Since Linux 5.13 these are files of debugfs, which nobody else gets to see.
    """
    if EMULATED not in kernelfile.take("/proc/cmdline").split():
        return
    try:
        mount("debugfs", _DEBUG, "debugfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        try:
            for name, nanoseconds in _TURNS.items():
                kernelfile.put(f"{_DEBUG}/sched/{name}", nanoseconds)
        finally:
            unmount(_DEBUG)
    except OSError as error:
        log(f"processes keep the kernel's own turns: {sentence(error)}")


def give_way() -> None:
    """Let the workload run until it waits or has had a turn; return at once where it waits already.

    Without a lower weight the kernel takes who yields, but was asleep before, for the next one all
    the same. A kernel without weights, which is another one than Debian's, goes on with us.
    """
    try:
        kernelfile.put(_WEIGHT, _LEAST_WEIGHT)
    except OSError:
        return
    try:
        os.sched_yield()
    finally:
        kernelfile.put(_WEIGHT, _OWN_WEIGHT)

"""How long the guest's kernel lets a process run, and how often it stops it for a page."""

from __future__ import annotations

from tether.supervisor import kernelfile
from tether.supervisor.boot import log
from tether.supervisor.failures import sentence
from tether.supervisor.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount, unmount

EMULATED = b"vic.emulated"
"""Word of the kernel's command line: the processor is emulated."""

_DEBUG = "/sys/kernel/debug"
# In nanoseconds; the kernel's own for one processor are 6, 0.75 and 1 ms, rounded up to its tick
# of 4. An emulator forgets at each change of process where it has the guest's memory and code,
# which costs it up to a millisecond: as much as a turn may then be worth. With these there are
# half as many from a container's launch to its end.
_TURNS = {
    "latency_ns": b"30000000",
    "min_granularity_ns": b"10000000",
    "wakeup_granularity_ns": b"15000000",
}
# How much of a file is mapped at a page fault, as far as it is in memory; the kernel's own is 64
# KiB. A fault is dear where it is emulated, and a child that was forked meets the interpreter's
# code anew: 335 faults until a process is executed with 1 MiB, 405 with 64 KiB.
_FAULT_AROUND_BYTES = b"262144"


def lengthen_turns() -> None:
    """Let processes of an emulated machine have longer turns, and more of a file at each fault.

    A kernel that can't do that, which is another one than Debian's, goes on with its own; the
    console says so. Since Linux 5.13 these are files of debugfs, which nobody else gets to see.
    """
    if EMULATED not in kernelfile.take("/proc/cmdline").split():
        return
    try:
        mount("debugfs", _DEBUG, "debugfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        try:
            kernelfile.put(f"{_DEBUG}/fault_around_bytes", _FAULT_AROUND_BYTES)
            for name, nanoseconds in _TURNS.items():
                kernelfile.put(f"{_DEBUG}/sched/{name}", nanoseconds)
        finally:
            unmount(_DEBUG)
    except OSError as error:
        log(f"processes keep the kernel's own turns: {sentence(error)}")

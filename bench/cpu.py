"""CPU time by cgroup or process: what one has spent, whatever else the machine does meanwhile."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

CGROUPS = Path("/sys/fs/cgroup")


def accounting() -> Path:
    """Return the hierarchy that accounts for CPU time. Raises SystemExit where there is none."""
    for candidate in (CGROUPS / "cpuacct", CGROUPS / "cpu,cpuacct", CGROUPS):
        if (candidate / "cgroup.procs").exists():
            return candidate
    raise SystemExit("no cgroup file system with CPU accounting is mounted")


def group_seconds(group: Path) -> float:
    """Return the CPU seconds of a group with all below it, ended processes included.

    Source: the kernel's documentation, cgroup-v1/cpuacct (ns) and cgroup-v2, cpu.stat (us).
    """
    if (group / "cpuacct.usage").exists():
        return int((group / "cpuacct.usage").read_text()) / 1e9
    if not group.exists():
        return 0.0
    for line in (group / "cpu.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            return int(value) / 1e6
    raise SystemExit(f"{group} tells no CPU time")


def process_seconds(pid: int) -> float:
    """Return the CPU seconds of a process, of user and system time. Source: proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def clients_seconds() -> float:
    """Return the CPU seconds of the processes that we have started and waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


class Account:
    """The CPU time of an engine: its services, and what they start."""

    def __init__(self, name: str, own_group: str = "") -> None:
        """``own_group`` is one that the engine makes for what it runs, beside its services."""
        root = accounting()
        self._root = root
        self._services = root / f"account-{os.getpid()}-{name}"
        self._groups = [self._services, *([root / own_group] if own_group else [])]

    def __enter__(self) -> Self:
        """Make the group of the services, which must have ended when this is left."""
        self._services.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the group."""
        self._services.rmdir()

    @contextmanager
    def charged(self) -> Iterator[None]:
        """Be in the services' group for a while, as is all that is started meanwhile."""
        own = str(os.getpid())
        (self._services / "cgroup.procs").write_text(own)
        try:
            yield
        finally:
            (self._root / "cgroup.procs").write_text(own)

    def seconds(self) -> float:
        """Return the seconds spent so far."""
        return sum(map(group_seconds, self._groups))

"""Limits of the VCH: how many containers there may be, and what the VMs that run may take.

They are kept before anything is made. What is counted is what VMs are given, not what they happen
to use: a container that uses all it was given can't take it from another.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vic.exec.v1 import exec_pb2

from portlayer.errors import InvalidArgument, Reason, ResourceExhausted

MIB = 1024 * 1024
# A VM that does little takes a tenth of what it is given, and the host's own bound on all VMs
# together (see hostagent) keeps one that takes all of it from taking the host down.
DEFAULT_OVERCOMMIT_PERCENT = 400
LEAST_OVERCOMMIT_PERCENT, MOST_OVERCOMMIT_PERCENT = 10, 10_000


@dataclass(frozen=True)
class Size:
    """What a VM is given."""

    memory_bytes: int
    cpus: int


@dataclass(frozen=True)
class Limits:
    """Zero means none."""

    containers: int = 0
    memory_bytes: int = 0
    cpus: int = 0
    storage_bytes: int = 0
    # Zero means the default.
    memory_overcommit_percent: int = 0

    @property
    def overcommit_percent(self) -> int:
        """What VMs may be given in all, in percent of the pool's memory."""
        return self.memory_overcommit_percent or DEFAULT_OVERCOMMIT_PERCENT

    def message(self) -> exec_pb2.Limits:
        """Return them as the contract's message."""
        return exec_pb2.Limits(
            containers=self.containers,
            memory_bytes=self.memory_bytes,
            cpus=self.cpus,
            storage_bytes=self.storage_bytes,
            memory_overcommit_percent=self.overcommit_percent,
        )

    def check(self, least: Size, pool_bytes: int, disk_bytes: int) -> None:
        """Return when such limits can be kept. Raises InvalidArgument (INVALID_REQUEST).

        ``least`` is what the smallest VM takes, ``disk_bytes`` a container's disk.
        """
        if self.memory_bytes and not least.memory_bytes <= self.memory_bytes <= pool_bytes:
            raise _invalid(
                f"the memory limit must be between {least.memory_bytes // MIB} MiB, the least that "
                f"a VM needs, and the {pool_bytes // MIB} MiB of the host"
            )
        if 0 < self.storage_bytes < disk_bytes:
            raise _invalid(
                f"the storage limit must be {disk_bytes // MIB} MiB, a container's disk, or more"
            )
        if not LEAST_OVERCOMMIT_PERCENT <= self.overcommit_percent <= MOST_OVERCOMMIT_PERCENT:
            raise _invalid("the memory overcommitment must be between 0.1 and 100 times")

    def admit_container(self, existing: int, disk_bytes: int) -> None:
        """Return when there may be one more container. Raises ResourceExhausted with figures."""
        if self.containers and existing >= self.containers:
            raise _exceeded(
                f"the container limit of this virtual container host is reached: "
                f"there are {existing} containers of {self.containers}"
            )
        taken = existing * disk_bytes
        if self.storage_bytes and taken + disk_bytes > self.storage_bytes:
            raise _exceeded(
                f"the storage limit of this virtual container host does not allow it: the "
                f"container's disk needs {disk_bytes // MIB} MiB, and {taken // MIB} MiB of "
                f"{self.storage_bytes // MIB} MiB are taken by containers"
            )

    def admit_vm(self, wanted: Size, pool_bytes: int, running: Iterable[Size] = ()) -> None:
        """Return when a VM may run beside others. Raises ResourceExhausted with the figures."""
        others = list(running)
        memory = sum(size.memory_bytes for size in others)
        cpus = sum(size.cpus for size in others)
        if self.memory_bytes and memory + wanted.memory_bytes > self.memory_bytes:
            raise _exceeded(
                f"the memory limit of this virtual container host does not allow it: the "
                f"container's VM needs {wanted.memory_bytes // MIB} MiB, and {memory // MIB} MiB "
                f"of {self.memory_bytes // MIB} MiB are taken by VMs that run"
            )
        most = pool_bytes * self.overcommit_percent // 100
        # A cluster whose hosts are all away has none: the platform itself says then what is wrong.
        if pool_bytes and memory + wanted.memory_bytes > most:
            raise _exceeded(
                f"the memory of the host, {pool_bytes // MIB} MiB overcommitted "
                f"{self.overcommit_percent / 100:g} times, does not allow it: the container's VM "
                f"needs {wanted.memory_bytes // MIB} MiB, and {memory // MIB} MiB of {most // MIB} "
                f"MiB are taken by VMs that run"
            )
        if self.cpus and cpus + wanted.cpus > self.cpus:
            raise _exceeded(
                f"the CPU limit of this virtual container host does not allow it: the "
                f"container's VM needs {wanted.cpus} CPUs, and {cpus} of {self.cpus} are taken "
                f"by VMs that run"
            )


def _exceeded(message: str) -> ResourceExhausted:
    return ResourceExhausted(message, Reason.LIMIT_EXCEEDED)


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_REQUEST)

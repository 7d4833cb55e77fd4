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
# Relative to other VCHs.
DEFAULT_SHARES = 100
LEAST_OVERCOMMIT_PERCENT, MOST_OVERCOMMIT_PERCENT = 10, 10_000


@dataclass(frozen=True)
class Size:
    """What a VM is given."""

    memory_bytes: int
    cpus: int


@dataclass(frozen=True)
class Pool:
    """The memory of the platform, and what of it other VCHs have reserved."""

    memory_bytes: int
    reserved_bytes: int = 0

    @property
    def free_bytes(self) -> int:
        """What the VMs of this VCH can have."""
        return max(0, self.memory_bytes - self.reserved_bytes)

    def __str__(self) -> str:
        told = f"{self.memory_bytes // MIB} MiB"
        if self.reserved_bytes:
            told += f" less {self.reserved_bytes // MIB} MiB that others have reserved"
        return told


@dataclass(frozen=True)
class Allocation:
    """What a VCH has of its platform where others want it too; zero means nothing, or default."""

    cpu_reservation_millis: int = 0
    memory_reservation_bytes: int = 0
    cpu_shares: int = 0
    memory_shares: int = 0
    # Whether the platform can keep memory for somebody.
    memory_protected: bool = False

    def message(self) -> exec_pb2.Allocation:
        """Return it as the contract's message."""
        return exec_pb2.Allocation(
            cpu_reservation_millis=self.cpu_reservation_millis,
            memory_reservation_bytes=self.memory_reservation_bytes,
            cpu_shares=self.cpu_shares or DEFAULT_SHARES,
            memory_shares=self.memory_shares or DEFAULT_SHARES,
            memory_protected=self.memory_protected,
        )


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

    def check_allocation(self, allocation: Allocation) -> None:
        """Return when so much can be reserved within the limits. Raises InvalidArgument."""
        reserved = allocation.memory_reservation_bytes
        if 0 < self.memory_bytes < reserved:
            raise _invalid(
                f"the memory reservation, {reserved // MIB} MiB, is above the memory limit of "
                f"{self.memory_bytes // MIB} MiB"
            )
        millis = allocation.cpu_reservation_millis
        if 0 < self.cpus * 1000 < millis:
            raise _invalid(
                f"the CPU reservation, {millis / 1000:g}, is above the CPU limit of {self.cpus}"
            )

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

    def admit_vm(self, wanted: Size, pool: Pool, running: Iterable[Size] = ()) -> None:
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
        if 0 < pool.memory_bytes < wanted.memory_bytes:
            # However much is promised in all, no kernel gives one process more than there is.
            raise _exceeded(
                f"the memory of the host, {pool.memory_bytes // MIB} MiB, does not allow it: the "
                f"container's VM needs {wanted.memory_bytes // MIB} MiB"
            )
        most = pool.free_bytes * self.overcommit_percent // 100
        # A cluster whose hosts are all away has none: the platform itself says then what is wrong.
        if pool.memory_bytes and memory + wanted.memory_bytes > most:
            raise _exceeded(
                f"the memory of the host, {pool} overcommitted "
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

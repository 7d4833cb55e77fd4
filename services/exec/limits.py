"""Limits of the VCH: how many containers there may be, and what the VMs that run may take.

They are kept before anything is made. What is counted is what VMs are given, not what they happen
to use: a container that uses all it was given can't take it from another.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vic.exec.v1 import exec_pb2

from portlayer.errors import Reason, ResourceExhausted

MIB = 1024 * 1024


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

    def message(self) -> exec_pb2.Limits:
        """Return them as the contract's message."""
        return exec_pb2.Limits(
            containers=self.containers, memory_bytes=self.memory_bytes, cpus=self.cpus
        )

    def admit_container(self, existing: int) -> None:
        """Return when there may be one more container. Raises ResourceExhausted with figures."""
        if self.containers and existing >= self.containers:
            raise _exceeded(
                f"the container limit of this virtual container host is reached: "
                f"there are {existing} containers of {self.containers}"
            )

    def admit_vm(self, wanted: Size, running: Iterable[Size] = ()) -> None:
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
        if self.cpus and cpus + wanted.cpus > self.cpus:
            raise _exceeded(
                f"the CPU limit of this virtual container host does not allow it: the "
                f"container's VM needs {wanted.cpus} CPUs, and {cpus} of {self.cpus} are taken "
                f"by VMs that run"
            )


def _exceeded(message: str) -> ResourceExhausted:
    return ResourceExhausted(message, Reason.LIMIT_EXCEEDED)

"""Limits of a container: which can be, and what they come to in its VM."""

import math
import re

from vic.exec.v1 import container_pb2
from vic.tether.v1 import process_pb2

from portlayer.errors import InvalidArgument, NotImplementedYet, Reason

# Docker's own minimum.
MINIMUM_MEMORY = 6 * 1024 * 1024
# The kernel's bounds of cpu.max, and Docker's of CPU shares (runc, libcontainer/cgroups).
SHORTEST_PERIOD_US, LONGEST_PERIOD_US, DEFAULT_PERIOD_US = 1_000, 1_000_000, 100_000
LEAST_SHARES, DEFAULT_SHARES, MOST_SHARES = 2, 1024, 262_144
_NANO = 10**9
# As dockerd bounds them: a list of all CPUs one by one is longer than one of ranges.
_LONGEST_SET = 4096
_LAST_CPU = 8191
_SHOWN = 32
_SET = re.compile(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*")
MOST_BLOCK_LIMITS = 64


def validate_resources(resources: container_pb2.Resources, *, cpus: int) -> None:
    """Return when limits can be on a host of so many CPUs.

    Raises InvalidArgument (INVALID_SPEC) in Docker's words, and NotImplementedYet.
    """
    _validate_memory(resources)
    _validate_cpus(resources, cpus)
    if resources.oom_kill_disable:
        raise NotImplementedYet(
            "OomKillDisable is not supported: the kernel's cgroup v2 always kills what would pass "
            "its memory limit",
            option="OomKillDisable",
        )
    if len(resources.block_limits) > MOST_BLOCK_LIMITS:
        raise _invalid(f"more than {MOST_BLOCK_LIMITS} devices with limits")
    for block in resources.block_limits:
        if not block.device.startswith("/dev/") or ".." in block.device:
            raise _invalid(f"invalid device path: {block.device!r}")


def _validate_memory(resources: container_pb2.Resources) -> None:
    memory, reservation = resources.memory_bytes, resources.memory_reservation_bytes
    if 0 < memory < MINIMUM_MEMORY:
        raise _invalid("Minimum memory limit allowed is 6MB")
    if 0 < resources.memory_swap_bytes < memory:
        raise _invalid("Minimum memoryswap limit should be larger than memory limit, see usage")
    if resources.memory_swap_bytes and not memory:
        raise _invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if resources.memory_swappiness > 100:
        raise _invalid(
            f"Invalid value: {resources.memory_swappiness}, valid memory swappiness range is 0-100"
        )
    if 0 < reservation < MINIMUM_MEMORY:
        raise _invalid("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise _invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )


def _validate_cpus(resources: container_pb2.Resources, cpus: int) -> None:
    period, quota = resources.cpu_period_us, resources.cpu_quota_us
    if resources.nano_cpus and period:
        raise _invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if resources.nano_cpus and quota:
        raise _invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    available = f"range of CPUs is from 0.01 to {cpus:.2f}, as there are only {cpus} CPUs available"
    if resources.nano_cpus > cpus * _NANO:
        raise _invalid(available)
    if period and not SHORTEST_PERIOD_US <= period <= LONGEST_PERIOD_US:
        raise _invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < SHORTEST_PERIOD_US:
        raise _invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if quota > cpus * (period or DEFAULT_PERIOD_US):
        raise _invalid(available)
    shares = resources.cpu_shares
    if 0 < shares < LEAST_SHARES:
        raise _invalid(f"the minimum allowed cpu-shares is {LEAST_SHARES}")
    if shares > MOST_SHARES:
        raise _invalid(f"the maximum allowed cpu-shares is {MOST_SHARES}")
    wanted = cpu_set(resources.cpuset_cpus, "cpuset cpus")
    if wanted and max(wanted) >= cpus:
        raise _invalid(
            f"Requested CPUs are not available - requested {resources.cpuset_cpus}, "
            f"available: {_range(cpus)}"
        )
    # A container VM has one memory node.
    if cpu_set(resources.cpuset_mems, "cpuset mems") - {0}:
        raise _invalid(
            "Requested memory nodes are not available - requested "
            f"{resources.cpuset_mems}, available: 0"
        )


def merge_resources(
    former: container_pb2.Resources, changes: container_pb2.Resources
) -> container_pb2.Resources:
    """Return limits after an update: what that leaves at zero stays.

    Raises InvalidArgument (INVALID_SPEC) in Docker's words where old and new contradict.
    """
    _check_conflicts(former, changes)
    merged = container_pb2.Resources()
    merged.CopyFrom(former)
    if changes.block_limits:
        # Repeated fields would be put one behind the other.
        merged.ClearField("block_limits")
    merged.MergeFrom(changes)
    if changes.memory_swap_unlimited:
        merged.memory_swap_bytes = 0
    elif changes.memory_swap_bytes:
        merged.memory_swap_unlimited = False
    # -1 took a limit away; to say so again is to say nothing.
    merged.pids_limit = max(0, merged.pids_limit)
    merged.cpu_quota_us = max(0, merged.cpu_quota_us)
    return merged


def _check_conflicts(former: container_pb2.Resources, changes: container_pb2.Resources) -> None:
    """Raise where an update would contradict what was set before. Source: moby, UpdateContainer."""
    if changes.nano_cpus and former.cpu_period_us:
        raise _invalid(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set"
        )
    if changes.nano_cpus and former.cpu_quota_us > 0:
        raise _invalid(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"
        )
    if former.nano_cpus and changes.cpu_quota_us > 0:
        raise _invalid(
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
        )
    if former.nano_cpus and changes.cpu_period_us:
        raise _invalid(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set"
        )
    swap = former.memory_swap_bytes
    if changes.memory_bytes > swap > 0 and not _says_swap(changes):
        raise _invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the "
            "memoryswap at the same time"
        )


def _says_swap(resources: container_pb2.Resources) -> bool:
    return bool(resources.memory_swap_bytes) or resources.memory_swap_unlimited


def cpu_set(text: str, what: str = "cpuset cpus") -> set[int]:
    """Read a list such as "0-2,4". Raises InvalidArgument in Docker's words."""
    if not text:
        return set()
    if len(text) > _LONGEST_SET:
        raise _invalid(f"Invalid value {text[:_SHOWN]}... for {what}")
    if not _SET.fullmatch(text):
        raise _invalid(f"Invalid value {text} for {what}")
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not int(first) <= int(last or first) <= _LAST_CPU:
            raise _invalid(f"Invalid value {text} for {what}")
        found.update(range(int(first), int(last or first) + 1))
    return found


def vcpus(resources: container_pb2.Resources) -> int:
    """Return how many CPUs a VM needs for what its container may use."""
    period = resources.cpu_period_us or DEFAULT_PERIOD_US
    return max(
        1,
        math.ceil(resources.nano_cpus / _NANO),
        math.ceil(max(0, resources.cpu_quota_us) / period),
        max(cpu_set(resources.cpuset_cpus), default=0) + 1,
    )


def workload_limits(resources: container_pb2.Resources) -> process_pb2.WorkloadLimits:
    """Return the limits of the workload's cgroup."""
    limits = process_pb2.WorkloadLimits(
        memory_bytes=resources.memory_bytes,
        memory_swap_bytes=resources.memory_swap_bytes,
        nano_cpus=resources.nano_cpus,
        pids=max(0, resources.pids_limit),
        memory_reservation_bytes=resources.memory_reservation_bytes,
        cpu_weight=_guest_weight(resources.cpu_shares),
        cpu_quota_us=max(0, resources.cpu_quota_us),
        cpu_period_us=resources.cpu_period_us,
        cpuset_cpus=resources.cpuset_cpus,
        cpuset_mems=resources.cpuset_mems,
        blocks=resources.block_limits,
    )
    if resources.HasField("memory_swappiness"):
        limits.swappiness = resources.memory_swappiness
    return limits


def host_weight(resources: container_pb2.Resources) -> int:
    """Return the VM's share of the host's CPUs relative to 100; zero for the default one."""
    shares = resources.cpu_shares
    return min(10_000, max(1, shares * 100 // DEFAULT_SHARES)) if shares else 0


def _guest_weight(shares: int) -> int:
    """cpu.weight for CPU shares, as runc turns 2 … 262144 into 1 … 10000; zero stays."""
    return 1 + (shares - LEAST_SHARES) * 9999 // (MOST_SHARES - LEAST_SHARES) if shares else 0


def _range(cpus: int) -> str:
    return "0" if cpus == 1 else f"0-{cpus - 1}"


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message, Reason.INVALID_SPEC)

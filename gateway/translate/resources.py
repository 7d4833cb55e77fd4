"""Limits of a container, as create and update ask for them."""

from collections.abc import Iterator

from vic.exec.v1.container_pb2 import Resources
from vic.tether.v1.process_pb2 import BlockLimit

from gateway.errors import bad_parameter, not_possible
from gateway.fields import Fields

BLOCK_FIELDS = {
    "BlkioDeviceReadBps": "read_bytes_per_second",
    "BlkioDeviceWriteBps": "write_bytes_per_second",
    "BlkioDeviceReadIOps": "read_operations_per_second",
    "BlkioDeviceWriteIOps": "write_operations_per_second",
}
_OWN_DISKS = "a container VM's disks are its own, so that there is nobody to weigh it against"
_TOO_MANY = 2**63
_CGROUP_V2 = "the kernel of a container's VM has cgroup v2, which has no such limit"


def read_resources(fields: Fields) -> Resources:
    """Read a request's limits. Raises 400 for nonsense, 501 naming what isn't implemented.

    What the facet refuses as well, in the same words, is left to it.
    """
    resources = Resources(
        memory_bytes=_positive(fields, "Memory", "Minimum memory limit allowed is 6MB"),
        memory_reservation_bytes=_positive(
            fields, "MemoryReservation", "Minimum memory reservation allowed is 6MB"
        ),
        # What is wrong with a negative number Docker says with the CPUs that there are, which exec
        # knows: as with too many.
        nano_cpus=number if (number := fields.number("NanoCpus")) >= 0 else _TOO_MANY,
        cpu_shares=_positive(fields, "CpuShares", "the minimum allowed cpu-shares is 2"),
        cpu_period_us=_positive(
            fields,
            "CpuPeriod",
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        # Docker takes every negative number for "no limit".
        cpu_quota_us=max(fields.number("CpuQuota"), -1),
        cpuset_cpus=fields.text("CpusetCpus"),
        cpuset_mems=fields.text("CpusetMems"),
        # Docker takes zero and every negative number for "no limit".
        pids_limit=_pids(fields.optional_number("PidsLimit")),
        oom_kill_disable=fields.flag("OomKillDisable"),
        block_limits=_block_limits(fields),
    )
    _read_swap(fields, resources)
    for name, asked in (
        ("BlkioWeight", fields.number("BlkioWeight")),
        ("BlkioWeightDevice", fields.objects("BlkioWeightDevice")),
    ):
        if asked:
            raise not_possible(fields.name_of(name), _OWN_DISKS)
    for name in ("KernelMemory", "KernelMemoryTCP", "CpuRealtimePeriod", "CpuRealtimeRuntime"):
        if fields.number(name):
            raise not_possible(fields.name_of(name), _CGROUP_V2)
    return resources


def _read_swap(fields: Fields, resources: Resources) -> None:
    swap = fields.number("MemorySwap")
    if swap < 0:
        resources.memory_swap_unlimited = True
    elif swap:
        resources.memory_swap_bytes = swap
    swappiness = fields.optional_number("MemorySwappiness")
    if swappiness is None or swappiness == -1:
        return
    if not 0 <= swappiness <= 100:
        raise bad_parameter(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    resources.memory_swappiness = swappiness


def _positive(fields: Fields, name: str, message: str) -> int:
    value = fields.number(name)
    if value < 0:
        raise bad_parameter(message)
    return value


def _pids(limit: int | None) -> int:
    """Zero where nothing was said, -1 for no limit."""
    if limit is None:
        return 0
    return limit if limit > 0 else -1


def _block_limits(fields: Fields) -> Iterator[BlockLimit]:
    limits: dict[str, BlockLimit] = {}
    for name, bound in BLOCK_FIELDS.items():
        for item in fields.objects(name):
            path, rate = item.text("Path"), item.number("Rate")
            item.finish()
            if rate < 0:
                raise bad_parameter(f"invalid rate for device {path}: it must not be negative")
            limit = limits.setdefault(path, BlockLimit(device=path))
            setattr(limit, bound, rate)
    return iter(limits.values())

"""The use of resources in Docker's shape, as dockerd gives it on a host with cgroup v2."""

from typing import Any

from vic.exec.v1.container_pb2 import Container
from vic.tether.v1.tether_pb2 import StatsSample

from gateway.translate.times import ZERO, rfc3339

# What a hostile guest says may be more than JSON's readers take.
_MOST = 2**64 - 1
_NO_COUNTERS = (
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


class StatsForm:
    """Writes one container's samples, each with the CPU time of the one before it."""

    def __init__(self, container: Container) -> None:
        self._names = {"id": container.id, "name": f"/{container.spec.name}"}
        self._before: StatsSample | None = None

    def json(self, sample: StatsSample | None) -> dict[str, Any]:
        """The next sample; None is what nothing runs in."""
        before, self._before = self._before, sample
        return {
            "name": self._names["name"],
            "id": self._names["id"],
            "read": ZERO if sample is None else rfc3339(sample.time),
            "preread": ZERO if before is None else rfc3339(before.time),
            "pids_stats": {} if sample is None else _pids(sample),
            "blkio_stats": _blocks(sample),
            "num_procs": 0,
            "storage_stats": {},
            "cpu_stats": _cpu(sample),
            "precpu_stats": _cpu(before),
            "memory_stats": {} if sample is None else _memory(sample),
            **({"networks": _networks(sample)} if sample and sample.interfaces else {}),
        }


def _pids(sample: StatsSample) -> dict[str, int]:
    return {"current": sample.pids, "limit": sample.pids_limit}


def _cpu(sample: StatsSample | None) -> dict[str, Any]:
    told = sample if sample is not None else StatsSample()
    cpu: dict[str, Any] = {
        "cpu_usage": {
            "total_usage": _nanoseconds(told.cpu_usage_us),
            "usage_in_kernelmode": _nanoseconds(told.cpu_system_us),
            "usage_in_usermode": _nanoseconds(told.cpu_user_us),
        },
    }
    if sample is not None:
        cpu["system_cpu_usage"] = _nanoseconds(told.system_cpu_us)
        cpu["online_cpus"] = told.online_cpus
    cpu["throttling_data"] = {
        "periods": told.cpu_periods,
        "throttled_periods": told.cpu_throttled_periods,
        "throttled_time": _nanoseconds(told.cpu_throttled_us),
    }
    return cpu


def _nanoseconds(microseconds: int) -> int:
    return min(microseconds * 1000, _MOST)


def _memory(sample: StatsSample) -> dict[str, Any]:
    return {
        "usage": sample.memory_bytes,
        "stats": dict(sorted(sample.memory_stat.items())),
        "limit": sample.memory_limit_bytes,
    }


def _blocks(sample: StatsSample | None) -> dict[str, Any]:
    entries = None
    if sample is not None:
        entries = [
            {"major": block.major, "minor": block.minor, "op": op, "value": value}
            for block in sample.blocks
            for op, value in (("read", block.read_bytes), ("write", block.write_bytes))
        ]
    return {"io_service_bytes_recursive": entries, **dict.fromkeys(_NO_COUNTERS)}


def _networks(sample: StatsSample) -> dict[str, Any]:
    return {
        interface.name: {
            "rx_bytes": interface.rx_bytes,
            "rx_packets": interface.rx_packets,
            "rx_errors": interface.rx_errors,
            "rx_dropped": interface.rx_dropped,
            "tx_bytes": interface.tx_bytes,
            "tx_packets": interface.tx_packets,
            "tx_errors": interface.tx_errors,
            "tx_dropped": interface.tx_dropped,
        }
        for interface in sample.interfaces
    }

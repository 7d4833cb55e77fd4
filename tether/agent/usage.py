"""What the workload uses of its VM, read from the kernel: cgroup v2, /proc/stat, /proc/net/dev.

The time of all CPUs is the clock's, times their number. /proc/stat counts it in timer interrupts,
of which an emulated CPU that is short of time misses many: a process would seem to use several.
"""

from __future__ import annotations

import time
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp
from vic.tether.v1.tether_pb2 import BlockStats, InterfaceStats, StatsSample

from tether.supervisor.boot import WORKLOAD_CGROUP

# The largest number of the contract's fields: no limit.
UNLIMITED = (1 << 64) - 1
_NANO = 1_000_000_000
_LOOPBACK = "lo"


class Usage:
    """Reads samples. What the kernel doesn't tell, for lack of a controller, stays zero."""

    def __init__(self, cgroup: Path = WORKLOAD_CGROUP, proc: Path = Path("/proc")) -> None:
        """``cgroup`` is the workload's."""
        self._cgroup = cgroup
        self._proc = proc

    def sample(self, init_pid: int) -> StatsSample:
        """The use up to now; ``init_pid`` is in the network namespace that counts."""
        now = time.time_ns()
        sample = StatsSample(time=Timestamp(seconds=now // _NANO, nanos=now % _NANO))
        self._add_cpu(sample)
        self._add_memory(sample)
        sample.pids = self._number("pids.current")
        sample.pids_limit = self._limit("pids.max") or UNLIMITED
        sample.interfaces.extend(self._interfaces(init_pid))
        sample.blocks.extend(self._blocks())
        return sample

    def _add_cpu(self, sample: StatsSample) -> None:
        told = self._table("cpu.stat")
        sample.cpu_usage_us = told.get("usage_usec", 0)
        sample.cpu_user_us = told.get("user_usec", 0)
        sample.cpu_system_us = told.get("system_usec", 0)
        sample.cpu_periods = told.get("nr_periods", 0)
        sample.cpu_throttled_periods = told.get("nr_throttled", 0)
        sample.cpu_throttled_us = told.get("throttled_usec", 0)
        lines = _read(self._proc / "stat").splitlines()
        # The first one is their sum.
        sample.online_cpus = max(1, sum(line.startswith("cpu") for line in lines) - 1)
        sample.system_cpu_us = time.monotonic_ns() // 1000 * sample.online_cpus

    def _add_memory(self, sample: StatsSample) -> None:
        sample.memory_bytes = self._number("memory.current")
        sample.memory_stat.update(self._table("memory.stat"))
        total = self._total_memory()
        sample.memory_limit_bytes = min(self._limit("memory.max") or total, total)

    def _total_memory(self) -> int:
        for line in _read(self._proc / "meminfo").splitlines():
            name, _, value = line.partition(":")
            if name == "MemTotal":
                return int(value.split()[0]) * 1024
        return 0

    def _interfaces(self, init_pid: int) -> list[InterfaceStats]:
        found = []
        for line in _read(self._proc / str(init_pid) / "net/dev").splitlines():
            name, colon, counters = line.partition(":")
            if not colon or name.strip() == _LOOPBACK:
                continue
            numbers = [int(value) for value in counters.split()]
            found.append(
                InterfaceStats(
                    name=name.strip(),
                    rx_bytes=numbers[0],
                    rx_packets=numbers[1],
                    rx_errors=numbers[2],
                    rx_dropped=numbers[3],
                    tx_bytes=numbers[8],
                    tx_packets=numbers[9],
                    tx_errors=numbers[10],
                    tx_dropped=numbers[11],
                )
            )
        return found

    def _blocks(self) -> list[BlockStats]:
        found = []
        for line in _read(self._cgroup / "io.stat").splitlines():
            device, *pairs = line.split()
            major, _, minor = device.partition(":")
            told = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            if not told or not (major.isdigit() and minor.isdigit()):
                continue
            found.append(
                BlockStats(
                    major=int(major),
                    minor=int(minor),
                    read_bytes=int(told.get("rbytes", 0)),
                    write_bytes=int(told.get("wbytes", 0)),
                    read_operations=int(told.get("rios", 0)),
                    write_operations=int(told.get("wios", 0)),
                )
            )
        return found

    def _table(self, name: str) -> dict[str, int]:
        lines = (line.split() for line in _read(self._cgroup / name).splitlines())
        return {key: int(value) for key, value in lines}

    def _number(self, name: str) -> int:
        text = _read(self._cgroup / name).strip()
        return int(text) if text else 0

    def _limit(self, name: str) -> int:
        """A limit; zero where there is none."""
        text = _read(self._cgroup / name).strip()
        return int(text) if text.isdigit() else 0


def _read(path: Path) -> str:
    """A file of the kernel's; nothing where the kernel doesn't have it, or no longer."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""

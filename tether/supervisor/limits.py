"""Limits of the workload's cgroup (cgroup v2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_CPU_PERIOD_US = 100_000
_NANO = 1_000_000_000


def apply_limits(cgroup: Path, limits: dict[str, Any]) -> None:
    """Set what is limited; zero stands for no limit of its own, as in WorkloadLimits."""
    memory = limits.get("memory_bytes", 0)
    if memory:
        (cgroup / "memory.max").write_text(str(memory))
        swap = max(limits.get("memory_swap_bytes", 0), memory) - memory
        (cgroup / "memory.swap.max").write_text(str(swap))
    nano_cpus = limits.get("nano_cpus", 0)
    if nano_cpus:
        quota = max(1000, nano_cpus * _CPU_PERIOD_US // _NANO)
        (cgroup / "cpu.max").write_text(f"{quota} {_CPU_PERIOD_US}")
    pids = limits.get("pids", 0)
    if pids:
        (cgroup / "pids.max").write_text(str(pids))

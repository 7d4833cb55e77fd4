"""Limits of the workload's cgroup (cgroup v2)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_CPU_PERIOD_US = 100_000
_NANO = 1_000_000_000
_NO_LIMIT = "max"
_DEFAULT_WEIGHT = 100
_SWAPPINESS = Path("/proc/sys/vm/swappiness")
_BLOCK_KEYS = ("rbps", "wbps", "riops", "wiops")


class LimitError(Exception):
    """A limit that can't be; the message says which, and why."""


class WorkloadLimits:
    """The limits that hold; those of WorkloadLimits in the contract, zero stands for none."""

    def __init__(self, cgroup: Path) -> None:
        """Nothing is limited yet in ``cgroup``."""
        self._cgroup = cgroup
        self._now: dict[str, str] = {}
        self._used = False
        self._blocks: dict[str, str] = {}

    def apply(self, limits: dict[str, Any]) -> None:
        """Set these limits in the place of the former ones. Raises LimitError; those hold then."""
        wanted = dict(settings(limits))
        if self._used:
            self._check_memory(wanted.get("memory.max", _NO_LIMIT))
        self._used = True
        blocks = dict(_block_settings(limits.get("blocks", [])))
        former, self._now = self._now, wanted
        try:
            self._write({**{name: _unset(name) for name in former}, **wanted})
            self._write_blocks({**dict.fromkeys(self._blocks, _no_block_limits()), **blocks})
            self._blocks = blocks
            if limits.get("swappiness") is not None:
                _SWAPPINESS.write_text(str(limits["swappiness"]))
        except OSError as error:
            self._restore(former, wanted)
            raise LimitError(f"{error.filename or 'cgroup'}: {error.strerror}") from error

    def _restore(self, former: dict[str, str], wanted: dict[str, str]) -> None:
        self._now = former
        for name, text in {**{name: _unset(name) for name in wanted}, **former}.items():
            # The file that refused the new text has its old one still.
            with suppress(OSError):
                (self._cgroup / name).write_text(text)

    def _write(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            (self._cgroup / name).write_text(text)

    def _write_blocks(self, blocks: dict[str, str]) -> None:
        # One device a write, as the kernel takes them.
        for device, text in blocks.items():
            (self._cgroup / "io.max").write_text(f"{device} {text}")

    def _check_memory(self, wanted: str) -> None:
        """Refuse a bound below what can't be given back, for which the kernel would kill."""
        if wanted == _NO_LIMIT:
            return
        kept = _unreclaimable((self._cgroup / "memory.stat").read_text())
        if kept > int(wanted):
            raise LimitError(
                f"unable to set memory limit to {wanted} (current usage that can't be reclaimed: "
                f"{kept})"
            )


def settings(limits: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """File of the cgroup and its text, for each limit that is set."""
    memory = limits.get("memory_bytes", 0)
    if memory:
        yield "memory.max", str(memory)
        swap = max(limits.get("memory_swap_bytes", 0), memory) - memory
        yield "memory.swap.max", str(swap)
    if limits.get("memory_reservation_bytes"):
        yield "memory.low", str(limits["memory_reservation_bytes"])
    if quota := _cpu_quota(limits):
        yield "cpu.max", quota
    if limits.get("cpu_weight"):
        yield "cpu.weight", str(limits["cpu_weight"])
    # The memory nodes first: the kernel wants some before CPUs mean anything.
    for name in ("mems", "cpus"):
        if limits.get(f"cpuset_{name}"):
            yield f"cpuset.{name}", limits[f"cpuset_{name}"]
    if limits.get("pids"):
        yield "pids.max", str(limits["pids"])


def _cpu_quota(limits: dict[str, Any]) -> str:
    nano_cpus = limits.get("nano_cpus", 0)
    if nano_cpus:
        return f"{max(1000, nano_cpus * _CPU_PERIOD_US // _NANO)} {_CPU_PERIOD_US}"
    quota, period = limits.get("cpu_quota_us", 0), limits.get("cpu_period_us", 0)
    if quota or period:
        return f"{quota or _NO_LIMIT} {period or _CPU_PERIOD_US}"
    return ""


def _unset(name: str) -> str:
    """What a file of the cgroup says before anything is limited."""
    if name.startswith("cpuset."):
        return "\n"
    if name == "cpu.weight":
        return str(_DEFAULT_WEIGHT)
    return "0" if name == "memory.low" else _NO_LIMIT


def _unreclaimable(memory_stat: str) -> int:
    """Bytes that no pressure gives back without swap. Source: the kernel's cgroup-v2.rst."""
    values = dict(line.split(" ", 1) for line in memory_stat.splitlines())
    names = ("anon", "shmem", "kernel")
    return sum(int(values.get(name, 0)) for name in names) - int(values.get("slab_reclaimable", 0))


def _block_settings(blocks: list[tuple[str, dict[str, int]]]) -> Iterator[tuple[str, str]]:
    for path, bounds in blocks:
        try:
            status = os.stat(path)
        except OSError as error:
            raise LimitError(f"{path}: {(error.strerror or '').lower()}") from error
        if not stat.S_ISBLK(status.st_mode):
            raise LimitError(f"{path} is not a block device of this container's machine")
        device = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        yield device, " ".join(f"{key}={bounds[key] or _NO_LIMIT}" for key in _BLOCK_KEYS)


def _no_block_limits() -> str:
    return " ".join(f"{key}={_NO_LIMIT}" for key in _BLOCK_KEYS)

"""Limits of the workload's cgroup, on files that take what the kernel's would."""

from __future__ import annotations

from pathlib import Path

import pytest

from tether.supervisor.limits import LimitError, WorkloadLimits
from tether.supervisor.surrounding import setting_path


def cgroup(tmp_path: Path, anon: int = 0) -> Path:
    (tmp_path / "memory.stat").write_text(
        f"anon {anon}\nfile 900\nkernel 30\nshmem 0\nslab_reclaimable 10\n"
    )
    return tmp_path


def read(group: Path, name: str) -> str:
    return (group / name).read_text().strip()


def test_what_is_set_and_then_taken_back(tmp_path: Path) -> None:
    group = cgroup(tmp_path)
    limits = WorkloadLimits(group)
    limits.apply(
        {
            "memory_bytes": 1000,
            "memory_swap_bytes": 1500,
            "memory_reservation_bytes": 500,
            "nano_cpus": 1_500_000_000,
            "cpu_weight": 20,
            "cpuset_cpus": "0-1",
            "pids": 5,
        }
    )
    names = "memory.max memory.swap.max memory.low cpu.max cpu.weight cpuset.cpus pids.max".split()
    assert [read(group, name) for name in names] == [
        *("1000", "500", "500", "150000 100000", "20", "0-1", "5"),
    ]
    limits.apply({"cpu_quota_us": 5000, "cpu_period_us": 10_000})
    assert [read(group, name) for name in names] == [
        *("max", "max", "0", "5000 10000", "100", "", "max"),
    ]


def test_a_period_alone_limits_nothing(tmp_path: Path) -> None:
    limits = WorkloadLimits(cgroup(tmp_path))
    limits.apply({"cpu_period_us": 10_000})
    assert read(tmp_path, "cpu.max") == "max 10000"


def test_memory_below_what_cannot_be_given_back_is_refused(tmp_path: Path) -> None:
    """The kernel would kill for it; page cache and what else can be reclaimed doesn't count."""
    limits = WorkloadLimits(cgroup(tmp_path, anon=700))
    limits.apply({"memory_bytes": 1000})
    with pytest.raises(LimitError, match=r"unable to set memory limit to 719 .*: 720\)"):
        limits.apply({"memory_bytes": 719})
    assert read(tmp_path, "memory.max") == "1000"
    limits.apply({"memory_bytes": 720})
    assert read(tmp_path, "memory.max") == "720"


def test_what_fails_leaves_the_former_limits(tmp_path: Path) -> None:
    limits = WorkloadLimits(cgroup(tmp_path))
    limits.apply({"memory_bytes": 1000})
    (tmp_path / "pids.max").mkdir()
    with pytest.raises(LimitError, match=r"pids\.max"):
        limits.apply({"memory_bytes": 2000, "pids": 3})
    (tmp_path / "pids.max").rmdir()
    assert read(tmp_path, "memory.max") == "1000"


def test_a_device_that_is_none(tmp_path: Path) -> None:
    bounds = {"rbps": 1, "wbps": 0, "riops": 0, "wiops": 0}
    for path, words in (("/dev/nosuch", "no such file"), ("/dev/null", "is not a block device")):
        with pytest.raises(LimitError, match=words):
            WorkloadLimits(cgroup(tmp_path)).apply({"blocks": [(path, bounds)]})


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.5/forwarding", "net/ipv4/conf/eth0.5/forwarding"),
        ("net.ipv4.conf.eth0/5.forwarding", "net/ipv4/conf/eth0.5/forwarding"),
    ],
)
def test_names_of_settings(name: str, path: str) -> None:
    assert setting_path(name) == path

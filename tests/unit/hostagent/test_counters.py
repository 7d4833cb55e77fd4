"""What machines have taken of the host, read from files as the kernel writes them."""

from dataclasses import replace
from pathlib import Path

import pytest

from hostagent.cgroups import Limits
from hostagent.counters import CounterReader
from hostagent.processes import ProcessName
from hostagent.records import PluggedNic
from tests.unit.hostagent.test_cgroups import V1, V2, Tree, groups
from tests.unit.hostagent.test_records import RECORD

PID, BEGAN = 4711, 98765
PLUGGED = PluggedNic(3, "vt7-0000ab", "02:42:00:00:00:02")
MACHINE = replace(RECORD, process=ProcessName(PID, BEGAN, "boot"), group="vm-1", plugged=(PLUGGED,))
# proc(5): the name may be anything; utime and stime are fields 14 and 15, starttime is 22.
STAT = f"{PID} (qemu) S 1 (x)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 3 0 {BEGAN} 1 2 3\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A process of two threads."""
    process = tmp_path / "proc" / str(PID)
    for thread, waited in ((PID, 2_000_000), (PID + 1, 500_000)):
        task = process / "task" / str(thread)
        task.mkdir(parents=True)
        (task / "schedstat").write_text(f"777 {waited} 12\n")
    (process / "stat").write_text(STAT)
    (process / "statm").write_text("1000 25 3 1 0 500 0\n")
    return tmp_path / "proc"


@pytest.fixture
def nics(tmp_path: Path) -> Path:
    """Two taps, of which one has carried something."""
    statistics = tmp_path / "net" / "vt7-0000aa" / "statistics"
    statistics.mkdir(parents=True)
    (statistics / "rx_bytes").write_text("100\n")
    (statistics / "tx_bytes").write_text("2000\n")
    return tmp_path / "net"


def cgroups(root: Path, mountinfo: str) -> Tree:
    root.mkdir()
    for name in ("memory", "cpu", "pids"):
        (root / name).mkdir()
    (root / "cgroup.controllers").write_text("cpu memory pids\n")
    made = groups(root, mountinfo)
    made.prepare(Limits())
    made.create("vm-1")
    return made


def test_a_machines_counters_are_those_of_its_process_its_group_and_its_taps(
    tmp_path: Path, proc: Path, nics: Path
) -> None:
    made = cgroups(tmp_path / "cgroup", V2)
    group = tmp_path / "cgroup/vic-0badcafe/vm-1"
    (group / "memory.current").write_text("5000\n")
    (told,) = CounterReader(made, proc, nics).read([MACHINE])
    assert (told.machine_id, told.launch_id) == ("m", "1")
    # 300 ticks of a hundredth of a second.
    assert told.cpu_ns == 3 * 10**9
    assert told.wait_ns == 2_500_000
    assert told.memory_bytes == 5000
    # What the tap sends its machine receives.
    assert (told.received_bytes, told.sent_bytes) == (2000, 100)


def test_version_1_has_its_own_file_for_memory(tmp_path: Path, proc: Path, nics: Path) -> None:
    made = cgroups(tmp_path / "cgroup", V1)
    group = tmp_path / "cgroup/memory/vic-0badcafe/vm-1"
    (group / "memory.usage_in_bytes").write_text("6000\n")
    (told,) = CounterReader(made, proc, nics).read([MACHINE])
    assert told.memory_bytes == 6000


def test_without_a_group_that_counts_memory_is_what_is_mapped(
    tmp_path: Path, proc: Path, nics: Path
) -> None:
    made = groups(tmp_path, "")
    for task in (proc / str(PID) / "task").iterdir():
        (task / "schedstat").unlink()
    (told,) = CounterReader(made, proc, nics).read([MACHINE])
    assert told.memory_bytes == 25 * 4096
    # A kernel without these statistics is not one on which nobody waits.
    assert told.wait_ns is None


def test_a_machine_that_has_ended_is_left_out(tmp_path: Path, proc: Path, nics: Path) -> None:
    made = groups(tmp_path, "")
    gone = replace(MACHINE, process=ProcessName(PID + 9, BEGAN, "boot"))
    # Its ID may be another process's by now.
    another = replace(MACHINE, process=ProcessName(PID, BEGAN + 1, "boot"))
    assert list(CounterReader(made, proc, nics).read([gone, another])) == []

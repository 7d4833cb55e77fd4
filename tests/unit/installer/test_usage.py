"""What `vic usage` prints."""

import json
import tempfile
from pathlib import Path

import pytest
from vic.exec.v1 import exec_pb2

from installer.errors import InstallerError
from installer.instance import Instance, default_options, save_instance
from installer.usage import Usage, read_usage

GIB = 1 << 30
INFO = exec_pb2.InfoResponse(
    vm_cpus=3,
    vm_memory_bytes=2 * GIB,
    cpus=8,
    memory_bytes=1010 * GIB,
    limits=exec_pb2.Limits(cpus=4, memory_bytes=8 * GIB),
)
WEB = exec_pb2.ContainerUsage(
    container_id="ab",
    name="web",
    seconds=1.004,
    given_memory_bytes=GIB,
    given_cpus=2,
    cpus_used=0.5,
    cpus_waited_for=0.25,
    memory_bytes=90 << 20,
    memory_active_bytes=1 << 20,
    disk_read_bytes_per_second=1536,
    sent_bytes_per_second=12,
)
DB = exec_pb2.ContainerUsage(
    container_id="cd",
    name="a-database-with-a-long-name",
    seconds=1.0,
    given_memory_bytes=GIB,
    given_cpus=1,
    cpus_used=0.75,
    memory_bytes=10 << 20,
)


def test_a_table_has_what_is_known_and_the_sums_beside_the_limits() -> None:
    lines = Usage(INFO, (DB, WEB)).to_text().splitlines()
    assert lines[1].split() == [
        *("a-database-with-a-long-…", "0.75", "-", "1", "10", "MiB", "-", "1", "GiB"),
        *("-", "-", "-", "-"),
    ]
    assert lines[2].split() == [
        *("web", "0.50", "0.25", "2", "90", "MiB", "1", "MiB", "1", "GiB"),
        *("1.5", "KiB", "-", "-", "12", "B"),
    ]
    assert lines[3].split()[:8] == ["(all)", "1.25", "0.25", "3", "100", "MiB", "1", "MiB"]
    assert lines[5] == (
        "given to VMs: 3 CPUs, 2 GiB; limits: 4 CPUs, 8 GiB; the hosts have 8 CPUs, 1010 GiB"
    )
    assert lines[6] == "averages over 1 s, as the hosts measure them"


def test_a_suite_that_was_never_up_is_told_to_be_started() -> None:
    # Short, as a data directory's path has to be.
    with tempfile.TemporaryDirectory(prefix="vic-") as name:
        data_dir = Path(name)
        # As `vic create` leaves one on a vCenter.
        save_instance(Instance(data_dir, "0a1b2c3d", 0, default_options(data_dir)))
        with pytest.raises(InstallerError, match="never up; start it with `vic up`"):
            read_usage(data_dir, 1)


def test_programs_read_the_contracts_names() -> None:
    told = json.loads(Usage(INFO, (DB,)).to_json())
    (usage,) = told["containers"]
    assert usage["cpus_used"] == 0.75
    assert usage["memory_bytes"] == 10 << 20
    assert "cpus_waited_for" not in usage
    assert told["limits"]["cpus"] == 4


def test_nothing_that_runs_is_no_error() -> None:
    text = Usage(exec_pb2.InfoResponse(), ()).to_text()
    assert "limits: no limit of CPUs, no limit of memory" in text

"""Records of machines, and names of processes."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hostagent.machine import Accelerator, MachineKind, Nic
from hostagent.processes import ExitStatus, ProcessName, WatchedProcess
from hostagent.records import PluggedNic, Record, RecordStore
from tests.unit.hostagent.machines import SHAPE

RECORD = Record(
    machine_id="m",
    launch_id="1",
    kind=MachineKind.CLONE,
    shape=SHAPE,
    shape_key="k",
    parent_id="p",
    accelerator=Accelerator.TCG,
    nics=(Nic("vt7-0000aa", "02:42:00:00:00:01"),),
    identity=b"\0opaque\xff",
    fingerprint="f",
    process=ProcessName(1, 2, "boot"),
    uid=1_900_001_001,
    group="vm-1900001001",
    qmp_path="/q.sock",
    incoming_uri="fd:9",
    config_peer=6,
    disk=(1, 2),
    launched_ns=3,
)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.save(RECORD)
    plugged = (PluggedNic(3, "vt7-0000ab", "02:42:00:00:00:02"),)
    other = replace(
        RECORD, machine_id="n", disk=None, tether_state="ready", plugged=plugged, surrounded=7
    )
    store.save(other)
    assert list(store.load()) == [RECORD, other]
    store.delete("n")
    store.delete("n")
    assert list(store.load()) == [RECORD]


def spawn(*command: str) -> int:
    """Start a program; whoever watches it reaps it."""
    return os.posix_spawnp(command[0], command, dict(os.environ))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1}'])
def test_a_record_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    assert list(RecordStore(tmp_path).load()) == [path]


async def test_a_name_is_of_one_process_only() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    name = ProcessName.of(process.pid)
    pidfd = name.open()
    assert pidfd is not None
    os.close(pidfd)
    assert replace(name, start_ticks=name.start_ticks - 1).open() is None
    assert replace(name, boot_id="another").open() is None
    process.kill()
    await process.wait()
    assert name.open() is None
    with pytest.raises(ProcessLookupError):
        ProcessName.of(process.pid)


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 3", ExitStatus(code=3)), ("kill -9 $$", ExitStatus(signal=9))],
)
async def test_the_end_of_a_process_calls_back_once(command: str, status: ExitStatus) -> None:
    ended: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
    pid = spawn("sh", "-c", command)
    watched = WatchedProcess(os.pidfd_open(pid), ended.set_result)
    async with asyncio.timeout(60):
        assert await ended == status
    assert watched.ended.is_set()
    watched.kill()
    watched.abandon()


async def test_a_process_that_is_let_go_runs_on() -> None:
    pid = spawn("sleep", "1000")
    watched = WatchedProcess(os.pidfd_open(pid), lambda _: pytest.fail("called"))
    watched.abandon()
    os.kill(pid, 0)
    again = WatchedProcess(os.pidfd_open(pid), lambda _: None)
    again.kill()
    await again.ended.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another process's descriptor")
async def test_a_descriptor_of_a_running_process_can_be_had_again() -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    pid = spawn("sleep", "1000")
    watched = WatchedProcess(os.pidfd_open(pid), lambda _: None)
    copy = watched.descriptor_of(write)
    os.close(write)
    os.write(copy, b"x")
    assert os.read(read, 1) == b"x"
    watched.kill()
    await watched.ended.wait()
    os.close(copy)
    os.close(read)

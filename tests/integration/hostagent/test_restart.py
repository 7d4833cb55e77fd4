"""The agent may be killed at any moment: machines run on, and nothing that happened is lost."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vic.hostagent.v1 import hostagent_pb2 as pb

from portlayer.errors import TurnLost
from portlayer.fencing import holding
from services.exec.drivers.qemu.qmp import connect
from tests.integration.hostagent.suite import BOOT_SECONDS, Suite, gone


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_machines_survive_the_agent_and_are_found_again(
    suite: Suite, number: signal.Signals
) -> None:
    machine = suite.machine("stay", identity=b"opaque")
    before = await suite.launch(machine)
    await suite.configured(machine.machine_id)
    await suite.stop(number)
    assert suite.processes() == [before.pid]
    await suite.start()
    (after,) = (await suite.stub.List(pb.ListRequest())).machines
    assert after.tether.state == pb.TETHER_STATE_CONFIGURED
    after.ClearField("tether")
    before.ClearField("tether")
    assert after == before
    assert await suite.launch(machine) == (await get(suite, machine))
    async with connect(after.qmp_path) as qmp:
        assert (await qmp.execute("query-status"))["running"]
    # Its uid stays its own.
    second = await suite.launch(suite.machine("stay"))
    assert second.uid != before.uid
    await suite.stub.Kill(pb.KillRequest(machine_id=machine.machine_id))
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.cause == pb.EXIT_CAUSE_KILLED
    assert suite.processes() == [second.pid]


async def test_an_exit_while_the_agent_is_away_is_told_with_its_record(suite: Suite) -> None:
    machine = suite.machine("record-stay")
    running = await suite.launch(machine)
    await suite.configured(machine.machine_id)
    record = suite.data_dir / "hostagent" / "exits" / machine.machine_id
    async with asyncio.timeout(BOOT_SECONDS):
        while not record.stat().st_size:
            await suite.stub.List(pb.ListRequest())
    await suite.stop(signal.SIGKILL)
    async with connect(running.qmp_path) as qmp:
        await qmp.execute("quit")
    await gone(running.pid)
    await suite.start()
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.exit_record == b"code 9\n"
    assert exited.exited.cause == pb.EXIT_CAUSE_FOUND_DEAD
    assert not exited.exited.HasField("exit_code")
    # Told again after the next restart, and not twice, until it is acknowledged.
    await suite.stop(signal.SIGKILL)
    await suite.start()
    assert await suite.event(machine.machine_id, "exited") == exited
    events = []
    async for response in suite.stub.Watch(pb.WatchRequest()):
        events.append(response.event)
        if response.event.sequence == exited.sequence:
            break
    assert [event.WhichOneof("kind") for event in events].count("exited") == 1


@contextlib.contextmanager
def full_disk(directory: Path) -> Iterator[Callable[[], None]]:
    """Put a directory on a disk that has no room until it is made by a call."""
    moved = directory.with_name("moved")
    subprocess.run(["cp", "-a", directory, moved], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", directory], check=True)
    try:
        subprocess.run(["cp", "-a", f"{moved}/.", directory], check=True)
        filling = directory / "filling"
        with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        yield filling.unlink
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_agent_begins_on_a_full_disk_and_tells_an_exit_when_there_is_room(
    suite: Suite, number: signal.Signals
) -> None:
    machine = suite.machine("stay")
    running = await suite.launch(machine)
    await suite.stop(number)
    os.kill(running.pid, signal.SIGKILL)
    await gone(running.pid)
    with full_disk(suite.data_dir / "hostagent") as make_room:
        await suite.start()
        (known,) = (await suite.stub.List(pb.ListRequest())).machines
        assert known.launch_id == running.launch_id
        make_room()
        exited = await suite.event(machine.machine_id, "exited")
        assert exited.exited.cause == pb.EXIT_CAUSE_FOUND_DEAD
        await suite.stop()


async def test_a_tether_is_heard_after_a_restart(suite: Suite) -> None:
    machine = suite.machine("stay")
    await suite.launch(machine)
    # It boots for two seconds: the agent is back before it reports.
    await suite.stop(signal.SIGKILL)
    await suite.start()
    await suite.configured(machine.machine_id)


async def test_the_agent_sweeps_only_what_is_provably_its_own(suite: Suite) -> None:
    await suite.stop()
    uid = suite.first_vm_uid + 7
    stranger = await asyncio.create_subprocess_exec("sleep", "1000", user=uid, group=uid)
    orphan = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        groups = [path for path in controllers() if (path / "cgroup.procs").exists()]
        for controller in groups:
            group = controller / f"vic-{suite.instance_id}" / "left-over"
            group.mkdir(parents=True)
            (group / "cgroup.procs").write_text(str(orphan.pid))
            other = controller / f"vic-{suite.instance_id}-x"
            other.mkdir()
        state = suite.data_dir / "hostagent"
        (state / "machines" / "damaged.json").write_text("{")
        (state / "qmp" / "0123456789abcdef.sock").touch()
        (state / "exits" / "nobody").touch()
        (state / "parents" / "half").mkdir()
        await suite.start()
        assert await orphan.wait() == -signal.SIGKILL
        assert stranger.returncode is None
        assert all((c / f"vic-{suite.instance_id}-x").exists() for c in groups)
        for name in ("machines", "qmp", "exits", "parents"):
            assert os.listdir(state / name) == [], name
    finally:
        for process in (stranger, orphan):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        for controller in groups:
            (controller / f"vic-{suite.instance_id}-x").rmdir()


async def test_a_record_of_an_earlier_boot_is_of_a_dead_machine(suite: Suite) -> None:
    machine = suite.machine("stay")
    running = await suite.launch(machine)
    await suite.stop()
    path = suite.data_dir / "hostagent" / "machines" / f"{machine.machine_id}.json"
    fields = json.loads(path.read_text())
    fields["process"]["boot_id"] = "another boot"
    path.write_text(json.dumps(fields))
    # Whoever has that process ID now is none of ours, were it not for the cgroup.
    await suite.start()
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.cause == pb.EXIT_CAUSE_HOST_RESTARTED
    # By that one it is ended; where there are none, here. Either way nothing is left of it.
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGKILL)
    await gone(running.pid)


async def test_who_is_late_ends_no_machine_also_after_a_restart(suite: Suite) -> None:
    machine = suite.machine("stay")
    kill = pb.KillRequest(machine_id=machine.machine_id)
    with holding(machine.machine_id, 7):
        running = await suite.launch(machine)
    with holding(machine.machine_id, 6), pytest.raises(TurnLost):
        await suite.stub.Kill(kill)
    await suite.stop(signal.SIGKILL)
    await suite.start()
    with holding(machine.machine_id, 6):
        with pytest.raises(TurnLost):
            await suite.stub.Kill(kill)
        with pytest.raises(TurnLost):
            await suite.launch(machine)
    assert (await get(suite, machine)).pid == running.pid
    with holding(machine.machine_id, 8):
        await suite.stub.Kill(kill)


async def get(suite: Suite, machine: pb.Machine) -> pb.RunningMachine:
    """Return a running machine."""
    return (await suite.stub.Get(pb.GetRequest(machine_id=machine.machine_id))).machine


def controllers() -> list[Path]:
    """Return the roots of all cgroup hierarchies that the agent may use."""
    return [Path("/sys/fs/cgroup") / name for name in ("memory", "pids", "cpu")]

"""Parents and clones: one memory, which nobody can change any more."""

import asyncio
import fcntl
import mmap
import os
import signal
import time

import pytest
from vic.hostagent.v1 import hostagent_pb2 as pb

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    NotFound,
    Reason,
    VicError,
)
from services.exec.drivers.qemu.parents import CAPABILITIES, Parents
from services.exec.drivers.qemu.qmp import connect
from tests.integration.hostagent.suite import BOOT_SECONDS, Suite, refusal

# The second is a socket's answer to open, before any question of permission.
REFUSALS = ("Permission denied", "No such device or address")


async def make_parent(suite: Suite) -> str:
    """Build a parent as exec does."""
    builder = Parents(suite.stub)
    try:
        return await builder.ready(suite.shape())
    finally:
        await builder.close()


async def clone(suite: Suite, parent_id: str, task: str) -> pb.RunningMachine:
    """Launch a clone and let it run."""
    machine = suite.machine(task, kind=pb.MACHINE_KIND_CLONE, parent_id=parent_id)
    running = await suite.launch(machine)
    async with connect(running.qmp_path) as qmp:
        await qmp.execute("migrate-set-capabilities", {"capabilities": CAPABILITIES})
        await qmp.execute("migrate-incoming", {"uri": running.incoming_uri})
        await qmp.wait_for_migration()
        await qmp.execute("cont")
    return running


async def test_clones_run_on_a_parents_memory_and_survive_its_removal(suite: Suite) -> None:
    parent_id = await make_parent(suite)
    (parent,) = (await suite.stub.ListParents(pb.ListParentsRequest())).parents
    assert (parent.state, parent.current) == (pb.PARENT_STATE_SEALED, True)
    began = time.perf_counter()
    clones = [await clone(suite, parent_id, "stay") for _ in range(3)]
    print(f"{(time.perf_counter() - began) / 3 * 1000:.0f} ms a clone")
    for running in clones:
        await suite.configured(running.machine_id)
        assert running.shape_key == parent.shape_key
    await suite.stub.RemoveParent(pb.RemoveParentRequest(parent_id=parent_id))
    finishing = await suite.event(clones[0].machine_id, "launched")
    assert finishing.launched.pid == clones[0].pid
    async with connect(clones[0].qmp_path) as qmp:
        assert (await qmp.execute("query-status"))["running"]
    with pytest.raises(NotFound):
        await clone(suite, parent_id, "stay")


async def test_a_clone_does_its_task_and_leaves_its_record(suite: Suite) -> None:
    parent_id = await make_parent(suite)
    running = await clone(suite, parent_id, "record")
    exited = await suite.event(running.machine_id, "exited")
    assert exited.exited.exit_record == b"code 7\n"
    for machine_id in (parent_id, running.machine_id):
        # QEMU says there what it will refuse one day.
        request = pb.GetConsoleRequest(machine_id=machine_id)
        assert b"deprecated" not in (await suite.stub.GetConsole(request)).data
    disk = await clone(suite, parent_id, "disk")
    assert (await suite.event(disk.machine_id, "exited")).exited.exit_code == 0


async def test_a_clone_that_ends_while_it_begins_is_told_at_once_and_may_boot_instead(
    suite: Suite,
) -> None:
    parent_id = await make_parent(suite)
    machine = suite.machine("record", kind=pb.MACHINE_KIND_CLONE, parent_id=parent_id)
    sound = machine.disk_chain[0]
    broken = suite.data_dir / "storage" / "containers" / "broken.vmdk"
    broken.write_bytes(b"KDMV" + bytes(4096))
    machine.disk_chain[0] = str(broken)
    async with asyncio.timeout(30):
        with pytest.raises(Internal, match="qemu-system") as refused:
            await suite.launch(machine)
    assert refused.value.reason == Reason.LAUNCH_FAILED
    assert not suite.processes()
    # Nobody has heard of it: the same start may go another way.
    machine.disk_chain[0] = sound
    machine.kind = pb.MACHINE_KIND_COLD
    machine.parent_id = ""
    await suite.launch(machine)
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.exit_record == b"code 7\n"


async def test_no_clone_can_change_the_parents_memory(suite: Suite) -> None:
    parent_id = await make_parent(suite)
    running = await clone(suite, parent_id, "stay")
    memory = memory_of(running.pid)
    wanted = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    # Not even root, with the very descriptor, can write, map it shared for writing, or unseal it.
    descriptor = os.open(memory, os.O_RDWR)
    try:
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == wanted
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        with pytest.raises(PermissionError):
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 0)
    finally:
        os.close(descriptor)


async def test_a_clone_fills_no_hole_of_its_parents_memory(suite: Suite) -> None:
    parent_id = await make_parent(suite)
    running = await clone(suite, parent_id, "record")
    memory = os.open(memory_of(running.pid), os.O_RDONLY)
    try:
        # It may have been here and there where a hole is too small to be worth a mapping.
        before = os.fstat(memory).st_blocks * 512
        await suite.event(running.machine_id, "exited")
        second = await clone(suite, parent_id, "disk")
        await suite.event(second.machine_id, "exited")
        assert os.fstat(memory).st_blocks * 512 - before < 1 << 20
    finally:
        os.close(memory)


async def test_a_machines_user_reaches_no_other_machines_process_or_files(suite: Suite) -> None:
    machines = [suite.machine("stay") for _ in range(2)]
    first, second = [await suite.launch(machine) for machine in machines]
    for path in (
        f"/proc/{second.pid}/mem",
        f"/proc/{second.pid}/root",
        f"/proc/{second.pid}/fd/3",
        machines[1].disk_chain[0],
        second.qmp_path,
        str(suite.data_dir / "hostagent" / "machines" / f"{second.machine_id}.json"),
        str(suite.data_dir / "pki" / "ca.key"),
    ):
        assert refusal(first.uid, "cat", path).endswith(REFUSALS), path
    assert "not permitted" in refusal(first.uid, "kill", "-9", str(second.pid))


async def test_a_parent_outlives_the_agent(suite: Suite) -> None:
    parent_id = await make_parent(suite)
    kept = suite.data_dir / "hostagent" / "parents" / parent_id / "parent.json"
    async with asyncio.timeout(BOOT_SECONDS):
        while not kept.exists():
            await suite.stub.Info(pb.InfoRequest())
    ram = kept.with_name("ram").stat()
    assert ram.st_size == 256 << 20
    assert ram.st_blocks * 512 < ram.st_size // 2
    await suite.stop(signal.SIGKILL)
    await suite.start()
    running = await clone(suite, parent_id, "record")
    exited = await suite.event(running.machine_id, "exited")
    assert exited.exited.exit_record == b"code 7\n"


async def test_a_parent_that_is_not_sealed_ends_with_the_agent(suite: Suite) -> None:
    shape = suite.shape()
    await suite.stub.CreateParent(pb.CreateParentRequest(parent_id="p", shape=shape))
    machine = pb.Machine(
        machine_id="p", launch_id="1", kind=pb.MACHINE_KIND_PARENT, shape=shape, parent_id="p"
    )
    running = await suite.launch(machine)
    with pytest.raises(FailedPrecondition):
        await suite.stub.RemoveParent(pb.RemoveParentRequest(parent_id="p"))
    with pytest.raises(FailedPrecondition):
        await clone(suite, "p", "stay")
    await suite.stop(signal.SIGKILL)
    await suite.start()
    exited = await suite.event("p", "exited")
    assert exited.exited.cause == pb.EXIT_CAUSE_KILLED
    assert running.pid not in suite.processes()
    assert not (await suite.stub.ListParents(pb.ListParentsRequest())).parents


async def test_parents_refuse_what_does_not_fit(suite: Suite) -> None:
    shape = suite.shape()
    first = await suite.stub.CreateParent(pb.CreateParentRequest(parent_id="p", shape=shape))
    again = await suite.stub.CreateParent(pb.CreateParentRequest(parent_id="p", shape=shape))
    assert first == again
    key = (await suite.stub.GetShape(pb.GetShapeRequest(shape=shape))).shape_key
    assert first.parent.shape_key == key
    other = suite.shape(memory_mib=512)
    with pytest.raises(AlreadyExists):
        await suite.stub.CreateParent(pb.CreateParentRequest(parent_id="p", shape=other))
    with pytest.raises(FailedPrecondition, match="created"):
        await suite.stub.SealParent(pb.SealParentRequest(parent_id="p", device_state=b"x"))
    with pytest.raises(FailedPrecondition, match="shape"):
        machine = suite.machine("stay", kind=pb.MACHINE_KIND_CLONE, parent_id="p", shape=other)
        await suite.launch(machine)
    with pytest.raises(VicError):
        await suite.stub.CreateParent(pb.CreateParentRequest(parent_id="../p", shape=shape))
    await suite.stub.RemoveParent(pb.RemoveParentRequest(parent_id="p"))
    await suite.stub.RemoveParent(pb.RemoveParentRequest(parent_id="p"))


def memory_of(pid: int) -> str:
    """Return the path of a machine's inherited RAM."""
    for link in os.scandir(f"/proc/{pid}/fd"):
        if "vic-parent-" in os.readlink(link.path):
            return link.path
    raise AssertionError("no memory of a parent")

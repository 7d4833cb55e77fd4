"""Machines that are kept ready: warmed up without a name, a container's at the moment of use."""

import asyncio
import hashlib
import os
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from vic.hostagent.v1 import hostagent_pb2 as pb

from portlayer.errors import FailedPrecondition, NotFound, VicError
from services.exec.drivers.qemu.parents import CAPABILITIES
from services.exec.drivers.qemu.qmp import connect
from tests.e2e.faults import Fault, striking
from tests.integration.hostagent.suite import BOOT_SECONDS, Suite, img, new_suite
from tests.integration.hostagent.test_instant_clone import make_parent

# One agent and one parent serve them all: a parent costs a boot.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(bootstrap: Path) -> AsyncIterator[Suite]:
    """An instance with a parent that outlives its agent."""
    async with new_suite(bootstrap, VIC_ACCELERATOR="tcg") as made:
        kept = made.data_dir / "hostagent" / "parents" / await make_parent(made) / "parent.json"
        async with asyncio.timeout(BOOT_SECONDS):
            while not kept.exists():
                await made.stub.Info(pb.InfoRequest())
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def suite(shared: Suite) -> AsyncIterator[Suite]:
    """The instance, whose machines end with each test."""
    yield shared
    await shared.kill_all()
    assert shared.processes() == []
    assert taps(shared, "v") == []


@pytest_asyncio.fixture(loop_scope="module")
async def parent_id(suite: Suite) -> str:
    """The parent."""
    (parent,) = (await suite.stub.ListParents(pb.ListParentsRequest())).parents
    return parent.parent_id


async def launch_ready(suite: Suite, parent_id: str) -> pb.RunningMachine:
    """Launch a machine that will wait; its CPUs don't run yet."""
    machine = pb.Machine(
        machine_id=f"ready-{secrets.token_hex(4)}",
        launch_id="1",
        kind=pb.MACHINE_KIND_READY,
        shape=suite.shape(),
        parent_id=parent_id,
    )
    return await suite.launch(machine)


async def warm(suite: Suite, running: pb.RunningMachine) -> None:
    """Let a machine warm up, and hold it then."""
    async with connect(running.qmp_path) as qmp:
        await qmp.execute("migrate-set-capabilities", {"capabilities": CAPABILITIES})
        await qmp.execute("migrate-incoming", {"uri": running.incoming_uri})
        await qmp.wait_for_migration()
        await qmp.execute("cont")
    async with asyncio.timeout(BOOT_SECONDS):
        async for response in suite.stub.Watch(pb.WatchRequest()):
            event = response.event
            if event.machine_id != running.machine_id:
                continue
            assert event.WhichOneof("kind") != "exited", event
            if event.reported.state == pb.TETHER_STATE_WARM:
                break
    async with connect(running.qmp_path) as qmp:
        await qmp.execute("stop")


async def use(suite: Suite, machine: pb.Machine, ready: pb.RunningMachine) -> pb.RunningMachine:
    """Make a machine that waits a container's, and let it run."""
    request = pb.LaunchRequest(machine=machine, ready_id=ready.machine_id)
    running = (await suite.stub.Launch(request)).machine
    async with connect(running.qmp_path) as qmp:
        await qmp.execute("cont")
    return running


async def test_a_ready_machine_becomes_a_containers_with_its_disk(
    suite: Suite, parent_id: str
) -> None:
    ready = await launch_ready(suite, parent_id)
    await warm(suite, ready)
    machine = suite.machine("disk", kind=pb.MACHINE_KIND_CLONE, parent_id=parent_id)
    running = await use(suite, machine, ready)
    assert (running.pid, running.uid) == (ready.pid, ready.uid)
    assert running.incoming_uri == ""
    assert running.nics == machine.nics
    exited = await suite.event(machine.machine_id, "exited")
    assert (exited.launch_id, exited.exited.exit_code) == (machine.launch_id, 0)
    # It has read what is in the base, and written to its own disk alone.
    begin = b"A" * 65536 + bytes(63 * 65536)
    digest = hashlib.md5(begin, usedforsecurity=False).hexdigest()
    assert f"disk {digest}" in await suite.console(machine.machine_id)
    own = suite.data_dir / "own.raw"
    img("convert", "-f", "vmdk", "-O", "raw", machine.disk_chain[0], str(own))
    with own.open("rb") as file:
        file.seek(2048 * 512)
        assert file.read(512).startswith(b"written by")


async def test_a_containers_machine_has_its_own_tap_and_the_record_of_its_exit(
    suite: Suite, parent_id: str
) -> None:
    ready = await launch_ready(suite, parent_id)
    await warm(suite, ready)
    assert taps(suite, "vt") == []
    assert len(taps(suite, "vr")) == 2
    machine = suite.machine("record-stay", kind=pb.MACHINE_KIND_CLONE, parent_id=parent_id)
    running = await use(suite, machine, ready)
    await suite.configured(machine.machine_id)
    assert taps(suite, "vt") == [nic.tap_name for nic in machine.nics]
    (listed,) = (await suite.stub.List(pb.ListRequest())).machines
    assert (listed.machine_id, listed.kind) == (machine.machine_id, pb.MACHINE_KIND_CLONE)
    # The same call again is the same launch, as ever.
    request = pb.LaunchRequest(machine=machine, ready_id=ready.machine_id)
    assert (await suite.stub.Launch(request)).machine.pid == running.pid
    with pytest.raises(NotFound):
        other = suite.machine("stay", kind=pb.MACHINE_KIND_CLONE, parent_id=parent_id)
        await use(suite, other, ready)
    record = suite.data_dir / "hostagent" / "exits" / machine.machine_id
    async with asyncio.timeout(BOOT_SECONDS):
        while not record.stat().st_size:
            await suite.stub.List(pb.ListRequest())
    # It survives the agent like any other.
    await suite.stop(signal.SIGKILL)
    await suite.start()
    assert suite.processes() == [running.pid]
    await suite.stub.Kill(pb.KillRequest(machine_id=machine.machine_id))
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.exit_record == b"code 9\n"
    assert taps(suite, "v") == []


async def test_a_ready_machine_ends_with_the_agent(suite: Suite, parent_id: str) -> None:
    ready = await launch_ready(suite, parent_id)
    await warm(suite, ready)
    await suite.stop(signal.SIGKILL)
    await suite.start()
    exited = await suite.event(ready.machine_id, "exited")
    assert exited.exited.cause == pb.EXIT_CAUSE_KILLED
    assert suite.processes() == []


async def test_what_a_ready_machine_cannot_become_leaves_it_as_it_was(
    suite: Suite, parent_id: str
) -> None:
    ready = await launch_ready(suite, parent_id)
    machine = suite.machine("record", kind=pb.MACHINE_KIND_CLONE, parent_id=parent_id)
    with pytest.raises(FailedPrecondition, match="warmed"):
        await use(suite, machine, ready)
    await warm(suite, ready)
    cold = suite.machine("record")
    with pytest.raises(FailedPrecondition, match="shape"):
        await use(suite, cold, ready)
    lost = suite.machine(
        "record",
        kind=pb.MACHINE_KIND_CLONE,
        parent_id=parent_id,
        disk_chain=[str(suite.data_dir / "storage" / "missing.vmdk")],
    )
    with pytest.raises(NotFound):
        await use(suite, lost, ready)
    await use(suite, machine, ready)
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.exit_record == b"code 7\n"


async def test_a_machine_whose_agent_died_as_it_became_a_containers_has_its_identity(
    suite: Suite, parent_id: str
) -> None:
    ready = await launch_ready(suite, parent_id)
    await warm(suite, ready)
    machine = suite.machine("record", kind=pb.MACHINE_KIND_CLONE, parent_id=parent_id)
    assert suite.agent is not None
    # At the first write to its journal the record is the container's already.
    with striking(suite.agent.pid, Fault("hostagent", 1, "pwrite64")), pytest.raises(VicError):
        await use(suite, machine, ready)
    await suite.stop(signal.SIGKILL)
    await suite.start()
    # Asked again, as exec asks: without the ready machine, which went with its agent.
    running = await suite.launch(machine)
    assert running.pid == ready.pid
    async with connect(running.qmp_path) as qmp:
        await qmp.execute("cont")
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.exit_record == b"code 7\n"


async def test_a_ready_machine_that_was_changed_half_way_is_ended(
    suite: Suite, parent_id: str
) -> None:
    ready = await launch_ready(suite, parent_id)
    await warm(suite, ready)
    other = await suite.launch(suite.machine("stay"))
    machine = suite.machine(
        "record",
        kind=pb.MACHINE_KIND_CLONE,
        parent_id=parent_id,
        nics=[pb.Nic(tap_name=other.nics[0].tap_name, mac_address="02:42:0a:00:00:06")],
    )
    with pytest.raises(VicError):
        await use(suite, machine, ready)
    await suite.event(ready.machine_id, "exited")
    assert suite.processes() == [other.pid]
    # What was asked for can be had the other way.
    machine.nics[0].tap_name = suite.tap()
    await suite.launch(machine)


def taps(suite: Suite, prefix: str) -> list[str]:
    """Return the taps of an instance."""
    begins = (f"{prefix}{suite.slot}-", f"vt{suite.slot}-", f"vr{suite.slot}-")
    wanted = begins[1:] if prefix == "v" else begins[0]
    return [name for name in os.listdir("/sys/class/net") if name.startswith(wanted)]

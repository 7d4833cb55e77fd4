"""VMs that end while their container starts, before interaction has taken their boot in."""

import asyncio

import pytest
from vic.network.v1 import network_pb2

from services.exec import starting
from services.exec.drivers import MachineExited
from services.exec.states import State
from tests.unit.exec.conftest import Facet
from tests.unit.exec.specs import SPEC
from tests.unit.exec.test_room import until


async def test_a_vm_that_ends_before_its_launch_is_taken_in_ends_the_start(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "RETIRE_AGAIN_SECONDS", 0.01)
    record = await facet.creator.create("", SPEC)
    facet.peers.take_launch.clear()
    facet.peers.answer_launch.clear()
    start = asyncio.create_task(facet.lifecycle.start(record.id))
    await until(lambda: bool(facet.hypervisor.launched))
    (boot_id,) = facet.hypervisor.launched
    ending = asyncio.create_task(
        facet.exits.machine_exited(MachineExited(record.id, boot_id, b"", "signal 9"))
    )
    await until(lambda: bool(facet.peers.retired))
    facet.peers.take_launch.set()
    async with asyncio.timeout(60):
        with pytest.raises(ExceptionGroup) as caught:
            await start
        await ending
    assert "the VM ended while it started" in str(caught.value.exceptions)


async def test_a_ready_clone_that_ends_before_its_launch_is_replaced_by_another_start(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await facet.creator.create("", SPEC)
    facet.hypervisor.ready = 1
    facet.hypervisor.tethers = ["ready-1"]
    bind = facet.peers.Bind

    async with asyncio.TaskGroup() as telling:

        async def ending(request: network_pb2.BindRequest) -> network_pb2.BindResponse:
            # It runs already, and can't mount its disk.
            monkeypatch.undo()
            (boot_id,) = facet.hypervisor.launched
            exited = MachineExited(record.id, boot_id, b"", "signal 9")
            telling.create_task(facet.exits.machine_exited(exited))
            await until(facet.exits.gone(boot_id).is_set)
            return await bind(request)

        monkeypatch.setattr(facet.peers, "Bind", ending)
        running = await facet.lifecycle.start(record.id)
    assert len(facet.hypervisor.launched) == 2
    assert set(facet.peers.boots.values()) == {running.boot_id}
    assert facet.peers.retired == []
    assert (await facet.containers.resolve(record.id)).state is State.RUNNING

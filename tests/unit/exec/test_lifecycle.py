"""What verbs do to a container, and that nothing is left when they fail."""

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from vic.exec.v1 import exec_pb2
from vic.network.v1 import network_pb2

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    Reason,
    Unavailable,
)
from services.exec.drivers import MachineExited
from services.exec.states import State
from services.exec.waiting import wait
from tests.unit.exec.conftest import Facet
from tests.unit.exec.fake_hypervisor import Standstill
from tests.unit.exec.specs import SPEC, kinds, spec


async def test_a_container_runs_and_ends(facet: Facet) -> None:
    container_id = await facet.run()
    record = await facet.containers.resolve(container_id)
    assert record.state is State.RUNNING
    assert record.pid == 4242
    await facet.peers.end(container_id, 7)
    await facet.exits.drain()
    record = await facet.containers.resolve(container_id)
    assert (record.state, record.exit_code, record.pid) == (State.EXITED, 7, 0)
    assert not facet.hypervisor.machines
    assert not facet.peers.bound
    assert await kinds(facet) == ["create", "start", "die"]


async def test_an_exit_is_recorded_once(facet: Facet) -> None:
    container_id = await facet.run()
    await asyncio.gather(*(facet.peers.end(container_id, 3) for _ in range(5)))
    await facet.exits.drain()
    assert (await kinds(facet)).count("die") == 1


async def test_a_vm_killed_behind_our_back_is_an_exit_with_137(facet: Facet) -> None:
    container_id = await facet.run()
    boot = facet.peers.boots[container_id]
    await facet.exits.machine_exited(MachineExited(container_id, boot, b"", "signal 9"))
    await facet.exits.drain()
    record = await facet.containers.resolve(container_id)
    assert (record.state, record.exit_code) == (State.EXITED, 137)


async def test_stop_asks_and_then_kills(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.stop(container_id, 5, "")
    assert [number for _, number in facet.peers.signals] == [15]
    facet.peers.exit_on = {9: 137}
    await facet.lifecycle.start(container_id)
    await facet.lifecycle.stop(container_id, 0.05, "INT")
    assert [number for _, number in facet.peers.signals] == [15, 2, 9]
    assert not facet.hypervisor.machines


async def test_stop_uses_the_containers_own_signal_and_timeout(facet: Facet) -> None:
    container_id = await facet.run(stop_signal="SIGUSR1", stop_timeout=Duration(nanos=1000))
    await facet.lifecycle.stop(container_id, None, "")
    assert [number for _, number in facet.peers.signals] == [10, 9]


async def test_a_kill_does_not_wait_for_a_stop(facet: Facet) -> None:
    container_id = await facet.run()
    facet.peers.exit_on = {9: 137}
    stop = asyncio.create_task(facet.lifecycle.stop(container_id, 60, ""))
    await facet.peers.signalled.wait()
    await facet.lifecycle.signal(container_id, "KILL")
    async with asyncio.timeout(60):
        record = await stop
    assert record.exit_code == 137


async def test_a_killed_container_can_be_removed_at_once(facet: Facet) -> None:
    container_id = await facet.run()
    facet.peers.exit_on = {}
    killing = asyncio.create_task(facet.lifecycle.signal(container_id, "KILL"))
    await facet.peers.signalled.wait()
    returned_before_the_exit, _ = await asyncio.wait({killing}, timeout=0.05)
    assert not returned_before_the_exit
    await facet.peers.end(container_id, 137)
    await killing
    await facet.lifecycle.remove(container_id, container_id, force=False)


async def test_rm_refuses_what_runs_unless_forced(facet: Facet) -> None:
    container_id = await facet.run("web")
    with pytest.raises(FailedPrecondition, match="container is running: stop the container"):
        await facet.lifecycle.remove(container_id, "web", force=False)
    await facet.lifecycle.remove(container_id, "web", force=True)
    await facet.exits.drain()
    assert facet.leftovers() == []
    with pytest.raises(NotFound, match="No such container: web"):
        await facet.containers.resolve("web")


async def test_auto_remove_happens_at_the_end(facet: Facet) -> None:
    container_id = await facet.run(auto_remove=True)
    waiting = wait(facet.containers, facet.events, container_id, exec_pb2.WAIT_CONDITION_REMOVED)
    assert (await anext(waiting)).HasField("waiting")
    await facet.peers.end(container_id, 5)
    async with asyncio.timeout(60):
        assert (await anext(waiting)).result.exit_code == 5
    assert facet.leftovers() == []


async def test_wait_for_the_next_exit_does_not_see_the_last_one(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.peers.end(container_id, 1)
    await facet.exits.drain()
    waiting = wait(facet.containers, facet.events, container_id, exec_pb2.WAIT_CONDITION_NEXT_EXIT)
    await anext(waiting)
    await facet.lifecycle.start(container_id)
    await facet.peers.end(container_id, 2)
    async with asyncio.timeout(60):
        assert (await anext(waiting)).result.exit_code == 2


async def test_a_name_is_free_after_rename_and_kept_beside_the_disk(facet: Facet) -> None:
    container_id = await facet.run("one")
    await facet.lifecycle.rename(container_id, "two")
    assert (await facet.containers.resolve("two")).id == container_id
    assert b"two" in facet.peers.disks[container_id]
    await facet.creator.create("", spec(name="one"))
    with pytest.raises(AlreadyExists):
        await facet.lifecycle.rename(container_id, "one")


async def test_pause_and_unpause(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.pause(container_id)
    assert facet.hypervisor.paused == {container_id}
    with pytest.raises(FailedPrecondition, match="is already paused"):
        await facet.lifecycle.pause(container_id)
    with pytest.raises(FailedPrecondition, match="try unpause instead"):
        await facet.lifecycle.start(container_id)
    await facet.lifecycle.unpause(container_id)
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING


async def test_an_exit_during_the_start_is_recorded_after_it(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.answer_launch.clear()
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await facet.peers.launched.wait()
    ending = asyncio.create_task(facet.peers.end(record.id, 3))
    early, _ = await asyncio.wait({ending}, timeout=0.05)
    assert not early
    facet.peers.answer_launch.set()
    assert (await starting).state is State.RUNNING
    await ending
    await facet.exits.drain()
    ended = await facet.containers.resolve(record.id)
    assert (ended.state, ended.exit_code, ended.pid) == (State.EXITED, 3, 0)
    assert ended.started_ns > 0
    assert await kinds(facet) == ["create", "start", "die"]


async def test_a_process_shorter_than_its_launch_has_run(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.answer_launch.clear()
    facet.peers.ran = True
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await facet.peers.launched.wait()
    boot_id = facet.peers.boots[record.id]
    exited = MachineExited(record.id, boot_id, b'{"exit_code": 5}', "")
    ending = asyncio.create_task(facet.exits.machine_exited(exited))
    async with asyncio.timeout(60):
        assert (await starting).state is State.RUNNING
        await ending
    await facet.exits.drain()
    assert (await facet.containers.resolve(record.id)).exit_code == 5


async def test_an_exit_changes_nothing_but_what_it_says(facet: Facet) -> None:
    container_id = await facet.run("old")
    stale = await facet.containers.resolve(container_id)
    await facet.lifecycle.rename(container_id, "new")
    assert await facet.containers.end(stale, [])
    assert (await facet.containers.resolve(container_id)).name == "new"
    assert not await facet.containers.end(stale, [])


async def test_a_stop_takes_the_vm_down_once(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.stop(container_id, 5, "")
    await facet.exits.drain()
    assert facet.peers.powered_off == [container_id]
    assert len(facet.peers.retired) == 1


async def test_a_stop_that_fails_leaves_the_container_running(facet: Facet) -> None:
    container_id = await facet.run()
    facet.peers.failing["Signal"] = Unavailable("interaction is away")
    with pytest.raises(Unavailable):
        await facet.lifecycle.stop(container_id, 5, "")
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING
    await facet.lifecycle.stop(container_id, 5, "")


async def test_a_pause_that_fails_leaves_the_container_running(facet: Facet) -> None:
    container_id = await facet.run()
    facet.hypervisor.failing["pause"] = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await facet.lifecycle.pause(container_id)
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING
    assert "pause" not in await kinds(facet)


async def test_a_rename_that_fails_changes_nothing(facet: Facet) -> None:
    container_id = (await facet.creator.create("", spec(name="one"))).id
    await facet.creator.create("", spec(name="two"))
    before = facet.peers.disks[container_id]
    facet.peers.failing["PutSpecification"] = Unavailable("storage is away")
    with pytest.raises(Unavailable):
        await facet.lifecycle.rename(container_id, "three")
    facet.peers.failing["Rename"] = Unavailable("network is away")
    with pytest.raises(Unavailable):
        await facet.lifecycle.rename(container_id, "three")
    with pytest.raises(AlreadyExists):
        await facet.lifecycle.rename(container_id, "two")
    assert (await facet.containers.resolve("one")).id == container_id
    assert facet.peers.disks[container_id] == before
    assert facet.peers.names[container_id] == "one"


async def test_networks_never_hear_of_a_name_that_is_anothers(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await facet.run("db")
    web = await facet.run("web")
    told = []

    async def hear(request: network_pb2.RenameRequest) -> None:
        told.append(request.container_name)

    monkeypatch.setattr(facet.peers, "Rename", hear)
    with pytest.raises(AlreadyExists, match="already in use"):
        await facet.lifecycle.rename(web, "db")
    assert told == []


async def test_networks_know_a_renamed_container_by_its_new_name(facet: Facet) -> None:
    container_id = (await facet.creator.create("", spec(name="one"))).id
    await facet.lifecycle.rename(container_id, "two")
    assert facet.peers.names == {container_id: "two"}


async def test_a_forced_removal_waits_for_no_stop(facet: Facet) -> None:
    container_id = await facet.run()
    facet.peers.exit_on = {}
    stopping = asyncio.create_task(facet.lifecycle.stop(container_id, 60, ""))
    await facet.peers.signalled.wait()
    async with asyncio.timeout(60):
        await facet.lifecycle.remove(container_id, container_id, force=True)
        await stopping
    assert facet.leftovers() == []


async def test_a_forced_removal_waits_for_no_guest_that_hangs(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.answer_launch.clear()
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await facet.peers.launched.wait()
    async with asyncio.timeout(60):
        await facet.lifecycle.remove(record.id, record.id, force=True)
        with pytest.raises(Unavailable, match="ended while it started"):
            await starting
    assert facet.leftovers() == []


async def test_a_forced_removal_ends_a_start_for_good(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await facet.creator.create("", SPEC)
    loading, killed = asyncio.Event(), asyncio.Event()
    destroy = facet.hypervisor.destroy

    async def load(container_id: str, boot_id: str) -> None:
        loading.set()
        await killed.wait()
        raise Unavailable("the VM could not be cloned: it is gone", Reason.CLONE_FAILED)

    async def kill(*args: Any, **kwargs: Any) -> None:
        await destroy(*args, **kwargs)
        killed.set()

    monkeypatch.setattr(facet.hypervisor, "load", load)
    monkeypatch.setattr(facet.hypervisor, "destroy", kill)
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await loading.wait()
    async with asyncio.timeout(60):
        await facet.lifecycle.remove(record.id, record.id, force=True)
        with pytest.raises(Unavailable, match="ended while it started"):
            await starting
    assert len(facet.hypervisor.launched) == 1, "it is not booted instead"
    assert facet.leftovers() == []


async def test_a_forced_removal_before_there_is_a_vm_lets_none_run(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await facet.creator.create("", SPEC)
    standstill, destroyed, destroy = Standstill(), asyncio.Event(), facet.hypervisor.destroy
    facet.hypervisor.standstills.append(standstill)

    async def kill(*args: Any, **kwargs: Any) -> None:
        await destroy(*args, **kwargs)
        destroyed.set()

    monkeypatch.setattr(facet.hypervisor, "destroy", kill)
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await standstill.reached.wait()
    removing = asyncio.create_task(facet.lifecycle.remove(record.id, record.id, force=True))
    async with asyncio.timeout(60):
        await destroyed.wait()
        standstill.over.set()
        await removing
        with pytest.raises(Unavailable, match="ended while it started"):
            await starting
    assert not facet.peers.launched.is_set()
    assert facet.leftovers() == []


@pytest.mark.parametrize("verb", ["stop", "restart"])
async def test_a_second_stop_takes_no_longer_than_it_was_asked_to(facet: Facet, verb: str) -> None:
    container_id = await facet.run()
    facet.peers.exit_on = {9: 137}
    first = asyncio.create_task(facet.lifecycle.stop(container_id, -1, ""))
    await facet.peers.signalled.wait()
    async with asyncio.timeout(60):
        if verb == "restart":
            restarted = await facet.lifecycle.restart(container_id, 0, "")
            assert restarted.state is State.RUNNING
        else:
            with pytest.raises(FailedPrecondition) as done:
                await facet.lifecycle.stop(container_id, 0.01, "")
            assert done.value.reason is Reason.ALREADY_DONE
        assert (await first).exit_code == 137
    assert [number for _, number in facet.peers.signals] == [15, 15, 9]

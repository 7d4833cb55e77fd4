"""Listing and comparing repairs what a crash leaves."""

from dataclasses import replace

import pytest
from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2

from services.exec import reconcile
from services.exec.states import State
from tests.unit.exec.conftest import Facet


async def test_what_nobody_owns_is_removed(facet: Facet) -> None:
    record = await facet.creator.create("", container_pb2.ContainerSpec(image="busybox"))
    await facet.containers.delete(record.id)
    facet.peers.disks[record.id] = b""
    facet.hypervisor.machines["dd" * 32] = "boot"
    await facet.reconciler.reconcile()
    assert facet.leftovers() == []


async def test_addresses_of_clones_go_when_these_are_gone_for_a_while(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, gone = "ready-00112233445566aa", "ready-00112233445566bb"
    for name in (there, gone):
        await facet.peers.Reserve(network_pb2.ReserveRequest(container_id=name))
    facet.hypervisor.clones_there.add(there)
    # It may be about to be there, or just have become a container's: looked at again soon.
    assert not await facet.reconciler.reconcile()
    assert set(facet.peers.reservations) == {there, gone}
    monkeypatch.setattr(reconcile, "FORSAKEN_SECONDS", 0.0)
    assert await facet.reconciler.reconcile()
    assert set(facet.peers.reservations) == {there}


async def test_a_lost_database_is_rebuilt_from_beside_the_disks(facet: Facet) -> None:
    running = await facet.run("web")
    await facet.lifecycle.restart(running, None, "")
    await facet.lifecycle.pause(await facet.run("held"))
    stopped = await facet.creator.create(
        "", container_pb2.ContainerSpec(image="busybox", name="stopped")
    )
    ended = await facet.run("ended")
    await facet.peers.end(ended, 3)
    await facet.exits.drain()
    before = {record.id: record for record in await facet.containers.select()}
    for container_id in before:
        await facet.containers.delete(container_id)
    await facet.reconciler.reconcile()
    after = {record.id: record for record in await facet.containers.select()}
    # All but what only the database has; the end of a run before is kept through the next one.
    assert before[running].started_ns
    assert before[running].finished_ns
    assert after == {i: replace(r, vm=None) for i, r in before.items()}
    assert {r.name: r.state.word for r in after.values()} == {
        "web": "running",
        "stopped": "created",
        "ended": "exited",
        "held": "paused",
    }
    assert stopped.id in after
    await facet.peers.end(running, 4)
    await facet.exits.drain()
    assert (await facet.containers.resolve("web")).exit_code == 4


async def test_a_running_record_without_a_vm_has_exited(facet: Facet) -> None:
    container_id = await facet.run()
    facet.hypervisor.machines.clear()
    facet.exits.caught_up = True
    # How it ended may be on its way, the first time that it is missed.
    assert not await facet.reconciler.reconcile()
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING
    assert await facet.reconciler.reconcile()
    await facet.exits.drain()
    record = await facet.containers.resolve(container_id)
    assert (record.state, record.exit_code) == (State.EXITED, 137)


async def test_an_interrupted_create_is_undone(facet: Facet) -> None:
    record = await facet.creator.create(
        "", container_pb2.ContainerSpec(image="busybox", name="half")
    )
    await facet.containers.delete(record.id)
    await facet.containers.reserve(record)
    await facet.reconciler.reconcile()
    assert facet.leftovers() == []
    assert await facet.containers.reserved_ids() == set()


async def test_an_interrupted_start_is_undone(facet: Facet) -> None:
    record = await facet.creator.create("", container_pb2.ContainerSpec(image="busybox"))
    await facet.containers.update(replace(record, state=State.STARTING, boot_id="b"))
    facet.hypervisor.machines[record.id] = "b"
    await facet.reconciler.reconcile()
    assert not facet.hypervisor.machines
    assert (await facet.containers.resolve(record.id)).state is State.CREATED


async def test_what_is_right_stays(facet: Facet) -> None:
    container_id = await facet.run()
    for _ in range(2):
        await facet.reconciler.reconcile()
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING
    assert facet.peers.bound == {container_id}


async def test_what_ended_while_its_record_was_lost_obeys_its_policy(facet: Facet) -> None:
    policy = {"condition": container_pb2.RESTART_CONDITION_ALWAYS}
    gone = await facet.run("gone")
    await facet.lifecycle.restart(gone, None, "")
    again = await facet.run("again", restart_policy=policy)
    await facet.exits.drain()
    for container_id in (gone, again):
        await facet.containers.delete(container_id)
    facet.hypervisor.machines.clear()
    await facet.reconciler.reconcile()
    record = await facet.containers.resolve("gone")
    assert (record.state, record.exit_code) == (State.EXITED, 137)
    record = await facet.containers.resolve("again")
    assert (record.state, record.restart_count) == (State.RESTARTING, 1)
    await facet.lifecycle.start_again(again)
    assert (await facet.containers.resolve("again")).state is State.RUNNING

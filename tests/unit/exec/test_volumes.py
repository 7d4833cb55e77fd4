"""Volumes in a container's life: reserved, attached, flushed, given back, also after a crash."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from vic.exec.v1 import container_pb2

from portlayer.errors import (
    FailedPrecondition,
    NotFound,
    Reason,
    Unavailable,
    VicError,
    leaf_error,
)
from services.exec.states import State
from tests.unit.exec.conftest import Facet, turns
from tests.unit.exec.specs import spec

MOUNT = container_pb2.Mount(kind=container_pb2.MOUNT_KIND_VOLUME, source="data", target="/data")


async def run(facet: Facet, **fields: Any) -> str:
    return await facet.run(mounts=[MOUNT], **fields)


async def test_a_volume_is_reserved_attached_and_given_back(facet: Facet) -> None:
    volumes = facet.peers.volumes
    record = await facet.creator.create("", spec(mounts=[MOUNT], volumes=["/anonymous"]))
    uses = volumes.reserved[record.id]
    assert [(use.name == "data", use.target) for use in uses] == [
        (True, "/data"),
        (False, "/anonymous"),
    ]
    assert volumes.attached == {}
    running = await facet.lifecycle.start(record.id)
    assert volumes.attached == {record.id: running.boot_id}
    await facet.peers.end(record.id, 0)
    await facet.exits.drain()
    assert facet.peers.powered_off == [record.id]
    assert volumes.attached == {}
    assert record.id in volumes.reserved, "from the creation to the removal"
    await facet.lifecycle.remove(record.id, record.id, force=False, volumes=True)
    assert volumes.released == [(record.id, True)]


async def test_anonymous_volumes_stay_unless_they_are_asked_to_go(facet: Facet) -> None:
    record = await facet.creator.create("", spec(volumes=["/v"]))
    await facet.lifecycle.remove(record.id, record.id, force=False)
    assert facet.peers.volumes.released == [(record.id, False)]


async def test_a_container_that_is_removed_by_itself_flushes_its_volumes_first(
    facet: Facet,
) -> None:
    plain = await facet.run(auto_remove=True)
    container_id = await run(facet, auto_remove=True)
    for one in (plain, container_id):
        await facet.peers.end(one, 0)
    await facet.exits.drain()
    assert facet.peers.powered_off == [container_id]
    assert facet.peers.volumes.released == [(container_id, True)]
    assert facet.leftovers() == []


@pytest.mark.parametrize("paused", [False, True])
async def test_a_forced_removal_flushes_volumes_first(facet: Facet, paused: bool) -> None:
    container_id = await run(facet)
    if paused:
        await facet.lifecycle.pause(container_id)
    await facet.lifecycle.remove(container_id, container_id, force=True)
    assert facet.peers.powered_off == [container_id]
    assert facet.hypervisor.paused == set()
    await facet.exits.drain()
    assert facet.leftovers() == []


async def test_a_volume_that_another_writes_refuses_the_start(facet: Facet) -> None:
    record = await facet.creator.create("", spec(mounts=[MOUNT]))
    message = "volume data is attached to container x"
    refusal = FailedPrecondition(message, Reason.VOLUME_ATTACHED)
    facet.peers.volumes.failing["Attach"] = refusal
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - a group, or the error alone
        await facet.lifecycle.start(record.id)
    assert leaf_error(caught.value) is refusal
    after = await facet.containers.resolve(record.id)
    assert (after.state, after.error) == (State.CREATED, message)
    await facet.lifecycle.start(record.id)


async def test_a_start_waits_for_the_volumes_of_one_that_has_ended(facet: Facet) -> None:
    volumes = facet.peers.volumes
    first = await run(facet)
    second = await facet.creator.create("", spec(mounts=[MOUNT]))
    holder = await facet.containers.resolve(first)
    with pytest.raises((VicError, ExceptionGroup)):
        await facet.lifecycle.start(second.id)
    # Its process has ended, and its VM is about to go.
    async with facet.turns.turn(first):
        await facet.peers.end(first, 0)
        starting = asyncio.create_task(facet.lifecycle.start(second.id))
        done, _ = await asyncio.wait({starting}, timeout=0.1)
        assert not done
        assert volumes.attached == {first: holder.boot_id}
    async with asyncio.timeout(60):
        running = await starting
    assert volumes.attached == {second.id: running.boot_id}


@pytest.mark.parametrize("step", ["create", "load", "run"])
async def test_a_start_that_fails_gives_its_volumes_back(facet: Facet, step: str) -> None:
    record = await facet.creator.create("", spec(mounts=[MOUNT]))
    facet.hypervisor.failing[step] = Unavailable("broken", Reason.HYPERVISOR_FAILED)
    with pytest.raises((VicError, ExceptionGroup)):
        await facet.lifecycle.start(record.id)
    assert facet.peers.volumes.attached == {}
    assert not facet.hypervisor.machines


async def test_volumes_of_a_vm_that_may_run_are_kept_for_it(facet: Facet) -> None:
    record = await facet.creator.create("", spec(mounts=[MOUNT]))
    facet.peers.failing["Bind"] = Unavailable("network is away")
    away = Unavailable("the host agent is away")

    async def destroy(*_: object, **__: object) -> None:
        raise away

    mended = facet.hypervisor.destroy
    facet.hypervisor.destroy = destroy  # type: ignore[method-assign]
    with pytest.raises((VicError, ExceptionGroup)):
        await facet.lifecycle.start(record.id)
    assert record.id in facet.peers.volumes.attached
    facet.hypervisor.destroy = mended  # type: ignore[method-assign]
    assert await facet.restarted().reconciler.reconcile()
    assert facet.peers.volumes.attached == {}
    assert not facet.hypervisor.machines


async def test_what_a_killed_exec_attached_is_given_back(facet: Facet) -> None:
    record = await facet.creator.create("", spec(mounts=[MOUNT]))
    # Killed between storage's answer and its own record.
    facet.peers.volumes.attached[record.id] = "lost"
    assert await facet.restarted().reconciler.reconcile()
    assert facet.peers.volumes.attached == {}
    assert record.id in facet.peers.volumes.reserved


async def test_a_running_containers_volumes_are_left_alone(facet: Facet) -> None:
    container_id = await run(facet)
    attached = dict(facet.peers.volumes.attached)
    assert attached
    facet = facet.restarted()
    assert await facet.reconciler.reconcile()
    assert facet.peers.volumes.attached == attached
    await facet.lifecycle.stop(container_id, 0, "")


async def test_storage_that_is_away_at_an_exit_is_told_later(facet: Facet) -> None:
    container_id = await run(facet)
    facet.peers.volumes.failing["Detach"] = Unavailable("storage is away")
    await facet.lifecycle.stop(container_id, 0, "")
    assert container_id in facet.peers.volumes.attached
    assert await facet.reconciler.reconcile()
    assert facet.peers.volumes.attached == {}


async def test_a_use_that_nobody_has_is_released_with_its_data_kept(facet: Facet) -> None:
    facet.peers.volumes.reserved["f" * 64] = []
    assert await facet.reconciler.reconcile()
    assert facet.peers.volumes.released == [("f" * 64, False)]


async def test_a_create_that_fails_releases_what_it_reserved(facet: Facet) -> None:
    facet.peers.failing["Register"] = Unavailable("interaction is away")
    with pytest.raises(Unavailable):
        await facet.creator.create("", spec(mounts=[MOUNT]))
    assert facet.leftovers() == []


async def test_volumes_of_another_container(facet: Facet) -> None:
    lender = await facet.creator.create("", spec(name="lender", mounts=[MOUNT]))
    borrower = await facet.creator.create("", spec(volumes_from=["lender:ro"]))
    (use,) = facet.peers.volumes.reserved[borrower.id]
    assert (use.name, use.target, use.read_only, use.no_copy) == ("data", "/data", True, True)
    assert lender.spec.mounts[0].source == "data"
    with pytest.raises(NotFound, match="No such container: nobody"):
        await facet.creator.create("", spec(volumes_from=["nobody"]))


async def test_many_at_once_hold_nothing_in_the_end(facet: Facet) -> None:
    mounts = [
        container_pb2.Mount(kind=MOUNT.kind, source=f"data{n}", target="/d") for n in range(5)
    ]
    runs = (facet.run(mounts=[mount], auto_remove=True) for mount in mounts)
    containers = await asyncio.gather(*runs)
    await asyncio.gather(*(facet.peers.end(one, 0) for one in containers))
    await facet.exits.drain()
    assert facet.peers.volumes.attached == {}
    assert facet.leftovers() == []


async def test_a_forced_removal_during_a_stop_flushes_volumes_first(facet: Facet) -> None:
    container_id = await run(facet)
    facet.peers.exit_on.pop(15)
    # It waits as long as the process takes.
    stopping = asyncio.create_task(facet.lifecycle.stop(container_id, -1, ""))
    await facet.peers.signalled.wait()
    async with asyncio.timeout(60):
        await facet.lifecycle.remove(container_id, container_id, force=True)
        await stopping
    assert facet.peers.powered_off == [container_id]
    await facet.exits.drain()
    assert facet.leftovers() == []


async def test_a_forced_removal_ends_a_stop_whose_tether_is_away(facet: Facet) -> None:
    container_id = await run(facet)
    facet.peers.exit_on.pop(15)
    stopping = asyncio.create_task(facet.lifecycle.stop(container_id, -1, ""))
    await facet.peers.signalled.wait()
    facet.peers.failing["Signal"] = Unavailable("its tether is away", Reason.TETHER_AWAY)
    async with asyncio.timeout(60):
        await facet.lifecycle.remove(container_id, container_id, force=True)
        await stopping
    await facet.exits.drain()
    assert facet.leftovers() == []


@pytest.mark.parametrize("force", [False, True])
async def test_a_removal_that_comes_before_the_clean_up_flushes_volumes(
    facet: Facet, force: bool
) -> None:
    container_id = await run(facet)
    async with facet.turns.turn(container_id):
        removing = asyncio.create_task(
            facet.lifecycle.remove(container_id, container_id, force=force)
        )
        await turns()
        # Its clean-up is behind the removal.
        await facet.peers.end(container_id, 0)
    await removing
    await facet.exits.drain()
    assert facet.peers.powered_off == [container_id]
    assert facet.leftovers() == []


async def test_a_removal_after_a_killed_exec_flushes_volumes(facet: Facet) -> None:
    container_id = await run(facet)
    async with facet.turns.turn(container_id):
        await facet.peers.end(container_id, 0)
        await facet.exits.drain(0.0)
    facet = facet.restarted()
    await facet.lifecycle.remove(container_id, container_id, force=False)
    assert facet.peers.powered_off == [container_id]
    assert facet.leftovers() == []


@pytest.mark.parametrize("there", [False, True])
async def test_a_removal_that_a_crash_interrupted_asks_a_vm_that_is_there(
    facet: Facet, there: bool
) -> None:
    container_id = await run(facet)
    record = await facet.containers.resolve(container_id)
    await facet.containers.update(replace(record, state=State.REMOVING))
    if not there:
        facet.hypervisor.exits_to = None
        await facet.hypervisor.destroy(container_id)
    facet = facet.restarted()
    assert await facet.reconciler.reconcile()
    assert facet.peers.powered_off == [container_id] * there
    assert facet.leftovers() == []


async def test_nobody_asks_the_guest_of_a_container_without_volumes_that_is_removed(
    facet: Facet,
) -> None:
    container_id = await facet.run()
    async with facet.turns.turn(container_id):
        await facet.peers.end(container_id, 0)
        await facet.exits.drain(0.0)
    await facet.restarted().lifecycle.remove(container_id, container_id, force=True)
    running = await facet.run()
    await facet.lifecycle.remove(running, running, force=True)
    assert facet.peers.powered_off == []


async def test_a_restart_keeps_what_a_container_that_removes_itself_has_written(
    facet: Facet,
) -> None:
    container_id = await facet.run(auto_remove=True)
    await facet.lifecycle.restart(container_id, None, "")
    assert facet.peers.powered_off == [container_id]
    await facet.lifecycle.stop(container_id, None, "")
    assert facet.peers.powered_off == [container_id], "its disk goes with it"

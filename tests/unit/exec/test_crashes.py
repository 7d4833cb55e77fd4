"""A SIGKILL of exec between any two steps loses nothing and leaves nothing."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from vic.network.v1 import network_pb2

from portlayer.errors import NotFound, Unavailable
from services.exec.drivers import MachineExited
from services.exec.exitrecord import Exit
from services.exec.exits import POWER_OFF_SECONDS
from services.exec.reconcile import PERIOD_SECONDS
from services.exec.record import Record
from services.exec.states import State
from tests.unit.exec.conftest import Facet, turns
from tests.unit.exec.specs import SPEC, kinds, spec


async def exited_unseen(facet: Facet, **fields: Any) -> Record:
    """A container whose exit was put on record right before exec was killed."""
    container_id = await facet.run(**fields)
    record = await facet.containers.resolve(container_id)
    assert await facet.containers.end(replace(record, exit_code=3), [])
    return record


async def unheard(_: Any) -> None:
    """Ask a guest to power off that is not there any more."""


async def nothing_left(facet: Facet) -> None:
    """Return when nothing is left of a failed create, before a comparison is due."""
    async with asyncio.timeout(PERIOD_SECONDS / 2):
        # The name is given back last.
        while (  # noqa: ASYNC110 — nothing tells of it
            facet.leftovers() or await facet.containers.reserved_ids()
        ):
            await asyncio.sleep(0.01)


async def test_a_stop_gives_a_container_of_before_the_restart_its_time(facet: Facet) -> None:
    container_id = await facet.run()
    facet.peers.exit_on = {}
    facet = facet.restarted()
    stopping = asyncio.create_task(facet.lifecycle.stop(container_id, 60, ""))
    await facet.peers.signalled.wait()
    early, _ = await asyncio.wait({stopping}, timeout=0.05)
    assert not early
    assert not facet.peers.powered_off
    await facet.peers.end(container_id, 0)
    async with asyncio.timeout(60):
        assert (await stopping).exit_code == 0
    await facet.exits.drain()
    assert facet.peers.powered_off == [container_id]
    assert not facet.hypervisor.machines


async def test_the_vm_of_an_exit_is_taken_down_by_the_next_exec(facet: Facet) -> None:
    former = await exited_unseen(facet)
    facet = facet.restarted()
    assert await facet.reconciler.reconcile()
    record = await facet.containers.resolve(former.id)
    assert (record.state, record.exit_code, record.boot_id) == (State.EXITED, 3, "")
    assert facet.peers.powered_off == [former.id]
    assert facet.peers.retired == [former.boot_id]
    assert not facet.peers.bound
    assert not facet.hypervisor.machines


@pytest.mark.parametrize("powered_off", [False, True])
async def test_auto_remove_is_done_by_the_next_exec(facet: Facet, powered_off: bool) -> None:
    await exited_unseen(facet, auto_remove=True)
    if powered_off:
        facet.hypervisor.machines.clear()
    facet = facet.restarted()
    assert await facet.reconciler.reconcile()
    assert facet.leftovers() == []
    assert await facet.containers.select() == []
    assert (await kinds(facet))[-1] == "destroy"


async def test_auto_remove_that_failed_is_done_again(facet: Facet) -> None:
    container_id = await facet.run(auto_remove=True)
    facet.peers.failing["Remove"] = Unavailable("storage is away")
    await facet.peers.end(container_id, 0)
    await facet.exits.drain()
    assert (await facet.containers.resolve(container_id)).state is State.DEAD
    assert await facet.reconciler.reconcile()
    assert facet.leftovers() == []
    assert await facet.containers.select() == []


async def test_what_was_only_created_stays_to_be_started(facet: Facet) -> None:
    record = await facet.creator.create("", spec(auto_remove=True))
    assert await facet.restarted().reconciler.reconcile()
    assert await facet.containers.resolve(record.id) == record


@pytest.mark.parametrize("auto_remove", [False, True])
async def test_an_interrupted_start_leaves_nothing(facet: Facet, auto_remove: bool) -> None:
    record = await facet.creator.create("", spec(auto_remove=auto_remove))
    await facet.containers.update(replace(record, state=State.STARTING, boot_id="b"))
    facet.hypervisor.machines[record.id] = "b"
    facet.peers.bound.add(record.id)
    assert await facet.restarted().reconciler.reconcile()
    assert not facet.hypervisor.machines
    left = await facet.containers.select()
    assert [(r.state, r.boot_id) for r in left] == ([] if auto_remove else [(State.CREATED, "")])
    assert not facet.peers.bound


async def test_an_interrupted_removal_is_brought_to_its_end(facet: Facet) -> None:
    container_id = await facet.run()
    record = await facet.containers.resolve(container_id)
    await facet.containers.update(replace(record, state=State.REMOVING))
    facet = facet.restarted()
    assert await facet.reconciler.reconcile()
    assert facet.leftovers() == []
    assert await facet.containers.select() == []
    assert (await kinds(facet))[-1] == "destroy"


async def test_an_interrupted_create_can_be_repeated_at_once(facet: Facet) -> None:
    container_id = "c0" * 32
    record = await facet.creator.create(container_id, spec(name="web"))
    await facet.containers.delete(container_id)
    await facet.containers.reserve(record)
    again = await facet.restarted().creator.create(container_id, spec(name="web"))
    assert (again.id, again.name) == (container_id, "web")
    assert await facet.containers.reserved_ids() == set()


async def test_a_create_that_cannot_be_undone_now_is_undone_later(facet: Facet) -> None:
    facet.peers.failing["Register"] = Unavailable("interaction is away")
    facet.peers.failing["Remove"] = Unavailable("storage is away")
    with pytest.raises(Unavailable, match="interaction is away"):
        await facet.creator.create("", spec(name="web"))
    comparing = asyncio.create_task(facet.reconciler.run())
    # At once, and not with the next comparison that was due.
    await nothing_left(facet)
    # It waits now for the next doubt.
    facet.peers.failing["Register"] = Unavailable("interaction is away")
    facet.peers.failing["Release"] = Unavailable("network is away")
    with pytest.raises(Unavailable, match="interaction is away"):
        await facet.creator.create("", spec(name="web"))
    await nothing_left(facet)
    comparing.cancel()
    assert await facet.containers.select() == []
    await facet.creator.create("", spec(name="web"))


async def test_what_cannot_be_mended_keeps_nothing_else_from_it(facet: Facet) -> None:
    lost = [(await facet.creator.create("", SPEC)).id for _ in range(2)]
    for container_id in lost:
        await facet.containers.delete(container_id)
    ended = await exited_unseen(facet)
    facet.peers.failing["Reserve"] = NotFound("no such network")
    assert not await facet.reconciler.reconcile()
    assert len(set(lost) & {record.id for record in await facet.containers.select()}) == 1
    assert (await facet.containers.resolve(ended.id)).boot_id == ""
    assert await facet.reconciler.reconcile()
    assert set(lost) <= {record.id for record in await facet.containers.select()}


async def test_lost_addresses_are_given_again_with_a_lost_record(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    await facet.containers.delete(record.id)
    facet.peers.reservations.clear()
    assert await facet.reconciler.reconcile()
    assert (await facet.containers.resolve(record.id)).endpoints == record.endpoints


async def test_what_is_removed_while_it_is_listed_stays_removed(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await facet.creator.create("", SPEC)
    listed = facet.peers.ListReservations

    async def remove_meanwhile(request: Any) -> network_pb2.ListReservationsResponse:
        response = await listed(request)
        await facet.lifecycle.remove(record.id, record.id, force=False)
        return response

    monkeypatch.setattr(facet.peers, "ListReservations", remove_meanwhile)
    assert await facet.reconciler.reconcile()
    assert await facet.containers.select() == []
    assert facet.leftovers() == []


async def test_a_missing_vm_is_no_end_while_the_history_is_not_taken_in(facet: Facet) -> None:
    container_id = await facet.run()
    facet.hypervisor.machines.clear()
    for _ in range(3):
        assert not await facet.reconciler.reconcile()
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING


async def test_what_is_sound_costs_one_look_at_the_hypervisor(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await facet.run()
    looks = 0
    inventory = facet.hypervisor.inventory

    async def counted() -> Any:
        nonlocal looks
        looks += 1
        return await inventory()

    monkeypatch.setattr(facet.hypervisor, "inventory", counted)
    assert await facet.reconciler.reconcile()
    assert looks == 1


async def test_an_interrupted_stop_leaves_a_container_that_runs(facet: Facet) -> None:
    container_id = await facet.run()
    record = await facet.containers.resolve(container_id)
    await facet.containers.update(replace(record, state=State.STOPPING))
    facet = facet.restarted()
    assert await facet.reconciler.reconcile()
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING
    assert facet.hypervisor.machines


async def test_a_removal_ends_the_vm_that_a_failed_clean_up_left(facet: Facet) -> None:
    former = await exited_unseen(facet)
    await facet.lifecycle.remove(former.id, former.id, force=False)
    assert facet.leftovers() == []


@pytest.mark.parametrize("verb", ["start", "restart"])
@pytest.mark.parametrize("auto_remove", [False, True])
async def test_a_start_before_the_clean_up_lets_the_former_guest_flush(
    facet: Facet, verb: str, *, auto_remove: bool
) -> None:
    former = await exited_unseen(facet, auto_remove=auto_remove)
    facet = facet.restarted()
    if verb == "start":
        await facet.lifecycle.start(former.id)
    else:
        await facet.lifecycle.restart(former.id, 1, "")
    assert facet.peers.powered_off == [former.id]
    assert facet.peers.retired == [former.boot_id]
    running = await facet.containers.resolve(former.id)
    assert facet.hypervisor.machines == {former.id: running.boot_id}


async def test_a_start_that_overtakes_the_clean_up_lets_the_former_guest_flush(
    facet: Facet,
) -> None:
    container_id = await facet.run()
    async with facet.turns.turn(container_id):
        # As behind an update.
        starting = asyncio.create_task(facet.lifecycle.start(container_id))
        await turns()
        await facet.peers.end(container_id, 0)
        await turns()
        assert not facet.peers.powered_off
    assert (await starting).state is State.RUNNING
    await facet.exits.drain()
    assert facet.peers.powered_off == [container_id]
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING


async def test_a_vm_that_ends_while_its_exit_is_cleaned_up_is_not_waited_for(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = await exited_unseen(facet)
    facet = facet.restarted()
    inventory, looks = facet.hypervisor.inventory, 0

    async def ending() -> Any:
        # A former exec had asked it to power off, and it does after the comparison's second look.
        nonlocal looks
        looks += 1
        found = await inventory()
        if looks == 2:
            facet.hypervisor.machines.clear()
            await facet.exits.machine_exited(MachineExited(former.id, former.boot_id, b"", ""))
        return found

    monkeypatch.setattr(facet.hypervisor, "inventory", ending)
    monkeypatch.setattr(facet.peers, "PowerOff", unheard)
    async with asyncio.timeout(POWER_OFF_SECONDS / 2):
        assert await facet.reconciler.reconcile()
    assert (await facet.containers.resolve(former.id)).boot_id == ""


async def test_a_vm_that_ends_while_its_exit_is_put_on_record_is_not_waited_for(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    container_id = await facet.run()
    facet = facet.restarted()
    record = await facet.containers.resolve(container_id)
    end = facet.containers.end

    async def ending(*told: Any, **how: Any) -> bool:
        done = await end(*told, **how)
        facet.hypervisor.machines.clear()
        await facet.exits.machine_exited(MachineExited(container_id, record.boot_id, b"", ""))
        return done

    monkeypatch.setattr(facet.containers, "end", ending)
    monkeypatch.setattr(facet.peers, "PowerOff", unheard)
    await facet.exits.process_ended(container_id, record.boot_id, Exit(3, False, 1))
    async with asyncio.timeout(POWER_OFF_SECONDS / 2):
        await facet.exits.drain()
    ended = await facet.containers.resolve(container_id)
    assert (ended.state, ended.exit_code, ended.boot_id) == (State.EXITED, 3, "")


async def test_a_clean_up_that_takes_too_long_is_left_to_the_next_exec(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    container_id = await facet.run()

    async def hang(_: Any) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(facet.peers, "PowerOff", hang)
        await facet.peers.end(container_id, 3)
        await facet.exits.drain(0.05)
    assert facet.hypervisor.machines
    assert await facet.restarted().reconciler.reconcile()
    assert not facet.hypervisor.machines

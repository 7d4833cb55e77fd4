"""Restart policies while something is away, or refuses."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from portlayer.errors import FailedPrecondition, Reason, Unavailable
from services.exec import policy, restarting
from services.exec.states import State
from tests.unit.exec.conftest import Facet, turns
from tests.unit.exec.specs import spec
from tests.unit.exec.test_restarts import ALWAYS, keeping


async def test_policies_are_kept_across_an_absence_of_the_database(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "FIRST_DELAY_NS", 1_000_000)
    monkeypatch.setattr(restarting, "RETRY_SECONDS", 0.001)
    select = facet.containers.select
    asked, back = asyncio.Event(), False

    async def away(*states: Any) -> Any:
        asked.set()
        if not back:
            raise Unavailable("the database can't be reached")
        return await select(*states)

    monkeypatch.setattr(facet.containers, "select", away)
    container_id = await facet.run(restart_policy=ALWAYS)
    async with keeping(facet):
        await asked.wait()
        await facet.peers.end(container_id, 1)
        asked.clear()
        await asked.wait()
        facet.peers.launched.clear()
        back = True
        await facet.peers.launched.wait()


async def test_a_former_vm_that_cannot_be_ended_is_tried_again_after_ever_longer_pauses(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    container_id = await facet.run(restart_policy=ALWAYS)
    boot_id = facet.hypervisor.machines[container_id]
    refusal = FailedPrecondition("the platform refuses", Reason.HYPERVISOR_FAILED)
    facet.hypervisor.failing["destroy"] = refusal
    async with facet.turns.turn(container_id):
        await facet.peers.end(container_id, 1)
        await facet.exits.drain(0.0)
    first = await facet.containers.resolve(container_id)
    with pytest.raises(FailedPrecondition):
        await facet.lifecycle.start_again(container_id)
    after = await facet.containers.resolve(container_id)
    assert (after.state, after.boot_id) == (State.RESTARTING, boot_id)
    assert after.error == "the platform refuses"
    assert after.restart_delay_ns == 2 * first.restart_delay_ns
    assert after.restart_at_ns > first.restart_at_ns
    await facet.lifecycle.start_again(container_id)
    running = await facet.containers.resolve(container_id)
    assert (running.state, running.error) == (State.RUNNING, "")
    assert running.boot_id != boot_id


async def test_a_kill_of_what_is_being_started_waits_and_ends_it(facet: Facet) -> None:
    record = await facet.creator.create("", spec(restart_policy=ALWAYS))
    facet.peers.answer_launch.clear()
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await facet.peers.launched.wait()
    killing = asyncio.create_task(facet.lifecycle.signal(record.id, "KILL"))
    await turns()
    assert facet.peers.signals == []
    facet.peers.answer_launch.set()
    await starting
    await killing
    await facet.exits.drain()
    assert facet.peers.signals == [(record.id, 9)]
    assert (await facet.containers.resolve(record.id)).state is State.EXITED
    # Started by hand its policy begins anew.
    await facet.lifecycle.start(record.id)
    await facet.peers.end(record.id, 1)
    assert (await facet.containers.resolve(record.id)).state is State.RESTARTING


async def test_a_signal_to_what_is_being_started_again_is_no_stop(facet: Facet) -> None:
    container_id = await facet.run(restart_policy=ALWAYS)
    await facet.peers.end(container_id, 5)
    await facet.exits.drain()
    async with facet.turns.turn(container_id):
        starting = asyncio.create_task(facet.lifecycle.start_again(container_id))
        await turns()
        signalling = asyncio.create_task(facet.lifecycle.signal(container_id, "USR1"))
        await turns()
    await asyncio.gather(starting, signalling)
    assert facet.peers.signals == [(container_id, 10)]
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING


async def test_a_kill_during_what_a_crash_has_left_of_a_start_leaves_the_policy(
    facet: Facet,
) -> None:
    container_id = await facet.run(restart_policy=ALWAYS)
    record = await facet.containers.resolve(container_id)
    await facet.containers.update(replace(record, state=State.STARTING))
    facet.peers.failing["Signal"] = FailedPrecondition("not running", Reason.NOT_RUNNING)
    with pytest.raises(FailedPrecondition, match="is not running"):
        await facet.lifecycle.signal(container_id, "KILL")
    assert not (await facet.containers.resolve(container_id)).stopped_by_hand

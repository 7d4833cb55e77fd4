"""A paused container, and what is sent to it."""

import asyncio

import pytest

from portlayer.errors import Reason, Unavailable
from services.exec.states import State
from tests.unit.exec.conftest import Facet
from tests.unit.exec.specs import kinds


async def test_a_signal_waits_until_a_paused_container_goes_on(facet: Facet) -> None:
    container_id = await facet.run(stop_signal="TERM")
    await facet.lifecycle.pause(container_id)
    for signal in ("HUP", "USR1", "HUP"):
        await facet.lifecycle.signal(container_id, signal)
    assert facet.hypervisor.paused == {container_id}
    assert facet.peers.signals == []
    await facet.lifecycle.unpause(container_id)
    assert facet.peers.signals == [(container_id, 1), (container_id, 10)]
    await facet.lifecycle.pause(container_id)
    await facet.lifecycle.unpause(container_id)
    assert len(facet.peers.signals) == 2


async def test_signals_of_a_former_run_are_not_sent_to_the_next(facet: Facet) -> None:
    container_id = await facet.run(stop_signal="TERM")
    await facet.lifecycle.pause(container_id)
    await facet.lifecycle.signal(container_id, "HUP")
    await facet.peers.end(container_id, 137)
    await facet.exits.drain()
    await facet.lifecycle.start(container_id)
    await facet.lifecycle.pause(container_id)
    await facet.lifecycle.unpause(container_id)
    assert facet.peers.signals == []


async def test_any_signal_has_a_paused_container_without_a_stop_signal_go_on(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.pause(container_id)
    await facet.lifecycle.signal(container_id, "USR1")
    assert facet.peers.signals == [(container_id, 10)]
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING
    assert (await kinds(facet))[2:] == ["pause", "unpause", "kill"]


@pytest.mark.parametrize(("signal", "code"), [("KILL", 137), ("TERM", 143), ("", 137)])
async def test_a_signal_that_ends_a_paused_container_is_not_kept(
    facet: Facet, signal: str, code: int
) -> None:
    container_id = await facet.run()
    await facet.lifecycle.pause(container_id)
    await facet.lifecycle.signal(container_id, signal)
    await facet.exits.drain()
    record = await facet.containers.resolve(container_id)
    assert (record.state, record.exit_code) == (State.EXITED, code)
    assert (await kinds(facet))[2:4] == ["pause", "unpause"]


async def test_a_paused_container_is_stopped_as_any_other(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.pause(container_id)
    async with asyncio.timeout(60):
        record = await facet.lifecycle.stop(container_id, 30, "")
    assert (record.state, record.exit_code) == (State.EXITED, 143)
    assert [number for _, number in facet.peers.signals] == [15]
    assert not facet.hypervisor.paused


async def test_a_kill_reaches_a_paused_container_whose_agent_is_away(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.pause(container_id)
    facet.peers.failing["Signal"] = Unavailable("no answer", Reason.TETHER_AWAY)
    async with asyncio.timeout(60):
        await facet.lifecycle.signal(container_id, "KILL")
    await facet.exits.drain()
    assert (await facet.containers.resolve(container_id)).exit_code == 137


async def test_a_paused_container_is_removed_by_force(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.pause(container_id)
    await facet.lifecycle.remove(container_id, container_id, force=True)
    assert facet.leftovers() == []

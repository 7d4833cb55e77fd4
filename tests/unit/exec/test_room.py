"""Many at once: as many are at work as the processors can serve, and nobody's time runs before."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from services.exec import room
from services.exec.states import State
from tests.unit.exec.conftest import Facet, turns
from tests.unit.exec.specs import spec

MANY = 3 * room.LEAST_AT_ONCE


async def until(condition: Callable[[], bool]) -> None:
    """Return when something is so, and whoever else could go on has."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 — a turn of the loop is the event
            await asyncio.sleep(0)
    await turns()


async def states(facet: Facet) -> set[State]:
    return {record.state for record in await facet.containers.select()}


async def test_starts_wait_for_their_place_without_a_vm(facet: Facet) -> None:
    ids = [(await facet.creator.create("", spec(name=f"c{n}"))).id for n in range(MANY)]
    facet.peers.answer_launch.clear()
    async with asyncio.TaskGroup() as group:
        for container_id in ids:
            group.create_task(facet.lifecycle.start(container_id))
        await until(lambda: len(facet.peers.boots) == room.LEAST_AT_ONCE)
        assert len(facet.hypervisor.machines) == room.LEAST_AT_ONCE
        facet.peers.answer_launch.set()
    assert await states(facet) == {State.RUNNING}


async def test_processes_are_killed_so_many_at_a_time(facet: Facet) -> None:
    ids = [await facet.run(f"c{n}") for n in range(MANY)]
    facet.peers.exit_on = {}

    def killed() -> list[str]:
        return [container_id for container_id, number in facet.peers.signals if number == 9]

    async with asyncio.TaskGroup() as group:
        for container_id in ids:
            group.create_task(facet.lifecycle.stop(container_id, 0, ""))
        await until(lambda: len(killed()) == room.LEAST_AT_ONCE)
        assert len(killed()) == room.LEAST_AT_ONCE
        facet.peers.exit_on = {9: 137}
        for container_id in killed():
            await facet.peers.end(container_id, 137)
    assert sorted(killed()) == sorted(ids)
    assert await states(facet) == {State.EXITED}


async def test_guests_are_asked_to_power_off_so_many_at_a_time(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await facet.run(f"c{n}") for n in range(MANY)]
    answered = asyncio.Event()
    off = facet.peers.PowerOff

    async def power_off(request: Any) -> None:
        asked.append(request.container_id)
        await answered.wait()
        await off(request)

    asked: list[str] = []
    monkeypatch.setattr(facet.peers, "PowerOff", power_off)
    async with asyncio.TaskGroup() as group:
        for container_id in ids:
            group.create_task(facet.lifecycle.stop(container_id, 60, ""))
        await until(lambda: len(asked) == room.LEAST_AT_ONCE)
        assert len(asked) == room.LEAST_AT_ONCE
        answered.set()
    assert sorted(asked) == sorted(ids)
    assert await states(facet) == {State.EXITED}
    assert facet.hypervisor.machines == {}

"""Two replicas of exec on one PostgreSQL: each operation once, on either; one may be killed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, cast

import pytest
import sqlalchemy as sa
from vic.exec.v1 import container_pb2, exec_pb2

from portlayer.errors import FailedPrecondition, ResourceExhausted, TurnLost
from portlayer.store import Store
from services.exec.drivers import MachineExited
from services.exec.exitrecord import Exit
from services.exec.limits import MIB, Limits
from services.exec.replicas import follow_replicas
from services.exec.states import State
from tests.unit.exec.conftest import Facet, wire
from tests.unit.exec.fake_facets import FakeFacets
from tests.unit.exec.fake_hypervisor import FakeHypervisor, Standstill
from tests.unit.exec.specs import spec
from tests.unit.exec.test_fault_points import (
    Fate,
    Killed,
    Verb,
    check_sound,
    check_usable_and_remove,
    create,
    mortal,
    remove_by_force,
    settle,
    start,
    stop,
)
from tests.unit.exec.test_listing import NO_CONTEXT, servicer


class ToldBoth:
    """The ends of VMs, as both hear of them; of processes one of them hears first."""

    def __init__(self, *facets: Facet) -> None:
        self._all = [facet.exits for facet in facets]

    async def process_ended(self, container_id: str, boot_id: str, how: Exit) -> None:
        await self._all[0].process_ended(container_id, boot_id, how)

    async def machine_exited(self, exited: MachineExited) -> None:
        await asyncio.gather(*(exits.machine_exited(exited) for exits in self._all))


class Replicas:
    """Two facets over one database and the same other facets."""

    def __init__(self, stores: list[Store]) -> None:
        self.peers, self.hypervisor = FakeFacets(), FakeHypervisor()
        self.one, self.other = (wire(s, self.peers, self.hypervisor) for s in stores[:2])
        self.one.exits.caught_up = self.other.exits.caught_up = True
        self.both = (self.one, self.other)
        self.tell(*self.both)

    def tell(self, *facets: Facet) -> None:
        """Have facets hear of ends, the first one first."""
        told = cast(Any, ToldBoth(*facets))
        self.peers.exits = self.hypervisor.exits_to = told


def follow(facet: Facet) -> asyncio.Task[None]:
    """Have a facet hear of the others, as its service does."""
    neighbours = facet.store.neighbours
    return asyncio.create_task(
        follow_replicas(neighbours, facet.events, facet.exits, facet.restarts)
    )


@pytest.fixture
async def replicas(stores: list[Store]) -> AsyncIterator[Replicas]:
    pair = Replicas(stores)
    following = [follow(facet) for facet in pair.both]
    yield pair
    for task in following:
        task.cancel()
    await asyncio.wait(following)
    for facet in pair.both:
        await facet.exits.drain()
    while pair.hypervisor.telling:
        await asyncio.wait(pair.hypervisor.telling)


async def kinds(facet: Facet, container_id: str) -> list[str]:
    stored = await facet.history.after(0, container_id=container_id)
    return [exec_pb2.EventKind.Name(e.kind).removeprefix("EVENT_KIND_").lower() for e in stored]


async def test_a_name_is_given_once(replicas: Replicas) -> None:
    made = await asyncio.gather(
        *(f.creator.create("", spec(name="web")) for f in replicas.both * 4),
        return_exceptions=True,
    )
    assert sum(not isinstance(result, BaseException) for result in made) == 1
    assert len(replicas.peers.disks) == 1


async def test_a_start_and_a_stop_on_both_are_done_once(replicas: Replicas) -> None:
    ids = [(await replicas.one.creator.create("", spec())).id for _ in range(8)]
    started = await asyncio.gather(
        *(f.lifecycle.start(i) for i in ids for f in replicas.both), return_exceptions=True
    )
    done = [result for result in started if not isinstance(result, BaseException)]
    assert len(done) == len(ids)
    assert all(isinstance(r, FailedPrecondition) for r in started if r not in done)
    assert set(replicas.hypervisor.machines) == set(ids)
    assert len(replicas.hypervisor.launched) == len(ids)
    async with asyncio.timeout(60):
        await asyncio.gather(
            *(f.lifecycle.stop(i, 60, "") for i in ids for f in replicas.both),
            return_exceptions=True,
        )
    for container_id in ids:
        told = await kinds(replicas.one, container_id)
        assert told == ["create", "start", "kill", "die", "stop"]
    assert not replicas.hypervisor.machines


async def test_a_stop_hears_of_an_end_that_the_other_recorded(replicas: Replicas) -> None:
    container_id = await replicas.one.run()
    replicas.peers.exit_on = {}
    replicas.tell(replicas.other, replicas.one)
    stopping = asyncio.create_task(replicas.one.lifecycle.stop(container_id, 300, ""))
    await replicas.peers.signalled.wait()
    await replicas.peers.end(container_id, 7)
    async with asyncio.timeout(60):
        assert (await stopping).exit_code == 7


async def test_events_of_one_reach_the_watchers_of_the_other(replicas: Replicas) -> None:
    newest = await replicas.other.events.newest()
    async with aclosing(replicas.other.events.follow(newest)) as following:
        first = asyncio.ensure_future(anext(following))
        await asyncio.wait({first}, timeout=0.05)
        made = await replicas.one.creator.create("", spec())
        async with asyncio.timeout(60):
            assert (await first).container_id == made.id


async def test_limits_hold_for_both_together(replicas: Replicas) -> None:
    await replicas.one.admission.set_limits(Limits(memory_bytes=1536 * MIB))
    ids = [(await replicas.one.creator.create("", spec())).id for _ in range(8)]
    started = await asyncio.gather(
        *(f.lifecycle.start(i) for i, f in zip(ids, replicas.both * 4, strict=True)),
        return_exceptions=True,
    )
    refused = [result for result in started if isinstance(result, ResourceExhausted)]
    assert len(refused) == 5
    assert len(replicas.hypervisor.machines) == 3


async def lose_locks(store: Store) -> None:
    """Have the database give up the locks that are held, as when it hears no more of a process."""
    query = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    async with store.reading() as connection:
        await connection.execute(sa.text(query))


async def test_one_that_comes_back_late_changes_nothing(
    replicas: Replicas, stores: list[Store]
) -> None:
    """A replica stands still in the middle of a start, loses its turn, and goes on one day."""
    container_id = (await replicas.one.creator.create("", spec(name="one"))).id
    standstill = Standstill()
    replicas.hypervisor.standstills.append(standstill)
    late = asyncio.create_task(replicas.one.lifecycle.start(container_id))
    async with asyncio.timeout(60):
        await standstill.reached.wait()
        await lose_locks(stores[2])
        await settle(replicas.other)
        running = await replicas.other.lifecycle.start(container_id)
        before = await kinds(replicas.other, container_id)
        standstill.over.set()
        with pytest.raises(TurnLost):
            await late
    # The VM that runs is the other's, and so is what is on record.
    assert replicas.hypervisor.machines == {container_id: running.boot_id}
    record = await replicas.other.containers.resolve(container_id)
    assert (record.state, record.boot_id) == (State.RUNNING, running.boot_id)
    assert await kinds(replicas.other, container_id) == before
    # And what it does next it does by a turn of its own.
    async with asyncio.timeout(60):
        await replicas.one.lifecycle.stop(container_id, 0, "")
    assert not replicas.hypervisor.machines


async def test_turns_go_up_whoever_takes_them_and_after_a_loss(stores: list[Store]) -> None:
    numbers: list[int] = []
    for store in (stores[0], stores[1], stores[0]):
        async with store.neighbours.turn("c") as number:
            numbers.append(number or 0)
    # A database that was lost begins anew; its first user sees to what was drawn before.
    async with stores[2].transaction() as connection:
        await connection.execute(sa.text("ALTER SEQUENCE turns RESTART"))
    async with stores[2].neighbours.turn("c") as number:
        numbers.append(number or 0)
    assert numbers == sorted(set(numbers))
    assert all(numbers)


@pytest.mark.parametrize("meanwhile", [True, False])
async def test_a_request_is_carried_out_once_on_either(replicas: Replicas, meanwhile: bool) -> None:
    container_id = await replicas.one.run("web")
    request = exec_pb2.RestartRequest(reference="web", request_id="again", timeout={"seconds": 0})
    calls = [servicer(facet).Restart(request, NO_CONTEXT) for facet in replicas.both]
    async with asyncio.timeout(60):
        if meanwhile:
            answers = await asyncio.gather(*calls)
        else:
            answers = [await call for call in calls]
    assert [answer.container.id for answer in answers] == [container_id] * 2
    assert (await kinds(replicas.one, container_id)).count("restart") == 1


async def test_a_failed_request_is_tried_again_on_the_other(replicas: Replicas) -> None:
    made = await replicas.one.creator.create("", spec())
    replicas.hypervisor.failing["create"] = ResourceExhausted("no room")
    request = exec_pb2.StartRequest(reference=made.id, request_id="start")
    with pytest.raises(ResourceExhausted):
        await servicer(replicas.one).Start(request, NO_CONTEXT)
    await servicer(replicas.other).Start(request, NO_CONTEXT)
    assert made.id in replicas.hypervisor.machines


async def test_the_end_of_the_suite_is_told_to_all(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = container_pb2.RestartPolicy(condition=container_pb2.RESTART_CONDITION_ALWAYS)
    container_id = await replicas.one.run(restart_policy=policy)
    closing = asyncio.Event()
    look = replicas.other.restarts.look_again

    async def look_again() -> None:
        await look()
        if replicas.other.exits.closing:
            closing.set()

    monkeypatch.setattr(replicas.other.restarts, "look_again", look_again)
    await servicer(replicas.one).Close(exec_pb2.CloseRequest(), NO_CONTEXT)
    async with asyncio.timeout(60):
        await closing.wait()
    replicas.tell(replicas.other)
    await replicas.peers.end(container_id, 1)
    assert (await replicas.one.containers.resolve(container_id)).state is State.EXITED


async def test_what_the_dead_one_held_is_free(stores: list[Store]) -> None:
    dead, alive = stores[0].neighbours, stores[1].neighbours
    held, wanted = dead.turn("c"), alive.turn("c")
    await held.__aenter__()
    waiting = asyncio.ensure_future(wanted.__aenter__())
    early, _ = await asyncio.wait({waiting}, timeout=0.2)
    assert not early
    await dead.close()
    async with asyncio.timeout(60):
        await waiting
    for turn in (wanted, held):
        await turn.__aexit__(None, None, None)


@pytest.mark.parametrize("verb", [create, start, stop, remove_by_force])
async def test_one_that_is_killed_in_the_middle_leaves_it_to_the_other(
    replicas: Replicas, stores: list[Store], verb: Verb
) -> None:
    for step in (2, 4, 6):
        prepared = (await replicas.other.creator.create("", spec(name="one"))).id
        if verb in (stop, remove_by_force):
            await replicas.other.lifecycle.start(prepared)
        fate = Fate(step)
        dying = mortal(replace(replicas.one, store=stores[2]), fate)
        with suppress(Killed, BaseExceptionGroup):
            await verb(dying, prepared)
        fate.dead = True
        # With the process PostgreSQL's side of its connections goes, and its locks with them.
        await stores[2].neighbours.close()
        replicas.tell(replicas.other)
        async with asyncio.timeout(60):
            await settle(replicas.other)
            await check_sound(replicas.other)
            await check_usable_and_remove(replicas.other)


async def outlived(store: Store, by: int) -> None:
    """Return when so many wait for the ends of others; nothing tells of that."""
    query = "SELECT count(*) FROM pg_locks WHERE objsubid = 2 AND NOT granted"
    while True:
        async with store.reading() as connection:
            if (await connection.execute(sa.text(query))).scalar() == by:
                return
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("verb", [create, start, stop, remove_by_force])
async def test_the_other_hears_that_one_was_killed(
    replicas: Replicas, stores: list[Store], verb: Verb
) -> None:
    other = replicas.other
    prepared = (await other.creator.create("", spec(name="one"))).id
    if verb in (stop, remove_by_force):
        await other.lifecycle.start(prepared)
    fate = Fate(4)
    dying = mortal(replace(replicas.one, store=stores[2]), fate)
    alive = follow(wire(stores[2], replicas.peers, replicas.hypervisor))
    replicas.tell(other)
    try:
        async with asyncio.timeout(60):
            await outlived(other.store, 6)
            other.exits.doubt.clear()
            with suppress(Killed, BaseExceptionGroup):
                await verb(dying, prepared)
            assert not other.exits.doubt.is_set()
            fate.dead = True
            await stores[2].neighbours.close()
            alive.cancel()
            await other.exits.doubt.wait()
            await settle(other)
            await check_sound(other)
            await check_usable_and_remove(other)
    finally:
        alive.cancel()
        await asyncio.wait({alive})


async def test_they_hear_it_again_after_the_database_was_away(
    replicas: Replicas, stores: list[Store]
) -> None:
    alive = follow(wire(stores[2], replicas.peers, replicas.hypervisor))
    async with asyncio.timeout(60):
        await outlived(stores[0], 6)
        replicas.other.exits.doubt.clear()
        await lose_locks(stores[0])
        await replicas.other.exits.doubt.wait()
        await outlived(stores[0], 6)
        replicas.other.exits.doubt.clear()
        alive.cancel()
        await replicas.other.exits.doubt.wait()
    await asyncio.wait({alive})

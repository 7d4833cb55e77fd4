"""A SIGKILL of exec at every step of every verb: nothing is lost, doubled or left.

A step is a call of another facet, of the hypervisor, or a transaction. After each, exec dies;
nothing of the dead one does anything any more, its undoing included. The next exec compares, and
what there is then must be sound, and usable. The same with each of the next ones killed too while
it repairs, a step later than the one before it, until one comes to the end.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest
from vic.exec.v1 import exec_pb2

from portlayer.prepared import Query
from portlayer.store import Store
from services.exec.states import State
from tests.unit.exec.conftest import Facet, wire
from tests.unit.exec.specs import spec

SETTLED = {State.CREATED, State.RUNNING, State.PAUSED, State.EXITED}
MOST_STEPS = 100
# Of a verb's steps, those after which the repair is killed at each of its own: all would take long.
EACH = 3


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Fate:
    """Counts steps, and lets the process die at the end of one of them."""

    last: int
    count: int = 0
    dead: bool = False

    def begin(self) -> bool:
        """Begin a step; tell whether the process dies at its end."""
        if self.dead:
            raise Killed
        self.count += 1
        return self.count == self.last

    def end(self, dies: bool) -> None:
        """End a step."""
        if dies:
            self.dead = True
        if self.dead:
            raise Killed


class Mortal:
    """Passes calls on, each a step."""

    def __init__(self, target: Any, fate: Fate) -> None:
        self._target = target
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not asyncio.iscoroutinefunction(value):
            return value

        async def step(*args: Any, **kwargs: Any) -> Any:
            dies = self._fate.begin()
            result = await value(*args, **kwargs)
            self._fate.end(dies)
            return result

        return step

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            setattr(self._target, name, value)


class MortalStore:
    """Passes transactions on, each a step: it commits or it doesn't."""

    def __init__(self, store: Store, fate: Fate) -> None:
        self._store = store
        self._fate = fate
        self.neighbours = store.neighbours

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        dies = self._fate.begin()
        async with self._store.transaction() as connection:
            yield connection
        self._fate.end(dies)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        if self._fate.dead:
            raise Killed
        async with self._store.reading() as connection:
            yield connection

    async def read(self, query: Query, values: Mapping[str, Any]) -> Sequence[Any]:
        if self._fate.dead:
            raise Killed
        return await self._store.read(query, values)


def mortal(facet: Facet, fate: Fate) -> Facet:
    """Return an exec that dies, over the same database and facets."""
    dying = wire(
        cast(Any, MortalStore(facet.store, fate)),
        cast(Any, Mortal(facet.peers, fate)),
        cast(Any, Mortal(facet.hypervisor, fate)),
    )
    dying.exits.caught_up = True
    return dying


async def create(facet: Facet, prepared: str) -> None:
    await facet.creator.create("", spec(name="new"))


async def start(facet: Facet, prepared: str) -> None:
    await facet.lifecycle.start(prepared)


async def stop(facet: Facet, prepared: str) -> None:
    await facet.lifecycle.stop(prepared, 60, "")


async def kill(facet: Facet, prepared: str) -> None:
    await facet.lifecycle.signal(prepared, "KILL")
    await facet.exits.drain()


async def restart(facet: Facet, prepared: str) -> None:
    await facet.lifecycle.restart(prepared, 60, "")


async def remove(facet: Facet, prepared: str) -> None:
    await facet.lifecycle.remove(prepared, prepared, force=False)


async def remove_by_force(facet: Facet, prepared: str) -> None:
    await facet.lifecycle.remove(prepared, prepared, force=True)


async def pause(facet: Facet, prepared: str) -> None:
    await facet.lifecycle.pause(prepared)
    await facet.lifecycle.unpause(prepared)


async def rename(facet: Facet, prepared: str) -> None:
    await facet.lifecycle.rename(prepared, "another")


async def end(facet: Facet, prepared: str) -> None:
    await facet.peers.end(prepared, 3)
    await facet.exits.drain()


Verb = Callable[[Facet, str], Awaitable[None]]

# What is done, and to what: a container that runs, or was only created.
VERBS: list[tuple[Verb, bool, dict[str, Any]]] = [
    (create, True, {}),
    (start, False, {}),
    (start, False, {"auto_remove": True}),
    (stop, True, {}),
    (kill, True, {}),
    (restart, True, {}),
    (remove, False, {}),
    (remove_by_force, True, {}),
    (pause, True, {}),
    (rename, True, {}),
    (end, True, {}),
    (end, True, {"auto_remove": True}),
]


@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
@pytest.mark.parametrize(
    ("verb", "runs", "fields"),
    VERBS,
    ids=[verb.__name__ + "-".join(fields) for verb, _, fields in VERBS],
)
async def test_a_kill_at_any_step_leaves_all_sound(
    facet: Facet, verb: Verb, runs: bool, fields: dict[str, Any], again: bool
) -> None:
    for step in range(1, MOST_STEPS, EACH if again else 1):
        prepared = (await facet.creator.create("", spec(name="one", **fields))).id
        if runs:
            await facet.lifecycle.start(prepared)
        died = await dies(Fate(step), facet, lambda dying: verb(dying, prepared))  # noqa: B023
        repairs = 0
        while again and await dies(Fate(repairs + 1), facet, settle):
            repairs += 1
        facet = facet.restarted()
        await settle(facet)
        await check_sound(facet)
        await check_usable_and_remove(facet)
        # A comparison has some calls to be killed after, whatever there is to repair.
        assert repairs > 2 or not again
        if not died:
            assert step > 2
            return
    raise AssertionError("it never ends")


async def dies(fate: Fate, facet: Facet, work: Callable[[Facet], Awaitable[None]]) -> bool:
    """Have an exec that its fate awaits do some work, and be gone; tell whether it was killed."""
    try:
        async with asyncio.timeout(60):
            await work(mortal(facet, fate))
    except BaseExceptionGroup as group:
        if group.split(Killed)[1] is not None:
            raise
    except Killed:
        pass
    died, fate.dead = fate.dead, True
    return died


async def settle(facet: Facet) -> None:
    """Compare until all is right; the end of a VM counts the second time that it is missing."""
    for _ in range(3):
        if await facet.reconciler.reconcile():
            break
    else:
        raise AssertionError("it doesn't settle")
    while facet.hypervisor.telling:
        await asyncio.wait(facet.hypervisor.telling)
    await facet.exits.drain()
    assert await facet.reconciler.reconcile()


async def check_sound(facet: Facet) -> None:
    """Check that records and what there is are the same."""
    records = {record.id: record for record in await facet.containers.select()}
    assert await facet.containers.reserved_ids() == set()
    assert {record.state for record in records.values()} <= SETTLED
    peers = facet.peers
    for held in (peers.disks, peers.reservations, peers.registered):
        assert set(held) == set(records)
    running = {i: r.boot_id for i, r in records.items() if r.state.has_vm}
    assert facet.hypervisor.machines == running
    assert peers.bound <= set(running)
    # One that stands still and is said to run could not be unpaused.
    paused = {i for i, record in records.items() if record.state is State.PAUSED}
    assert facet.hypervisor.paused & set(running) <= paused


async def check_usable_and_remove(facet: Facet) -> None:
    """Start and remove what there is; nothing is left, and each end was told once."""
    for record in await facet.containers.select():
        if record.state is State.PAUSED:
            await facet.lifecycle.unpause(record.id)
        elif record.state is not State.RUNNING:
            await facet.lifecycle.start(record.id)
        await facet.lifecycle.remove(record.id, record.id, force=True)
    assert facet.leftovers() == []
    assert await facet.containers.select() == []
    kinds: dict[str, list[int]] = {}
    for event in await facet.history.after(0, limit=100_000):
        kinds.setdefault(event.container_id, []).append(event.kind)
    for told in kinds.values():
        assert told.count(exec_pb2.EVENT_KIND_CREATE) == 1
        assert told.count(exec_pb2.EVENT_KIND_DESTROY) == 1
        assert told[-1] == exec_pb2.EVENT_KIND_DESTROY
        starts = told.count(exec_pb2.EVENT_KIND_START)
        assert told.count(exec_pb2.EVENT_KIND_DIE) == starts

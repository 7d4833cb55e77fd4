"""What interaction and the hypervisor tell is taken in once, and confirmed when it is on record."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from vic.interaction.v1 import process_pb2

from portlayer.errors import OutOfRange, Unavailable
from services.exec import watching
from services.exec.drivers import MachineExited
from services.exec.peers import Peers
from services.exec.states import State
from services.exec.watching import MACHINES, PROCESSES, Watching
from tests.unit.exec.conftest import Facet
from tests.unit.exec.specs import SPEC


@dataclass
class Sources:
    """Interaction and a hypervisor as streams of what a test puts in; an error ends its stream."""

    events: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    ends: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    acknowledged: list[int] = field(default_factory=list)
    forgotten: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    watched_from: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)
    may_confirm: asyncio.Event = field(default_factory=asyncio.Event)
    # A confirmation was cancelled, and may be over.
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    following: asyncio.Task[None] | None = None

    async def Watch(
        self, request: process_pb2.WatchRequest, **_: Any
    ) -> AsyncIterator[process_pb2.WatchResponse]:
        self.watched_from.put_nowait(request.after_sequence)
        while True:
            yield await _next(self.events)

    async def Acknowledge(self, request: process_pb2.AcknowledgeRequest) -> None:
        self.acknowledged.append(request.sequence)
        self.confirmed.set()
        try:
            await self.may_confirm.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            await self.may_end.wait()
            raise

    async def exits(self, after: int) -> AsyncIterator[Any]:
        while True:
            yield await _next(self.ends)

    async def forget_exits(self, through: int) -> None:
        self.forgotten.put_nowait(through)


async def _next(queue: asyncio.Queue[Any]) -> Any:
    item = await queue.get()
    if isinstance(item, Exception):
        raise item
    return item


def ended(sequence: int, container_id: str, boot_id: str, code: int) -> process_pb2.WatchResponse:
    event = process_pb2.ProcessEvent(
        sequence=sequence,
        container_id=container_id,
        boot_id=boot_id,
        process_id="init",
        ended=process_pb2.ProcessEnded(exit_code=code),
    )
    return process_pb2.WatchResponse(event=event)


def running(sequence: int) -> process_pb2.WatchResponse:
    event = process_pb2.ProcessEvent(sequence=sequence, running=process_pb2.ProcessRunning(pid=1))
    return process_pb2.WatchResponse(event=event)


@pytest.fixture
async def sources(facet: Facet, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sources]:
    """Sources that the facet follows."""
    monkeypatch.setattr(watching, "RETRY_SECONDS", 0.0)
    sources = Sources()
    sources.may_confirm.set()
    sources.may_end.set()
    any_source = cast("Any", sources)
    peers = Peers(any_source, any_source, any_source, any_source, any_source)
    following = Watching(
        facet.facts, peers, any_source, facet.exits, facet.reports, facet.reconciler
    )
    task = sources.following = asyncio.create_task(following.run())
    await sources.watched_from.get()
    yield sources
    task.cancel()
    await asyncio.wait({task})


async def test_many_events_are_confirmed_by_few(facet: Facet, sources: Sources) -> None:
    sources.may_confirm.clear()
    sources.events.put_nowait(running(1))
    await sources.confirmed.wait()
    for sequence in range(2, 100):
        sources.events.put_nowait(running(sequence))
    container_id = await facet.run()
    sources.events.put_nowait(ended(100, container_id, facet.peers.boots[container_id], 4))
    # The end is on record while the first confirmation is still out.
    await facet.exits.ended(await facet.containers.resolve(container_id))
    assert (await facet.containers.resolve(container_id)).exit_code == 4
    assert sources.acknowledged == [1]
    sources.may_confirm.set()
    while sources.acknowledged[-1] != 100:
        sources.confirmed.clear()
        await sources.confirmed.wait()
    assert len(sources.acknowledged) <= 4
    assert await facet.facts.position(PROCESSES) == 100


async def test_an_exit_during_a_start_is_confirmed_when_it_is_on_record(
    facet: Facet, sources: Sources
) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.answer_launch.clear()
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await facet.peers.launched.wait()
    sources.events.put_nowait(ended(7, record.id, facet.peers.boots[record.id], 4))
    early = asyncio.create_task(sources.confirmed.wait())
    assert not (await asyncio.wait({early}, timeout=0.05))[0]
    facet.peers.answer_launch.set()
    await starting
    await early
    assert sources.acknowledged == [7]
    ended_record = await facet.containers.resolve(record.id)
    assert (ended_record.state, ended_record.exit_code) == (State.EXITED, 4)


async def test_a_stream_that_breaks_is_followed_again(facet: Facet, sources: Sources) -> None:
    sources.events.put_nowait(running(3))
    await sources.confirmed.wait()
    sources.events.put_nowait(Unavailable("interaction is away"))
    assert await sources.watched_from.get() == 3
    sources.events.put_nowait(OutOfRange("its history was lost"))
    assert await sources.watched_from.get() == 0


async def test_a_lost_history_while_the_database_is_away_is_taken_in_later(
    facet: Facet, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources.events.put_nowait(running(3))
    await sources.confirmed.wait()
    set_position = facet.facts.set_position

    async def away(source: str, sequence: int) -> None:
        monkeypatch.setattr(facet.facts, "set_position", set_position)
        raise Unavailable("the database can't be reached")

    monkeypatch.setattr(facet.facts, "set_position", away)
    sources.events.put_nowait(OutOfRange("its history was lost"))
    async with asyncio.timeout(60):
        assert await sources.watched_from.get() == 3
        sources.events.put_nowait(OutOfRange("its history was lost"))
        assert await sources.watched_from.get() == 0


async def test_the_history_of_vms_is_taken_in_before_one_counts_as_lost(
    facet: Facet, sources: Sources
) -> None:
    container_id = await facet.run()
    boot_id = facet.peers.boots[container_id]
    facet.hypervisor.machines.clear()
    assert not facet.exits.caught_up
    how = MachineExited(container_id, boot_id, b'{"exit_code": 9}', "")
    sources.ends.put_nowait((5, how))
    sources.ends.put_nowait((6, None))
    while await sources.forgotten.get() < 6:
        pass
    assert facet.exits.caught_up
    assert (await facet.containers.resolve(container_id)).exit_code == 9
    assert await facet.facts.position(MACHINES) == 6
    sources.ends.put_nowait(Unavailable("the agent is away"))
    sources.ends.put_nowait((7, MachineExited("other", "boot", b"", "")))
    assert await sources.forgotten.get() == 7
    assert not facet.exits.caught_up


async def test_following_ends_where_a_stream_breaks_at_the_same_time(
    facet: Facet, sources: Sources
) -> None:
    assert sources.following is not None
    sources.may_confirm.clear()
    sources.may_end.clear()
    sources.events.put_nowait(running(1))
    await sources.confirmed.wait()
    sources.events.put_nowait(Unavailable("interaction is away"))
    await sources.cancelled.wait()
    sources.following.cancel()
    await asyncio.wait({sources.following}, timeout=0.01)
    sources.may_end.set()
    done, _ = await asyncio.wait({sources.following}, timeout=60)
    assert done

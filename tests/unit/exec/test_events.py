"""Who follows events gets each, and is woken by those that it wants."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vic.exec.v1 import exec_pb2

from portlayer.errors import InvalidArgument, OutOfRange, Reason, Unavailable
from services.exec import history
from services.exec.history import NewEvent
from services.exec.waiting import wait
from tests.unit.exec.conftest import Facet
from tests.unit.exec.test_listing import NO_CONTEXT, servicer


async def happen(facet: Facet, container_id: str) -> None:
    await facet.history.append(NewEvent(exec_pb2.EVENT_KIND_KILL, container_id, {}))
    facet.events.announce(container_id)


async def test_a_waiter_is_woken_by_its_own_container_alone(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Queue[str]()
    events_after = facet.history.after

    async def counted(after: int, *, container_id: str, **kwargs: Any) -> Any:
        events = await events_after(after, container_id=container_id, **kwargs)
        looked.put_nowait(container_id)
        return events

    monkeypatch.setattr(facet.history, "after", counted)

    async def follow(container_id: str) -> str:
        async with aclosing(facet.events.follow(0, container_id=container_id)) as following:
            return (await anext(following)).container_id

    following = {i: asyncio.create_task(follow(i)) for i in ("a", "b", "")}
    async with asyncio.timeout(60):
        assert {await looked.get() for _ in following} == {"a", "b", ""}
        await happen(facet, "a")
        assert await following["a"] == "a"
        assert await following[""] == "a"
        assert {looked.get_nowait() for _ in range(looked.qsize())} == {"a", ""}
        await happen(facet, "b")
        assert await following["b"] == "b"


async def test_all_watchers_leave_when_the_service_stops(facet: Facet) -> None:
    container_id = await facet.run()
    waiting = wait(facet.containers, facet.events, container_id, exec_pb2.WAIT_CONDITION_NEXT_EXIT)
    await anext(waiting)
    result = asyncio.ensure_future(anext(waiting))
    await asyncio.wait({result}, timeout=0.05)
    facet.events.end_streams()
    async with asyncio.timeout(60):
        with pytest.raises(Unavailable, match="stopping"):
            await result


async def test_who_fell_behind_the_history_is_told(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "EVENT_HISTORY", 50)
    async with aclosing(facet.events.follow(0)) as following:
        await happen(facet, "a")
        first = await anext(following)
        for _ in range(250):
            await happen(facet, "a")
        with pytest.raises(OutOfRange) as caught:
            # Neither silence nor a gap that nobody knows of.
            while True:
                await anext(following)
        assert caught.value.reason is Reason.HISTORY_LOST
    assert (await facet.history.range())[0] > first.sequence + 1


async def told(facet: Facet) -> list[tuple[str, str]]:
    stored = await facet.history.after(0)
    return [
        (
            exec_pb2.EventKind.Name(e.kind).removeprefix("EVENT_KIND_"),
            e.attributes.get("signal", ""),
        )
        for e in stored
    ]


async def test_a_stop_tells_of_its_signals(facet: Facet) -> None:
    facet.peers.exit_on = {9: 137}
    container_id = await facet.run()
    await facet.lifecycle.stop(container_id, 0.01, "INT")
    assert await told(facet) == [
        ("CREATE", ""),
        ("START", ""),
        ("KILL", "2"),
        ("KILL", "9"),
        ("DIE", ""),
        ("STOP", ""),
    ]


async def test_a_forced_removal_tells_of_its_kill(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.remove(container_id, container_id, force=True)
    assert (await told(facet))[2:] == [("KILL", "9"), ("DIE", ""), ("DESTROY", "")]


async def test_events_carry_what_docker_tells(facet: Facet) -> None:
    container_id = await facet.run("web", labels={"tier": "front"})
    await facet.peers.end(container_id, 7)
    died = next(e for e in await facet.history.after(0) if e.kind == exec_pb2.EVENT_KIND_DIE)
    duration = died.attributes["execDuration"]
    assert duration.isdecimal()
    assert died.attributes == {
        "image": "busybox",
        "name": "web",
        "tier": "front",
        "l": "image",
        "exitCode": "7",
        "execDuration": duration,
    }


async def test_what_others_did_is_told_in_its_place(facet: Facet) -> None:
    container_id = await facet.run("web")
    request = exec_pb2.RecordEventRequest(
        reference="web",
        request_id="one",
        kind=exec_pb2.EVENT_KIND_EXEC_START,
        attributes={"execID": "e"},
        detail="sh -c true",
    )
    service = servicer(facet)
    for _ in range(2):
        await service.RecordEvent(request, NO_CONTEXT)
    await facet.peers.end(container_id, 0)
    assert [kind for kind, _ in await told(facet)] == ["CREATE", "START", "EXEC_START", "DIE"]
    stored = (await facet.history.after(0))[2]
    assert (stored.container_id, stored.detail) == (container_id, "sh -c true")
    assert stored.attributes == {"image": "busybox", "name": "web", "l": "image", "execID": "e"}
    for kind in (exec_pb2.EVENT_KIND_DIE, exec_pb2.EVENT_KIND_UNSPECIFIED, 999):
        request = exec_pb2.RecordEventRequest(reference="web", kind=kind)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            await service.RecordEvent(request, NO_CONTEXT)


async def watch(facet: Facet, count: int, **request: Any) -> list[int]:
    """Return the numbers of the next events that a watcher gets."""
    asked = exec_pb2.WatchEventsRequest(**request)
    stream: Any = servicer(facet).WatchEvents(asked, NO_CONTEXT)
    async with asyncio.timeout(60), aclosing(stream) as responses:
        assert (await anext(responses)).HasField("started")
        return [(await anext(responses)).event.sequence for _ in range(count)]


async def test_a_watcher_goes_on_from_a_number_through_restarts(facet: Facet) -> None:
    await facet.run()
    await facet.run()
    assert await watch(facet.restarted(), 3, after_sequence=1) == [2, 3, 4]
    assert await watch(facet.restarted(), 4, since=Timestamp(seconds=1)) == [1, 2, 3, 4]
    for beyond in (5, 100):
        with pytest.raises(OutOfRange):
            await watch(facet, 1, after_sequence=beyond)


async def test_events_since_a_moment_beyond_the_databases_numbers_are_none(facet: Facet) -> None:
    await happen(facet, "a")
    assert await facet.history.after(0, since_ns=9_999_999_999 * 10**9) == []
    assert len(await facet.history.after(0, since_ns=-(2**64))) == 1

"""Who follows events gets each, and is woken by those that it wants."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from vic.exec.v1 import exec_pb2

from portlayer.errors import Unavailable
from services.exec.store import NewEvent
from services.exec.waiting import wait
from tests.unit.exec.conftest import Facet


async def happen(facet: Facet, container_id: str) -> None:
    await facet.containers.append(NewEvent(exec_pb2.EVENT_KIND_KILL, container_id, {}))
    facet.events.announce(container_id)


async def test_a_waiter_is_woken_by_its_own_container_alone(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = asyncio.Queue[str]()
    events_after = facet.containers.events_after

    async def counted(after: int, *, container_id: str, **kwargs: Any) -> Any:
        looked.put_nowait(container_id)
        return await events_after(after, container_id=container_id, **kwargs)

    monkeypatch.setattr(facet.containers, "events_after", counted)

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

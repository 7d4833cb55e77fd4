"""Who is told of containers' use, by one stream for all of them."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from vic.exec.v1.container_pb2 import Container
from vic.interaction.v1.interaction_pb2 import WATCH_END_REMOVED, WATCH_END_TETHER_AWAY

from gateway import watched
from gateway.watched import WatchedContainers
from portlayer.errors import Reason, Unavailable
from portlayer.identity import Role
from tests.unit.gateway.conftest import Endpoint, Eventually
from tests.unit.gateway.fake_facets import FakeSuite

Lines = AsyncGenerator[bytes, None]
SAMPLE: Any = {"time": {"seconds": 1000}, "cpu_usage_us": 500}
NEXT: Any = {"time": {"seconds": 1001}, "cpu_usage_us": 900}


def container(name: str) -> Container:
    made = Container(id=name * 64)
    made.spec.name = name
    return made


@pytest.fixture
async def containers(suite: FakeSuite) -> WatchedContainers:
    suite.interaction.has_watched = True
    return WatchedContainers(suite.facets.interaction)


def reading(lines: Lines) -> "asyncio.Task[Any]":
    async def read() -> Any:
        async with asyncio.timeout(60):
            line = await anext(lines, None)
        return None if line is None else json.loads(line)

    return asyncio.create_task(read())


def usage(told: Any) -> tuple[int, int]:
    """The CPU time now and before, in microseconds."""
    parts = (told["cpu_stats"], told["precpu_stats"])
    now, before = (part["cpu_usage"]["total_usage"] // 1000 for part in parts)
    return now, before


async def test_one_stream_carries_the_samples_of_all(
    suite: FakeSuite, containers: WatchedContainers, eventually: Eventually
) -> None:
    fake = suite.interaction
    first, second = container("a"), container("b")
    one, two = containers.lines(first), containers.lines(second)
    tasks = reading(one), reading(two)
    await eventually(lambda: fake.watched == {first.id, second.id})
    assert fake.watch_streams == 1
    fake.tell(first.id, sample=SAMPLE)
    fake.tell(second.id)
    told = await tasks[0]
    assert (told["id"], told["name"], usage(told)) == (first.id, "/a", (500, 0))
    assert (await tasks[1])["pids_stats"] == {}
    later = reading(one)
    fake.tell(first.id, sample=NEXT)
    assert usage(await later) == (900, 500)
    await one.aclose()
    await eventually(lambda: fake.watched == {second.id})
    await two.aclose()
    await eventually(lambda: fake.watch_streams == 0)


async def test_who_comes_later_has_seen_none_before(
    suite: FakeSuite, containers: WatchedContainers, eventually: Eventually
) -> None:
    fake = suite.interaction
    one = container("a")
    early, late = containers.lines(one), containers.lines(one)
    task = reading(early)
    await eventually(lambda: one.id in fake.watched)
    fake.tell(one.id, sample=SAMPLE)
    await task
    tasks = reading(early), reading(late)
    await asyncio.sleep(0)
    fake.tell(one.id, sample=NEXT)
    assert [usage(await task) for task in tasks] == [(900, 500), (900, 0)]
    await early.aclose()
    task = reading(late)
    fake.tell(one.id, sample=SAMPLE)
    assert usage(await task) == (500, 900)
    await late.aclose()


async def test_who_reads_slowly_is_told_the_newest_and_holds_up_nobody(
    suite: FakeSuite, containers: WatchedContainers, eventually: Eventually
) -> None:
    fake = suite.interaction
    one, two = container("a"), container("b")
    slow, quick = containers.lines(one), containers.lines(two)
    task, other = reading(slow), reading(quick)
    await eventually(lambda: len(fake.watched) == 2)
    fake.tell(one.id, sample=SAMPLE)
    fake.tell(two.id, sample=SAMPLE)
    await asyncio.gather(task, other)
    for pids in range(1000):
        fake.tell(one.id, sample={"pids": pids})
    other = reading(quick)
    fake.tell(two.id, sample=NEXT)
    assert usage(await other) == (900, 500)
    assert (await reading(slow))["pids_stats"]["current"] == 999
    await slow.aclose()
    await quick.aclose()


async def test_the_end_of_a_container_ends_who_watches_it(
    suite: FakeSuite, containers: WatchedContainers, eventually: Eventually
) -> None:
    fake = suite.interaction
    one, two, three = container("a"), container("b"), container("c")
    removed, away, going_on = (containers.lines(each) for each in (one, two, three))
    tasks = reading(removed), reading(away), reading(going_on)
    await eventually(lambda: len(fake.watched) == 3)
    fake.tell(one.id, end=WATCH_END_REMOVED)
    fake.tell(two.id, end=WATCH_END_TETHER_AWAY)
    assert await tasks[0] is None
    with pytest.raises(Unavailable) as caught:
        await tasks[1]
    assert caught.value.reason is Reason.TETHER_AWAY
    # It may be watched again, as it is asked for again.
    again = containers.lines(two)
    task = reading(again)
    await eventually(lambda: two.id in fake.watched)
    fake.tell(two.id, sample=SAMPLE)
    assert usage(await task) == (500, 0)
    await again.aclose()
    fake.tell(three.id, sample=SAMPLE)
    assert usage(await tasks[2]) == (500, 0)
    await going_on.aclose()


async def test_another_replicas_container_is_told_of_by_that_one(
    suite: FakeSuite, containers: WatchedContainers
) -> None:
    suite.interaction.has_watched = False
    suite.interaction.samples = [SAMPLE, NEXT, None]
    lines = [json.loads(line) async for line in containers.lines(container("a"))]
    assert [usage(line) for line in lines] == [(500, 0), (900, 500), (0, 900)]


async def test_watching_goes_on_after_a_restart_of_interaction(
    suite: FakeSuite, containers: WatchedContainers, eventually: Eventually
) -> None:
    fake = suite.interaction
    one = container("a")
    lines = containers.lines(one)
    task = reading(lines)
    await eventually(lambda: one.id in fake.watched)
    await suite.stop(Role.INTERACTION)
    fake.watched = set()
    await suite.start(Role.INTERACTION)
    await eventually(lambda: one.id in fake.watched)
    fake.tell(one.id, sample=SAMPLE)
    assert usage(await task) == (500, 0)
    await lines.aclose()


async def test_watching_ends_where_interaction_stays_away(
    suite: FakeSuite, containers: WatchedContainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "_AWAY_SECONDS", 0.0)
    await suite.stop(Role.INTERACTION)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(60):
            await anext(containers.lines(container("a")))
    await suite.start(Role.INTERACTION)


async def test_a_client_that_goes_is_not_told_any_more(
    suite: FakeSuite, engine: Endpoint, eventually: Eventually
) -> None:
    suite.interaction.has_watched = True
    suite.pulled("busybox:latest")
    async with engine.http() as client:
        body = {"Image": "busybox", "Cmd": ["sleep"]}
        made = (await client.post("/containers/create?name=one", json=body)).json()["Id"]
        await client.post("/containers/one/start")
        async with client.stream("GET", "/containers/one/stats") as answer:
            await eventually(lambda: suite.interaction.watched == {made})
            suite.interaction.tell(made, sample=SAMPLE)
            line = await anext(answer.aiter_lines())
            assert usage(json.loads(line)) == (500, 0)
    await eventually(lambda: suite.interaction.watch_streams == 0)

"""Who is told of many containers' use on one stream, and when."""

import asyncio
from typing import Any

import grpc
import pytest
from vic.interaction.v1 import interaction_pb2, process_pb2
from vic.interaction.v1.interaction_pb2 import (
    WATCH_END_NOT_HERE,
    WATCH_END_REMOVED,
    WATCH_END_TETHER_AWAY,
    WatchedSample,
)
from vic.tether.v1.tether_pb2 import StatsSample

from services.interaction import manywatched
from services.interaction.manywatched import ManyWatched, in_messages
from tests.unit.interaction.fake_tether import BOOT, SOON, FakeTether, soon
from tests.unit.interaction.suite import CONTAINER, OTHER, Suite
from tests.unit.interaction.test_usage import period, start_watched


class Stream:
    """A stream on which containers are watched."""

    def __init__(self, suite: Suite) -> None:
        self.call: Any = suite.interaction().WatchStats()
        self._told: list[WatchedSample] = []

    async def ask(self, *watch: str, leave: tuple[str, ...] = ()) -> None:
        """Watch others."""
        await self.call.write(interaction_pb2.WatchStatsRequest(watch=watch, leave=leave))

    async def next(self) -> WatchedSample:
        """What is told next."""
        while not self._told:
            message = await soon(self.call.read())
            assert message is not grpc.aio.EOF
            self._told = list(message.samples)
        return self._told.pop(0)


async def run(suite: Suite, container_id: str) -> FakeTether:
    """Have a container run."""
    await suite.register(container_id)
    tether = suite.tether(container_id)
    await tether.connect()
    await asyncio.gather(suite.launch(container_id), tether.take_launch())
    return tether


async def test_first_samples_come_as_they_are_told_and_then_all_together(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None is told again here, however slow the machine is.
    monkeypatch.setattr(manywatched, "_LATE", 600.0)
    tethers = {name: await run(suite, name) for name in (CONTAINER, OTHER)}
    stream = Stream(suite)
    await stream.ask(CONTAINER, OTHER)
    for tether in tethers.values():
        assert await period(tether) == 1000
    for pids in (1, 2):
        for name, tether in tethers.items():
            await tether.say(stats={"pids": pids})
            told = await stream.next()
            assert (told.container_id, told.sample.pids) == (name, pids)
    # They wait for one another now, unless a moment comes between the two.
    together: set[tuple[str, int]] = set()
    async with asyncio.timeout(SOON):
        while len(together) < 2:
            pids += 1
            for tether in tethers.values():
                await tether.say(stats={"pids": pids})
            message = await stream.call.read()
            together = {(told.container_id, told.sample.pids) for told in message.samples}
    assert together == {(name, pids) for name in tethers}
    stream.call.cancel()


async def test_the_tether_is_asked_while_the_container_is_watched(suite: Suite) -> None:
    async with suite.running() as tether:
        stream = Stream(suite)
        await stream.ask(CONTAINER)
        assert await period(tether) == 1000
        await stream.ask(leave=(CONTAINER,))
        assert await period(tether) == 0
        await stream.ask(CONTAINER, CONTAINER)
        assert await period(tether) == 1000
        await stream.call.done_writing()
        assert await period(tether) == 0
        assert await soon(stream.call.read()) is grpc.aio.EOF


async def test_what_does_not_run_is_told_of_and_then_it_runs(suite: Suite) -> None:
    await suite.register()
    stream = Stream(suite)
    await stream.ask(CONTAINER)
    told = await stream.next()
    assert (told.HasField("sample"), told.end) == (False, 0)
    tether = suite.tether()
    await tether.connect()
    launching = asyncio.ensure_future(suite.launch())
    await start_watched(tether)
    await launching
    await tether.say(stats={"pids": 9})
    while not (told := await stream.next()).HasField("sample"):
        pass
    assert told.sample.pids == 9
    # While the machine stands still it is told again.
    assert (await stream.next()).sample.pids == 9
    stream.call.cancel()


async def test_ends_are_told_and_the_stream_goes_on(suite: Suite, monkeypatch: Any) -> None:
    monkeypatch.setattr(manywatched, "FIRST_SECONDS", 0.1)
    await suite.register()
    await run(suite, OTHER)
    unknown = "ee" * 32
    stream = Stream(suite)
    await stream.ask(CONTAINER, OTHER, unknown)
    ends = {}
    for _ in range(2):
        told = await stream.next()
        ends[told.container_id] = told.end
    assert ends == {CONTAINER: 0, unknown: WATCH_END_NOT_HERE}
    while (told := await stream.next()).container_id != OTHER:
        pass
    assert told.end == WATCH_END_TETHER_AWAY
    await suite.processes().Unregister(process_pb2.UnregisterRequest(container_id=CONTAINER))
    while not (told := await stream.next()).end:
        pass
    assert (told.container_id, told.end) == (CONTAINER, WATCH_END_REMOVED)
    stream.call.cancel()


async def test_samples_of_another_boot_are_not_told(suite: Suite) -> None:
    async with suite.running() as tether:
        await tether.say(stats={"pids": 5})
        assert suite.service is not None
        session = suite.service.sessions.get(CONTAINER)
        await soon(session.changed.wait_for(lambda: session.usage.newest(BOOT) is not None))
        with ManyWatched(suite.service.sessions.find) as many:
            session.boot_id = "b002"
            many.change([CONTAINER], ())
            due = asyncio.ensure_future(many.due())
            session.usage.take("b001", StatsSample(pids=6))
            await asyncio.sleep(0)
            session.usage.take("b002", StatsSample(pids=7))
            (told,) = await soon(due)
            assert told.sample.pids == 7


def test_messages_stay_small() -> None:
    large = StatsSample(memory_stat={"k" * 400_000: 1})
    samples = [WatchedSample(container_id=str(n), sample=large) for n in range(7)]
    messages = list(in_messages(samples))
    assert [len(message) for message in messages] == [3, 3, 1]
    assert [sample.container_id for message in messages for sample in message] == list("0123456")
    assert list(in_messages([])) == []

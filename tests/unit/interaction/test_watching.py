"""When those who watch containers' use of resources are told."""

import asyncio
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any, cast

import pytest
from vic.tether.v1.tether_pb2 import StatsSample

from services.interaction.pulse import Pulse
from services.interaction.sessions import Session
from services.interaction.usage import UsageHub
from services.interaction.watching import follow


class Watched:
    """A container that is watched: samples that its tether tells, and when they were passed on."""

    def __init__(self) -> None:
        changed = Pulse()
        usage = UsageHub(lambda: None, changed)
        self.session = SimpleNamespace(
            usage=usage,
            changed=changed,
            running=True,
            removed=False,
            boot_id="boot",
            container_id="c" * 64,
        )
        self.told: asyncio.Queue[tuple[Any, float]] = asyncio.Queue()

    async def watch(self) -> None:
        """Be told until cancelled."""
        async with aclosing(follow(cast(Session, self.session))) as samples:
            async for sample in samples:
                self.told.put_nowait((sample, asyncio.get_running_loop().time()))

    def say(self, pids: int) -> None:
        """The tether tells of a sample."""
        self.session.usage.take("boot", StatsSample(pids=pids))

    async def next(self) -> tuple[Any, float]:
        """What is told next, and when."""
        async with asyncio.timeout(60):
            return await self.told.get()


async def test_two_samples_come_at_once_and_then_all_containers_at_one_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.25  # and it stays that for as long as it is not set
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    containers = Watched(), Watched()
    watchers = [asyncio.ensure_future(one.watch()) for one in containers]
    await asyncio.sleep(0)
    for number in (1, 2):
        for one in containers:
            one.say(number)
            assert (await one.next())[0].pids == number
    # From here on they wait for one another, whenever their tethers tell.
    first, second = containers
    for one in containers:
        one.say(3)
        now += 0.25
        for _ in range(10):
            await asyncio.sleep(0)
    assert first.told.empty()
    assert second.told.empty()
    now = 1001.0
    for one in containers:
        told, at = await one.next()
        assert (told.pids, at) == (3, now)
    for watcher in watchers:
        watcher.cancel()
    await asyncio.wait(watchers)


async def test_the_newest_of_what_came_meanwhile_is_told() -> None:
    one = Watched()
    watcher = asyncio.ensure_future(one.watch())
    await asyncio.sleep(0)
    for number in (1, 2):
        one.say(number)
        await one.next()
    one.say(3)
    one.say(4)
    assert (await one.next())[0].pids == 4
    # What ends is told of at once, not at the next moment.
    one.session.running = False
    one.session.changed.beat()
    assert (await one.next())[0] is None
    watcher.cancel()
    await asyncio.wait([watcher])

"""Starts again the containers whose restart policy asks for it, each when its pause is over.

What waits and until when is in the database alone, so that a restart of this service forgets
nothing.
"""

import asyncio
import logging
import time
from dataclasses import replace
from functools import partial

from portlayer.errors import VicError, leaf_error
from services.exec.exits import Exits
from services.exec.facts import Facts
from services.exec.lifecycle import Lifecycle
from services.exec.policy import to_restart, wants_start_with_suite
from services.exec.states import State
from services.exec.store import Containers

log = logging.getLogger("vic.exec.restarting")

# Fact: the host's boot in which the suite was last up; CLOSED once it was told to end.
SUITE = "suite"
CLOSED = "closed"
# Starts at once: more of them only take the processor from one another.
AT_A_TIME = 8
# Nothing wakes us where the clock was set back.
LONGEST_SLEEP_SECONDS = 60.0
# While the database is away.
RETRY_SECONDS = 1.0


class Restarts:
    """Keeps restart policies."""

    def __init__(
        self, containers: Containers, facts: Facts, lifecycle: Lifecycle, exits: Exits
    ) -> None:
        self._containers = containers
        self._facts = facts
        self._lifecycle = lifecycle
        self._exits = exits
        self._look = asyncio.Event()
        self._works: dict[str, asyncio.Task[None]] = {}
        exits.on_restart = self._look.set

    async def open(self, host_boot: str) -> None:
        """Have containers started by their policies when the suite, or the host, has come up anew.

        A restart of this service alone starts nothing that was ended.
        """
        former = await self._facts.fact(SUITE)
        if former is not None and former != host_boot:
            for record in await self._containers.select([State.EXITED]):
                if wants_start_with_suite(record):
                    fresh = to_restart(replace(record, restart_count=0), time.time_ns(), 0)
                    await self._containers.update(fresh, expect=record, by_hand=False)
        await self._facts.set_fact(SUITE, host_boot)

    async def close(self) -> None:
        """Take in that the suite ends: from now on nothing is started, and no stop is by hand."""
        self._exits.closing = True
        await self._facts.set_fact(SUITE, CLOSED)

    def check_open(self) -> None:
        """Raise Unavailable where the suite ends."""
        self._exits.check_open()

    async def look_again(self) -> None:
        """Take in whether another replica was told that the suite ends."""
        self._exits.closing = await self._facts.fact(SUITE) == CLOSED

    async def run(self) -> None:
        """Start what is due, for ever."""
        room = asyncio.Semaphore(AT_A_TIME)
        while True:
            self._look.clear()
            try:
                pause = await self._begin_due(room)
            except VicError as error:
                log.warning("cannot look at what waits for its restart: %s", error.message)
                pause = RETRY_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _begin_due(self, room: asyncio.Semaphore) -> float:
        """Begin what is due, and return the seconds until something else is."""
        if self._exits.closing:
            return LONGEST_SLEEP_SECONDS
        pause, now = LONGEST_SLEEP_SECONDS, time.time_ns()
        for record in await self._containers.select([State.RESTARTING]):
            if record.id in self._works:
                continue
            if record.restart_at_ns > now:
                pause = min(pause, (record.restart_at_ns - now) / 1e9)
                continue
            work = asyncio.create_task(self._start(record.id, room), name=f"restart {record.id}")
            self._works[record.id] = work
            work.add_done_callback(partial(self._ended, record.id))
        return pause

    def _ended(self, container_id: str, _: "asyncio.Task[None]") -> None:
        del self._works[container_id]
        # It may have ended, and wait again, before this.
        self._look.set()

    async def _start(self, container_id: str, room: asyncio.Semaphore) -> None:
        try:
            async with room:
                await self._lifecycle.start_again(container_id)
        except Exception as failure:
            error = leaf_error(failure)
            if not isinstance(error, VicError):
                raise
            log.warning("cannot start %s again: %s", container_id, error.message)

    async def drain(self, within: float) -> None:
        """Wait for starts in hand, and give those up that take longer than so many seconds."""
        works = set(self._works.values())
        if not works:
            return
        _, left = await asyncio.wait(works, timeout=within)
        for work in left:
            work.cancel()
        if left:
            await asyncio.wait(left, timeout=within)

"""Takes in a stream of events, and tells its source how far that has come."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

# Events that are not confirmed yet; beyond that the source has to wait.
MOST_PENDING: Final = 10_000
# Between two confirmations. A container's life is some eight events of two sources, each of which
# would cost two transactions and a call.
PAUSE_SECONDS: Final = 0.5


class Intake:
    """Takes events in as they come, each by itself, and confirms them in their order.

    A source forgets what is confirmed, so an event is confirmed when what it says is on record; an
    exit of a container that is just being started waits for that. Nobody waits for a confirmation:
    of many events in a short time the last is confirmed for all. What isn't confirmed comes again
    after a restart, so taking an event in must be idempotent.
    """

    def __init__(
        self, confirm: Callable[[int], Awaitable[None]], works: set[asyncio.Task[None]]
    ) -> None:
        """``works`` keeps what is in hand: it goes on when the stream that it came by has ended."""
        self._confirm = confirm
        self._works = works
        self._pending: deque[tuple[int, asyncio.Task[None] | None]] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Semaphore(MOST_PENDING)

    async def take(self, sequence: int, work: Coroutine[None, None, None] | None = None) -> None:
        """Begin to take an event in; without work there is nothing to do about it."""
        await self._room.acquire()
        task = None
        if work is not None:
            task = asyncio.create_task(work, name=f"event {sequence}")
            self._works.add(task)
            task.add_done_callback(self._works.discard)
        self._pending.append((sequence, task))
        self._arrived.set()

    def in_hand(self) -> list[asyncio.Task[None]]:
        """Return what is being done about the events that came until now."""
        return [task for _, task in self._pending if task is not None]

    async def run(self) -> None:
        """Confirm for ever. Raises what taking an event in raised."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._pending:
                _, task = self._pending[0]
                if task is not None:
                    await asyncio.wait({task})
                await self._confirm(self._pop_done())
                await asyncio.sleep(PAUSE_SECONDS)

    def _pop_done(self) -> int:
        """Take away what is taken in from the left on; return the last one's number."""
        last = 0
        while self._pending:
            sequence, task = self._pending[0]
            if task is not None:
                if not task.done():
                    break
                task.result()
            self._pending.popleft()
            self._room.release()
            last = sequence
        return last

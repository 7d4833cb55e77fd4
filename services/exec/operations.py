"""One operation on a container at a time, and retries that are safe."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from portlayer.fencing import holding
from portlayer.neighbours import Neighbours

Answer = TypeVar("Answer", bound=Message)

# A caller that retries does so within its deadline, which is far below this.
REMEMBER_SECONDS = 600.0
# Answers that are remembered; a common container's is some 700 bytes.
REMEMBER_BYTES = 4 * 1024 * 1024
# What one takes beside its own bytes: its key and its places.
_OF_EACH = 500


class Turns:
    """Operations on one container run one after another; those on different ones never wait.

    It remembers a container only while somebody works on it or waits for it. Replicas of the
    service take turns in the database; what is asked of others within a turn bears its number, so
    that a replica which lost it without knowing (it stood still, say) does nothing any more.
    """

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def turn(self, container_id: str) -> AsyncIterator[None]:
        """Wait for the container's turn and hold it."""
        lock = self._locks.setdefault(container_id, asyncio.Lock())
        self._users[container_id] = self._users.get(container_id, 0) + 1
        try:
            async with lock, self._neighbours.turn(container_id) as number:
                with holding(container_id, number):
                    yield
        finally:
            self._users[container_id] -= 1
            if not self._users[container_id]:
                del self._users[container_id], self._locks[container_id]

    def busy(self, container_id: str) -> bool:
        """Tell whether somebody in this process works on a container."""
        return container_id in self._users


class Requests(Generic[Answer]):
    """Remembers the answers to requests by their IDs, so that a repeated one gets the first's.

    As bytes: a message that was read takes several times as much. A failure is not remembered: it
    left nothing, and what was away may be back. The work of a request goes on when its caller goes
    away: a container that is half started because a client closed its connection would help nobody.
    """

    def __init__(self, answer: type[Answer]) -> None:
        """``answer`` is the message that all of them are answered with."""
        self._answer = answer
        self._running: dict[tuple[str, str], asyncio.Task[Answer]] = {}
        self._anonymous: set[asyncio.Task[Answer]] = set()
        # Answers and when they came on the monotonic clock, oldest first.
        self._answers: OrderedDict[tuple[str, str], tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    async def once(
        self, verb: str, request_id: str, work: Callable[[], Coroutine[None, None, Answer]]
    ) -> Answer:
        """Run the work unless this request was seen, and return its answer or raise its error."""
        self._forget()
        key = (verb, request_id)
        if request_id and key in self._answers:
            return self._answer.FromString(self._answers[key][1])
        task = self._running.get(key) if request_id else None
        if task is None:
            task = asyncio.create_task(work(), name=f"{verb} {request_id}")
            if request_id:
                self._running[key] = task
                task.add_done_callback(lambda done: self._ended(key, done))
            else:
                self._anonymous.add(task)
                task.add_done_callback(self._anonymous.discard)
        return await asyncio.shield(task)

    async def drain(self, within: float) -> bool:
        """Wait for all work in hand, and after so many seconds cancel it; tell whether it ended.

        What is cancelled is undone, for which it gets the same time.
        """
        tasks = {*self._running.values(), *self._anonymous}
        if not tasks:
            return True
        _, left = await asyncio.wait(tasks, timeout=within)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=within)
        return not left

    def _ended(self, key: tuple[str, str], task: asyncio.Task[Answer]) -> None:
        del self._running[key]
        if not task.cancelled() and task.exception() is None:
            answer = task.result().SerializeToString()
            self._answers[key] = (time.monotonic(), answer)
            self._bytes += len(answer) + _OF_EACH

    def _forget(self) -> None:
        horizon = time.monotonic() - REMEMBER_SECONDS
        while self._answers:
            came, answer = next(iter(self._answers.values()))
            if came > horizon and self._bytes <= REMEMBER_BYTES:
                return
            self._answers.popitem(last=False)
            self._bytes -= len(answer) + _OF_EACH


async def all_ended(*tasks: asyncio.Task[Any]) -> None:
    """Wait until all of these have ended, also when cancelled meanwhile; raise the first failure.

    For work in other facets that is undone as a whole: a call that is cancelled may still do there
    what it was sent for, behind the call that takes it back.
    """
    cancelled: asyncio.CancelledError | None = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    failures = [failure for task in tasks if (failure := task.exception()) is not None]
    if cancelled is not None:
        raise cancelled
    if failures:
        raise failures[0]

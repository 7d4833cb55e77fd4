"""One piece of work for however many want its result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from portlayer.threads import ended
from services.storage.imagec.progress import Progress, Report

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")
V = TypeVar("V")


class Job(Generic[S, V]):
    """Work that goes on."""

    def __init__(self) -> None:
        self._watchers: list[Report] = []
        self._last: Progress | None = None
        self._task: asyncio.Task[V] | None = None
        self._subject: S | None = None

    def _begin(self, start: Callable[[Report], tuple[S, Coroutine[Any, Any, V]]]) -> None:
        self._subject, work = start(self._report)
        self._task = asyncio.get_running_loop().create_task(work)

    def _report(self, line: Progress) -> None:
        self._last = line
        for watcher in self._watchers:
            watcher(line)

    @property
    def subject(self) -> S:
        """What the work is on, there from its beginning."""
        assert self._subject is not None
        return self._subject

    async def result(self) -> V:
        """Wait for the work's result, or raise its error."""
        assert self._task is not None
        return await asyncio.shield(self._task)


class SharedWork(Generic[K, S, V]):
    """Does work once a key at a time; who asks while it goes on joins it.

    The work is cancelled when the last of those who joined has left. Work on a key never overlaps
    with other work on it: who asks while cancelled work still ends waits for that, because what it
    cleans up has the same names.
    """

    def __init__(self) -> None:
        self._jobs: dict[K, Job[S, V]] = {}
        self._dying: dict[K, asyncio.Task[V]] = {}

    def going_on(self, key: K) -> bool:
        """Whether `join` would find work begun by somebody else."""
        return key in self._jobs

    @asynccontextmanager
    async def join(
        self,
        key: K,
        start: Callable[[Report], tuple[S, Coroutine[Any, Any, V]]],
        watcher: Report,
    ) -> AsyncIterator[Job[S, V]]:
        """Join the work on `key`, begun by `start` unless it goes on already.

        `start` gets where to report progress, and returns what the work is on and the work. It
        must look whether there is still something to do: work that was cancelled too late to stop
        may have done it. `watcher` gets the progress, beginning with the latest.
        """
        while (dying := self._dying.get(key)) is not None:
            await asyncio.wait([dying])
        job = self._jobs.get(key)
        if job is None:
            job = Job()
            job._begin(start)
            assert job._task is not None
            self._jobs[key] = job
            job._task.add_done_callback(lambda _task: self._forget(key, job))
        elif job._last is not None:
            watcher(job._last)
        job._watchers.append(watcher)
        try:
            yield job
        finally:
            job._watchers.remove(watcher)
            if not job._watchers:
                await self._abandon(key, job)

    async def _abandon(self, key: K, job: Job[S, V]) -> None:
        task = job._task
        assert task is not None
        # Forgotten before it has ended: who comes now must not join what is dying.
        self._forget(key, job)
        if not task.done():
            self._dying[key] = task
            task.add_done_callback(lambda _task: self._dying.pop(key))
            task.cancel()
            # Even when cancelled once more: a lease on what the work makes ends after this.
            await ended(task)
            self._forget(key, job)

    def _forget(self, key: K, job: Job[S, V]) -> None:
        if self._jobs.get(key) is job:
            del self._jobs[key]
        task = job._task
        if task is not None and task.done() and not task.cancelled():
            task.exception()  # seen: each who joined has raised it for itself

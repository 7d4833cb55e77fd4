"""The use of many containers, as one client is told of it on one stream.

What `docker stats` costs is wake-ups, of each process on the way and for each sample, so all that
is due is told at once: at the same moment of each second, and half a second later what wasn't there
by then. Only a container's first samples are told as they come.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from vic.interaction.v1.interaction_pb2 import (
    WATCH_END_NOT_HERE,
    WATCH_END_REMOVED,
    WATCH_END_TETHER_AWAY,
    WatchedSample,
)

from portlayer.errors import ResourceExhausted
from services.interaction.sessions import Session
from services.interaction.usage import PERIOD_MS
from services.interaction.watching import AT_ONCE, FIRST_SECONDS

_HALF: Final = PERIOD_MS / 2000
# A sample that is so late is told again: its VM stands still, is short of CPU, or its tether is
# away. Less than three halves of the period, when there is a look.
_LATE: Final = 2.8 * _HALF
# Tethers that aren't to be trusted tell samples of half a MiB; a message has 16 MiB at most.
_MESSAGE_BYTES: Final = 1024 * 1024
# On one stream; a person looks at some hundred.
MOST: Final = 10_000


class _Watched:
    """One container, and what was told of it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.boot_id = ""
        self.told = 0
        """Samples of this boot."""
        self.told_at = 0.0
        """When the last one was told; before the first, since when it is waited for."""
        self.behind = False
        """Its sample wasn't there when all were told."""
        self.idle_told = False
        self._seen = session.usage.count
        self.undo = ExitStack()
        self.undo.enter_context(session.usage.watch())

    def begin(self, boot_id: str, now: float) -> None:
        """Take in that another boot runs."""
        self.boot_id, self.told, self.told_at = boot_id, 0, now
        self.behind = self.idle_told = False

    def is_due(self, now: float, *, for_all: bool) -> bool:
        """Tell whether the newest sample is to be told, be it again."""
        if self.session.usage.count > self._seen:
            return for_all or self.behind or self.told < AT_ONCE
        return now - self.told_at >= _LATE

    def note_told(self, now: float) -> None:
        """Take in that the newest sample is told."""
        self._seen = self.session.usage.count
        self.told, self.told_at, self.behind = self.told + 1, now, False


class ManyWatched:
    """Those whom one client watches."""

    def __init__(self, find: Callable[[str], Session | None]) -> None:
        self._find = find
        self._watched: dict[str, _Watched] = {}
        self._ended: list[WatchedSample] = []
        self._changed = asyncio.Event()
        # Of the half second whose beginning is the next moment to look.
        self._number = 0

    def __enter__(self) -> Self:
        """Begin with nobody."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Watch nobody any more."""
        self.change((), list(self._watched))

    def change(self, watch: Iterable[str], leave: Iterable[str]) -> None:
        """Take containers off, then add others. Raises ResourceExhausted for too many."""
        for container_id in leave:
            self._drop(container_id)
        for container_id in watch:
            if container_id in self._watched:
                continue
            if len(self._watched) >= MOST:
                raise ResourceExhausted(f"more than {MOST} containers watched on one stream")
            session = self._find(container_id)
            if session is None:
                ended = WatchedSample(container_id=container_id, end=WATCH_END_NOT_HERE)
                self._ended.append(ended)
            else:
                self._watched[container_id] = _Watched(session)
        self._changed.set()

    def _drop(self, container_id: str) -> None:
        one = self._watched.pop(container_id, None)
        if one is not None:
            one.undo.close()

    async def due(self) -> list[WatchedSample]:
        """Return what is to be told next, once it is."""
        while True:
            for_all = await self._next_look()
            now = time.monotonic()
            told, self._ended = self._ended, []
            for one in list(self._watched.values()):
                sample = self._look(one, now, for_all=for_all)
                if sample is not None:
                    told.append(sample)
                    if sample.end:
                        self._drop(sample.container_id)
            if told:
                return told

    async def _next_look(self) -> bool:
        """Return at the next moment or change; tell whether it is the moment of all."""
        loop = asyncio.get_running_loop()
        number = self._number or int(loop.time() / _HALF) + 1
        try:
            async with asyncio.timeout_at(number * _HALF):
                await self._changed.wait()
        except TimeoutError:
            # Who reads slowly has let some pass.
            reached = max(number, int(loop.time() / _HALF))
            self._number = reached + 1
            return number % 2 == 0 or reached > number
        self._changed.clear()
        self._number = number
        return False

    def _look(self, one: _Watched, now: float, *, for_all: bool) -> WatchedSample | None:
        """Return what is to be told of a container now, if anything."""
        session = one.session
        told = WatchedSample(container_id=session.container_id)
        if session.removed:
            told.end = WATCH_END_REMOVED
            return told
        if not session.running:
            one.boot_id = ""
            if one.idle_told and not for_all:
                return None
            one.idle_told = True
            return told
        if one.boot_id != session.boot_id:
            one.begin(session.boot_id, now)
        sample = session.usage.newest(session.boot_id)
        if sample is None or not one.is_due(now, for_all=for_all):
            if sample is None and now - one.told_at > FIRST_SECONDS:
                told.end = WATCH_END_TETHER_AWAY
                return told
            one.behind = one.behind or for_all
        else:
            one.note_told(now)
            told.sample.CopyFrom(sample)
        if one.told < AT_ONCE:
            session.usage.tell_next(self._changed.set)
        return told if told.HasField("sample") else None


def in_messages(samples: Sequence[WatchedSample]) -> Iterator[Sequence[WatchedSample]]:
    """Divide samples among messages of a moderate size."""
    first, size = 0, 0
    for number, sample in enumerate(samples):
        size += sample.ByteSize()
        if size >= _MESSAGE_BYTES:
            yield samples[first : number + 1]
            first, size = number + 1, 0
    if first < len(samples):
        yield samples[first:]

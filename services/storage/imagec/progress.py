"""What a pull or a push tells while it goes on."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum

PAUSE = 0.1
"""Seconds between two lines of how far a layer is, as dockerd has it. Each line costs a message, a
piece of the answer and a screen's update."""


class Status(Enum):
    """Stages of a layer, in Docker's words."""

    PULLING_FROM = "Pulling from"
    PULLING_LAYER = "Pulling fs layer"
    WAITING = "Waiting"
    DOWNLOADING = "Downloading"
    RETRYING = "Retrying"
    VERIFYING_CHECKSUM = "Verifying Checksum"
    DOWNLOAD_COMPLETE = "Download complete"
    EXTRACTING = "Extracting"
    PULL_COMPLETE = "Pull complete"
    ALREADY_EXISTS = "Already exists"
    PUSHING_TO = "The push refers to repository"
    PREPARING = "Preparing"
    PUSHING = "Pushing"
    PUSHED = "Pushed"
    MOUNTED = "Mounted from"
    LAYER_EXISTS = "Layer already exists"
    LOADING_LAYER = "Loading layer"
    DOWNLOADING_FROM = "Downloading from"
    IMPORTING = "Importing"


@dataclass(frozen=True)
class Progress:
    """One line of progress.

    `id` is a layer's short digest, the tag for PULLING_FROM, and empty for PUSHING_TO.
    """

    id: str
    status: Status
    current: int = 0
    total: int = 0
    text: str = ""

    @property
    def between(self) -> bool:
        """Whether it only says how far a stage is that goes on."""
        return self.current > 0 and (self.current < self.total or not self.total)


Report = Callable[[Progress], None]


def ignore_progress(_line: Progress) -> None:
    """A report for whom nobody listens."""


class ProgressLines:
    """Lines on their way to a reader that may be slower than the work.

    A later line of the same layer and status replaces one that wasn't read yet, so at most one
    line a layer and status is ever waiting. One that only says how far a stage is goes unsaid
    when less than `PAUSE` has passed since the one before.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[str, Status], float] = {}
        self._waiting: deque[tuple[str, Status]] = deque()
        self._latest: dict[tuple[str, Status], Progress] = {}
        self._changed = asyncio.Event()
        self._ended = False

    def put(self, line: Progress) -> None:
        """Add a line."""
        key = (line.id, line.status)
        if key not in self._latest:
            now = self._clock()
            if line.between and now - self._told.get(key, -PAUSE) < PAUSE:
                return
            self._told[key] = now
            self._waiting.append(key)
        self._latest[key] = line
        self._changed.set()

    def end(self) -> None:
        """No further line will come."""
        self._ended = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Progress]:
        """Lines in order, until the end."""
        while True:
            while self._waiting:
                yield self._latest.pop(self._waiting.popleft())
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()

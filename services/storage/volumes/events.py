"""The history of what happened to volumes, and those who follow it.

    volume-events.jsonl

One line of JSON an event. What a power cut takes of its end is lost: an event is news, not a
record.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from portlayer.errors import OutOfRange, Reason, Unavailable

KEPT = 2000

log = logging.getLogger("vic.storage.volumes.events")


class VolumeEventKind(StrEnum):
    """What happened."""

    CREATE = "create"
    MOUNT = "mount"
    UNMOUNT = "unmount"
    DESTROY = "destroy"
    PRUNE = "prune"


@dataclass(frozen=True)
class VolumeEvent:
    """Something that happened to a volume."""

    sequence: int
    time_ns: int
    kind: VolumeEventKind
    volume: str
    attributes: dict[str, str]


class VolumeEvents:
    """Keeps the last events, and wakes those who wait for the next one."""

    def __init__(self, path: Path) -> None:
        """Read what is there, and begin a file of what is kept of it."""
        self._events: deque[VolumeEvent] = deque(_read(path), KEPT)
        # Without a history the numbers go on above all that any lost one can have had.
        self._newest = self._events[-1].sequence if self._events else time.time_ns() // 1000
        self._path = path
        self._lines = 0
        self._arrived = asyncio.Event()
        self._ending = False
        self._rewrite()

    @property
    def newest(self) -> int:
        """Number of the newest event, or of what comes before the first."""
        return self._newest

    def add(
        self, kind: VolumeEventKind, volume: str, attributes: Mapping[str, str] | None = None
    ) -> None:
        """Keep an event and tell it."""
        self._newest += 1
        event = VolumeEvent(self._newest, time.time_ns(), kind, volume, dict(attributes or {}))
        self._events.append(event)
        try:
            if self._lines >= 2 * KEPT:
                self._rewrite()
            else:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(_line(event))
                self._lines += 1
        except OSError as error:
            # What was done is done; that it can't be told after a restart must not undo it.
            log.warning("an event of a volume is not kept: %s", error)
        self._wake()

    def end_streams(self) -> None:
        """Send all who follow away, for the service stops."""
        self._ending = True
        self._wake()

    def _wake(self) -> None:
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()

    def check(self, after: int) -> None:
        """Raise OutOfRange where events after a number are no longer kept."""
        oldest = self._events[0].sequence if self._events else self._newest + 1
        if after > self._newest or (after and after + 1 < oldest):
            raise OutOfRange(
                f"the history has events {oldest} to {self._newest}, not {after + 1}",
                Reason.HISTORY_LOST,
            )

    async def follow(
        self, after: int, *, since_ns: int = 0, until_ns: int = 0
    ) -> AsyncGenerator[VolumeEvent, None]:
        """Yield the events after a number, then new ones; with `until_ns` end at that moment.

        Raises OutOfRange when events were dropped that come next, Unavailable when the service
        stops.
        """
        while True:
            arrived = self._arrived
            if after:
                self.check(after)
            for event in [event for event in self._events if event.sequence > after]:
                if until_ns and event.time_ns > until_ns:
                    return
                after = event.sequence
                if event.time_ns >= since_ns:
                    yield event
            if after < self._newest:
                continue
            left = (until_ns - time.time_ns()) / 1e9 if until_ns else None
            if left is not None and left <= 0:
                return
            if self._ending:
                raise Unavailable("the service is stopping")
            try:
                async with asyncio.timeout(left):
                    await arrived.wait()
            except TimeoutError:
                continue

    def _rewrite(self) -> None:
        staged = self._path.with_suffix(".new")
        staged.write_text("".join(map(_line, self._events)), encoding="utf-8")
        os.replace(staged, self._path)
        self._lines = len(self._events)


def _line(event: VolumeEvent) -> str:
    return json.dumps(asdict(event)) + "\n"


def _read(path: Path) -> list[VolumeEvent]:
    events: list[VolumeEvent] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        log.warning("the history of volumes can't be read, and begins anew")
        return []
    for line in lines:
        try:
            fields = json.loads(line)
            event = VolumeEvent(**(fields | {"kind": VolumeEventKind(fields["kind"])}))
        except (ValueError, KeyError, TypeError):
            continue  # cut by a crash
        events.append(event)
    return events

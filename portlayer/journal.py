"""What happened, kept in a file and told to those who follow it: for a facet without a database.

One line of JSON an event, numbered without end, oldest first. The last so many are kept, through
restarts. What a power cut takes of the file's end is lost: an event is news, not a record.
"""

import asyncio
import json
import logging
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from portlayer.errors import OutOfRange, Reason, Unavailable

log = logging.getLogger("vic.journal")

# Events kept; a line has some 300 bytes.
KEPT = 5_000


@dataclass(frozen=True)
class Entry:
    """Something that happened."""

    sequence: int
    time_ns: int
    # Of the facet's contract.
    kind: int
    # What it happened to: an ID or a name.
    actor: str
    attributes: Mapping[str, str]


class Journal:
    """Keeps the last events, and lets any number of watchers follow them, each at its own pace."""

    def __init__(self, path: Path, *, kept: int = KEPT) -> None:
        """Read what is there, and begin a file of what is kept of it."""
        self._path = path
        self._kept = kept
        self._entries: deque[Entry] = deque(_read(path), kept)
        # Without a history the numbers go on above all that any lost one can have had.
        self._newest = self._entries[-1].sequence if self._entries else time.time_ns() // 1000
        self._lines = 0
        self._arrived = asyncio.Event()
        self._ending = False
        try:
            self._rewrite()
        except OSError as error:
            # A full disk must not keep a facet from serving.
            log.warning("events are not kept through a restart for now: %s", error)

    def __iter__(self) -> Iterator[Entry]:
        """Go through what is kept, oldest first."""
        return iter(tuple(self._entries))

    @property
    def newest(self) -> int:
        """Number of the newest event, or of what comes before the first."""
        return self._newest

    def add(self, kind: int, actor: str, attributes: Mapping[str, str] | None = None) -> None:
        """Keep an event and tell it. Never fails: what was done is done."""
        self._newest += 1
        entry = Entry(self._newest, time.time_ns(), kind, actor, dict(attributes or {}))
        self._entries.append(entry)
        try:
            if self._lines >= 2 * self._kept:
                self._rewrite()
            else:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(_line(entry))
                self._lines += 1
        except OSError as error:
            log.warning("an event is not kept through a restart: %s", error)
        self._wake()

    def end_streams(self) -> None:
        """Send all who follow away, for the service stops."""
        self._ending = True
        self._wake()

    def start_of(self, after: int, since_ns: int) -> int:
        """Return the number after which a watcher begins who names a number, a moment or neither.

        Raises OutOfRange (HISTORY_LOST) where what comes after the number is no longer kept.
        """
        if after:
            self._check(after)
            return after
        return 0 if since_ns else self._newest

    async def follow(
        self, after: int, *, since_ns: int = 0, until_ns: int = 0
    ) -> AsyncGenerator[Entry, None]:
        """Yield the events after a number, then new ones as they come; close it at the end.

        With ``until_ns`` it ends at that moment. Raises Unavailable when the service stops, and
        OutOfRange (HISTORY_LOST) when who follows was so slow that what comes next is gone.
        """
        while True:
            arrived = self._arrived
            if after:
                self._check(after)
            for entry in [entry for entry in self._entries if entry.sequence > after]:
                if until_ns and entry.time_ns > until_ns:
                    return
                after = entry.sequence
                if entry.time_ns >= since_ns:
                    yield entry
            if after and after < self._newest:
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

    def _check(self, after: int) -> None:
        oldest = self._entries[0].sequence if self._entries else self._newest + 1
        if after > self._newest or after + 1 < oldest:
            raise OutOfRange(
                f"the history has events {oldest} to {self._newest}, not {after + 1}",
                Reason.HISTORY_LOST,
            )

    def _wake(self) -> None:
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()

    def _rewrite(self) -> None:
        staged = self._path.with_suffix(".new")
        staged.write_text("".join(map(_line, self._entries)), encoding="utf-8")
        os.replace(staged, self._path)
        self._lines = len(self._entries)


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"


def _read(path: Path) -> list[Entry]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    entries: list[Entry] = []
    for line in lines:
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue  # cut by a crash
        entries.append(entry)
    return entries

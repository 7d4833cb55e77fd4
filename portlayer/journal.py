"""What happened, kept in a file and told to those who follow it: for a facet without a database.

Events are numbered without end, oldest first. The last so many are kept, through restarts. Replicas
of a facet on one state directory share the file: each tells what all of them did, under the same
numbers, so that who follows may go on at another. What a power cut takes of the file's end is lost:
an event is news, not a record.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from portlayer.errors import OutOfRange, Reason, Unavailable
from portlayer.file_watch import FileWatch
from portlayer.journal_file import Entry, JournalFile

__all__ = ["Entry", "Journal"]

log = logging.getLogger("vic.journal")

# Events kept; a line has some 300 bytes.
KEPT = 5_000

# Between two looks at what others did where the kernel can't tell that there is something.
LOOK_SECONDS = 1.0


class Journal:
    """Keeps the last events, and lets any number of watchers follow them, each at its own pace."""

    def __init__(self, path: Path, *, kept: int = KEPT) -> None:
        """Read what is there, and begin a file of what is kept of it."""
        self._path = path
        self._kept = kept
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._newest = 0
        self._arrived = asyncio.Event()
        self._ending = False
        self._watch: FileWatch | None = None
        self._followers = 0
        self._file = JournalFile(path)
        try:
            with self._file.locked():
                self._take(self._file.read())
                self._begin()
                if not 0 < self._file.lines < 2 * kept:
                    self._file.rewrite(self._entries, self._newest)
        except OSError as error:
            # A full disk must not keep a facet from serving.
            log.warning("events are not kept through a restart for now: %s", error)
            self._file.let_go()
            self._begin()

    def _begin(self) -> None:
        """Number what is to come."""
        # Without a history the numbers go on above all that any lost one can have had.
        self._newest = max(self._newest, self._file.newest) or time.time_ns() // 1000

    def __iter__(self) -> Iterator[Entry]:
        """Go through what is kept, oldest first."""
        self._look()
        return iter(tuple(self._entries))

    @property
    def newest(self) -> int:
        """Number of the newest event, or of what comes before the first."""
        return self._newest

    def add(self, kind: int, actor: str, attributes: Mapping[str, str] | None = None) -> None:
        """Keep an event and tell it. Never fails: what was done is done."""
        entry = None
        try:
            with self._file.locked():
                self._take(self._file.read())
                entry = self._number(kind, actor, attributes)
                if self._file.lines >= 2 * self._kept:
                    self._file.rewrite(self._entries, self._newest)
                else:
                    self._file.append(entry)
        except OSError as error:
            log.warning("an event is told by this process alone, until it ends: %s", error)
            self._file.let_go()
            if entry is None:
                self._number(kind, actor, attributes)
        self._wake()

    def _number(self, kind: int, actor: str, attributes: Mapping[str, str] | None) -> Entry:
        """Keep an event under the next number."""
        self._newest = max(self._newest, self._file.newest) + 1
        entry = Entry(self._newest, time.time_ns(), kind, actor, dict(attributes or {}))
        self._entries.append(entry)
        return entry

    def _take(self, found: list[Entry]) -> None:
        """Keep what others have written."""
        if self._file.missed:
            # Without a gap in it: who asks for what is gone has to be told.
            self._entries.clear()
            self._file.missed = False
        for entry in found:
            if entry.sequence <= self._newest:
                # One of its number was told here alone, while nothing could be written.
                entry = replace(entry, sequence=self._newest + 1)
            self._newest = entry.sequence
            self._entries.append(entry)

    def _look(self) -> None:
        """See what others have done meanwhile."""
        try:
            found = self._file.read()
        except OSError as error:
            log.info("what others did can't be read: %s", error)
            self._file.let_go()
            return
        if found:
            self._take(found)
            self._wake()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Look as often as something changes, while anybody follows."""
        self._followers += 1
        try:
            if self._watch is None:
                try:
                    self._watch = FileWatch(self._path, self._look)
                except OSError as error:  # a user may have only so many
                    log.warning("others' events are looked for each second: %s", error)
            yield
        finally:
            self._followers -= 1
            if not self._followers and self._watch is not None:
                self._watch.close()
                self._watch = None

    def end_streams(self) -> None:
        """Send all who follow away, for the service stops."""
        self._ending = True
        self._wake()

    def start_of(self, after: int, since_ns: int) -> int:
        """Return the number after which a watcher begins who names a number, a moment or neither.

        Raises OutOfRange (HISTORY_LOST) where what comes after the number is no longer kept.
        """
        self._look()
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
        with self._watched():
            while True:
                arrived = self._arrived
                self._look()
                if after:
                    self._check(after)
                for entry in self._since(after):
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
                    async with asyncio.timeout(self._patience(left)):
                        await arrived.wait()
                except TimeoutError:
                    continue

    def _since(self, after: int) -> list[Entry]:
        """Return what came after a number; who follows has all but the last few."""
        found = list(takewhile(lambda entry: entry.sequence > after, reversed(self._entries)))
        found.reverse()
        return found

    def _patience(self, left: float | None) -> float | None:
        """Return the seconds until the next look, where nothing tells of an event."""
        if self._watch is not None:
            return left
        return LOOK_SECONDS if left is None else min(left, LOOK_SECONDS)

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

"""A journal's file, which several processes of one facet append to and read.

One line of JSON an event. The first line tells one file from another, and the number of what came
before all events in it. Who appends has the file's directory locked for that moment and has read
all before, so that no number is given twice. Now and then a shorter file takes its place: who finds
another file reads it anew.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

# Others hold the lock for milliseconds; one that was stopped meanwhile mustn't stop us as well.
_LOCK_SECONDS = 1.0
_TRY_SECONDS = 0.0005


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


class JournalFile:
    """The file, and how far this process has read it. All of it blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Which file was read, by its first line, and up to where. Inodes are used again.
        self._first = b""
        self._offset = 0
        self._cut = False
        self.lines = 0
        """Lines that are in it."""

        self.newest = 0
        """The greatest number that was read in it or written to it."""

        self.missed = False
        """Whether a shorter file no longer had what came after the last that was read."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing. Raises OSError."""
        # The directory itself: a lock's file would be one more to make on a full disk.
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def read(self) -> list[Entry]:
        """Return what has come since the last time. Raises OSError."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            self._first, self._offset, self.lines, self._cut = b"", 0, 0, False
            return []
        with file:
            first = file.readline()
            if first != self._first or not first.endswith(b"\n"):
                self._first, self._offset, self.lines = first, 0, 0
            file.seek(self._offset)
            # A line that isn't whole is being written, or was cut by a crash.
            whole, end, rest = file.read().rpartition(b"\n")
        self._cut = bool(rest)
        self._offset += len(whole) + len(end)
        lines = whole.splitlines()
        self.lines += len(lines)
        found = []
        for line in lines:
            if (entry := self._entry(line)) is not None:
                self.newest = entry.sequence
                found.append(entry)
        return found

    def _entry(self, line: bytes) -> Entry | None:
        """Return a line's event, unless it has none or one that was read in another file before."""
        with suppress(ValueError, TypeError):  # cut by a crash
            value = json.loads(line)
            if "newest" in value:
                self.missed |= value["newest"] > self.newest
                self.newest = max(self.newest, value["newest"])
                return None
            entry = Entry(**value)
            return entry if entry.sequence > self.newest else None
        return None

    def append(self, entry: Entry) -> None:
        """Write an event, with the file locked and read. Raises OSError."""
        # What was cut before it ends here and is a line of its own, which nobody can read.
        data = b"\n" * self._cut + _line(asdict(entry))
        with self._path.open("ab", buffering=0) as file:
            written = file.write(data)
            end = file.tell()
        if written < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not self._offset and not self._cut:
            self._first = data
        self._offset, self._cut = end, False
        self.lines += 1
        self.newest = entry.sequence

    def rewrite(self, entries: Iterable[Entry], newest: int) -> None:
        """Put a file of these events in its place, locked and read. Raises OSError."""
        kept = list(entries)
        before = kept[0].sequence - 1 if kept else newest
        staged = self._path.with_suffix(".new")
        head = _line({"newest": before, "file": secrets.token_hex(8)})
        lines = [head, *(_line(asdict(entry)) for entry in kept)]
        staged.write_bytes(b"".join(lines))
        os.replace(staged, self._path)
        self._first, self._offset, self._cut = head, sum(map(len, lines)), False
        self.lines, self.newest = len(lines), newest


def _lock(descriptor: int) -> None:
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(_TRY_SECONDS)
        else:
            return


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"

"""A journal's file, which several processes of one facet append to and read.

One line of JSON an event; the first has the number of what came before all events in the file. Who
appends has the file's directory locked for that moment and has read all before, so that no number
is given twice. Now and then a shorter file takes its place: who finds another file reads it anew.
Each process keeps the file open, and sees by its size that nothing has come.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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


class _Open:
    """A descriptor that is closed when nobody has it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class JournalFile:
    """The file, and how far this process has read it. All of it blocks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._directory: _Open | None = None
        # The file that was read, and up to where; as long as it is open, its inode is no other's.
        self._reading: _Open | None = None
        self._which: tuple[int, int] | None = None
        self._offset = 0
        self._cut = False
        # The same one, once something was written to it.
        self._writing: _Open | None = None
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
        if self._directory is None:
            self._directory = _open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        directory = self._directory
        _lock(directory.number)
        try:
            yield
        finally:
            fcntl.flock(directory.number, fcntl.LOCK_UN)

    def let_go(self) -> None:
        """Close everything: after an error it is looked for anew."""
        self._directory = None
        self._begin(None)

    def read(self) -> list[Entry]:
        """Return what has come since the last time. Raises OSError."""
        try:
            there = os.stat(self._path)
            if _identity(there) != self._which:
                self._begin(_open(self._path, os.O_RDONLY))
        except FileNotFoundError:
            self._begin(None)
        if self._reading is None:
            return []
        size = os.fstat(self._reading.number).st_size
        if size < self._offset:
            # Somebody has emptied it.
            self._offset = self.lines = 0
        # A line that isn't whole is being written, or was cut by a crash.
        whole, end, rest = self._bytes(size).rpartition(b"\n")
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
        if self._writing is None:
            self._writing = _open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        # What was cut before it ends here and is a line of its own, which nobody can read.
        data = b"\n" * self._cut + _line(vars(entry))
        written = os.write(self._writing.number, data)
        if written < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._offset, self._cut = os.fstat(self._writing.number).st_size, False
        self.lines += 1
        self.newest = entry.sequence

    def rewrite(self, entries: Iterable[Entry], newest: int) -> None:
        """Put a file of these events in its place, locked and read. Raises OSError."""
        kept = list(entries)
        before = kept[0].sequence - 1 if kept else newest
        staged = self._path.with_suffix(".new")
        head = _line({"newest": before})
        lines = [head, *(_line(vars(entry)) for entry in kept)]
        staged.write_bytes(b"".join(lines))
        # Before others can have it: what couldn't be opened then would be read as theirs.
        file = _open(staged, os.O_RDONLY)
        os.replace(staged, self._path)
        self._begin(file)
        self._offset = sum(map(len, lines))
        self.lines, self.newest = len(lines), newest

    def _begin(self, file: _Open | None) -> None:
        """Read a file from its beginning, or none."""
        self._reading, self._writing = file, None
        self._which = None if file is None else _identity(os.fstat(file.number))
        self._offset, self._cut, self.lines = 0, False, 0

    def _bytes(self, size: int) -> bytes:
        """Return what comes after what was read, of a file of so many bytes."""
        if self._reading is None or size == self._offset:
            return b""
        return os.pread(self._reading.number, size - self._offset, self._offset)


def _open(path: Path, flags: int) -> _Open:
    return _Open(os.open(path, flags | os.O_CLOEXEC, 0o666))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


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

"""What happened to machines, in order, kept on disk until exec has said that it knows.

A SQLite file of the agent's own: the process may be killed at any moment, and nothing that was
appended is lost. (A host that loses power loses its machines as well, and each of them then gets
its exit when the agent comes back.)
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from portlayer.errors import OutOfRange

# Exits that nobody acknowledges must not fill the disk; so many machines end in weeks.
MOST_EVENTS = 20_000
BATCH = 256

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    machine_id TEXT NOT NULL,
    launch_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    fields TEXT NOT NULL,
    record BLOB NOT NULL,
    tail BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS once ON events (machine_id, launch_id, kind)
    WHERE kind IN ('launched', 'exited');
CREATE TABLE IF NOT EXISTS forgotten (through INTEGER NOT NULL);
"""

LAUNCHED = "launched"
EXITED = "exited"
REPORTED = "reported"


class ExitCause(StrEnum):
    """Why a machine ended."""

    ENDED = "ended"
    """QEMU ended by itself."""
    KILLED = "killed"
    """Somebody asked for it."""
    VIOLATION = "violation"
    """The guest wrote more than an exit record can be."""
    FOUND_DEAD = "found dead"
    """It was gone when the agent came back."""
    HOST_RESTARTED = "host restarted"
    """It ran when the host went down."""


@dataclass(frozen=True)
class Event:
    """One entry. ``fields`` depend on the kind; ``record`` and ``tail`` are an exit's."""

    sequence: int
    time_ns: int
    machine_id: str
    launch_id: str
    kind: str
    fields: Mapping[str, Any]
    record: bytes = b""
    tail: bytes = b""


class Journal:
    """The events, and those who wait for the next one."""

    def __init__(self, path: Path) -> None:
        """Open the journal or begin one. Raises sqlite3.Error where the file is damaged."""
        self._database = sqlite3.connect(path, isolation_level=None)
        # Nobody else opens it; so it needs no file of shared memory, for which a full disk has no
        # room: what there is can be read even there.
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)
        self._events = self._number("SELECT count(*) FROM events")
        self._appended = asyncio.Event()
        self._ending = False
        if self._number("SELECT count(*) FROM forgotten") == 0:
            # A journal that was lost must not give numbers again that somebody has seen.
            begin = time.time_ns() // 1_000_000
            self._database.execute("INSERT INTO forgotten VALUES (?)", (begin,))
            self._database.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (begin,))

    def end_streams(self) -> None:
        """Let everybody who waits for events come to an end."""
        self._ending = True
        self._appended.set()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @property
    def last(self) -> int:
        """Number of the newest event that ever was."""
        return self._number("SELECT seq FROM sqlite_sequence WHERE name = 'events'")

    @property
    def forgotten(self) -> int:
        """Number of the last event that is gone."""
        return self._number("SELECT through FROM forgotten")

    def append(
        self,
        kind: str,
        machine_id: str,
        launch_id: str,
        fields: Mapping[str, Any],
        *,
        record: bytes = b"",
        tail: bytes = b"",
    ) -> None:
        """Add an event. A second launch or exit of the same launch is left out."""
        text = json.dumps(fields)
        row = (time.time_ns(), machine_id, launch_id, kind, text, record, tail)
        added = self._database.execute(
            "INSERT OR IGNORE INTO events"
            " (time_ns, machine_id, launch_id, kind, fields, record, tail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        self._events += added.rowcount
        if self._events > MOST_EVENTS:
            self.forget(self._number("SELECT min(sequence) FROM events"))
        self._appended.set()
        self._appended = asyncio.Event()

    def forget(self, through: int) -> None:
        """Drop events up to a number; one that is still to come is never dropped."""
        through = min(through, self.last)
        deleted = self._database.execute("DELETE FROM events WHERE sequence <= ?", (through,))
        self._events -= deleted.rowcount
        self._database.execute("UPDATE forgotten SET through = max(through, ?)", (through,))

    def has_ended(self, machine_id: str, launch_id: str) -> bool:
        """Tell whether this launch's exit is in the journal."""
        query = "SELECT count(*) FROM events WHERE machine_id = ? AND launch_id = ? AND kind = ?"
        return self._number(query, machine_id, launch_id, EXITED) > 0

    def knows(self, machine_id: str, launch_id: str) -> bool:
        """Tell whether anything of a machine is kept; an empty ``launch_id`` means any launch."""
        query = "SELECT count(*) FROM events WHERE machine_id = ? AND ? IN (launch_id, '')"
        return self._number(query, machine_id, launch_id) > 0

    def check(self, sequence: int) -> None:
        """Raise OutOfRange (HISTORY_LOST) where events after a number are gone.

        Zero, which asks for all that is kept, is always right.
        """
        if sequence != 0 and not self.forgotten <= sequence <= self.last:
            raise OutOfRange(
                f"events after {sequence} are gone; the history is {self.forgotten} to {self.last}"
            )

    async def after(self, sequence: int) -> AsyncIterator[Event]:
        """Yield the events after a number, then new ones as they come, until streams are ended."""
        while not self._ending:
            appended = self._appended
            batch = self._read(sequence)
            for event in batch:
                sequence = event.sequence
                yield event
            if not batch:
                await appended.wait()

    def _read(self, sequence: int) -> list[Event]:
        rows = self._database.execute(
            "SELECT * FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?", (sequence, BATCH)
        )
        return [
            Event(number, time_ns, machine, launch, kind, json.loads(fields), record, tail)
            for number, time_ns, machine, launch, kind, fields, record, tail in rows
        ]

    def _number(self, query: str, *parameters: object) -> int:
        return int(self._database.execute(query, parameters).fetchone()[0])

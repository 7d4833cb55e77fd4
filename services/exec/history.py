"""The stored events: a bounded history, numbered without end."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from portlayer.neighbours import Connection, tell
from portlayer.store import Store
from services.exec.schema import EVENTS

# Events kept; older ones are removed as new ones come.
EVENT_HISTORY = 10_000
# A database's largest number; a protobuf moment has nanoseconds beyond.
_LARGEST = 2**63 - 1
# Replicas tell one another on it whose event they have stored.
EVENTS_CHANNEL = "vic_exec_events"


@dataclass(frozen=True)
class NewEvent:
    """An event before it has its number."""

    kind: int
    container_id: str
    attributes: Mapping[str, str]
    # What Docker puts after the kind and a colon.
    detail: str = ""


@dataclass(frozen=True)
class StoredEvent:
    """An event of the history."""

    sequence: int
    time_ns: int
    kind: int
    container_id: str
    attributes: Mapping[str, str]
    detail: str


# Two queries in one: SQLite looks up either end in the index, but for both of one query it reads
# the whole table.
_ENDS = sa.select(
    sa.select(sa.func.min(EVENTS.c.sequence)).scalar_subquery(),
    sa.select(sa.func.max(EVENTS.c.sequence)).scalar_subquery(),
)


_AFTER = (
    sa.select(EVENTS)
    .where(EVENTS.c.sequence > sa.bindparam("after"), EVENTS.c.time_ns >= sa.bindparam("since"))
    .order_by(EVENTS.c.sequence)
    .limit(sa.bindparam("most"))
)
_INSERT = EVENTS.insert()
_AFTER_OF_ONE = _AFTER.where(EVENTS.c.container_id == sa.bindparam("of"))


class History:
    """The events that are kept."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, new_event: NewEvent) -> None:
        """Store an event that changes no record."""
        async with self._store.transaction() as connection:
            await append_events(connection, [new_event])

    async def after(
        self, sequence: int, limit: int = 500, *, since_ns: int = 0, container_id: str = ""
    ) -> list[StoredEvent]:
        """Return the next events after a number, at or after a time, oldest first.

        With ``container_id`` only that container's.
        """
        since = max(-_LARGEST, min(_LARGEST, since_ns))
        which: dict[str, int | str] = {"after": sequence, "since": since, "most": limit}
        query = _AFTER
        if container_id:
            query, which["of"] = _AFTER_OF_ONE, container_id
        async with self._store.reading() as connection:
            return [StoredEvent(**row._mapping) for row in await connection.execute(query, which)]

    async def range(self) -> tuple[int, int]:
        """Return the numbers of the oldest and the newest event; zeros when there is none."""
        async with self._store.reading() as connection:
            oldest, newest = (await connection.execute(_ENDS)).one()
        return oldest or 0, newest or 0


async def append_events(connection: Connection, events: Iterable[NewEvent]) -> None:
    """Number events and store them in a transaction, and let the oldest go."""
    newest = 0
    for event in events:
        result = await connection.execute(
            _INSERT,
            {
                "time_ns": time.time_ns(),
                "kind": event.kind,
                "container_id": event.container_id,
                "attributes": dict(event.attributes),
                "detail": event.detail,
            },
        )
        await tell(connection, EVENTS_CHANNEL, event.container_id)
        key: Sequence[Any] | None = result.inserted_primary_key
        newest = int(key[0]) if key else newest
    if newest and newest % 100 == 0:
        await connection.execute(EVENTS.delete().where(EVENTS.c.sequence <= newest - EVENT_HISTORY))

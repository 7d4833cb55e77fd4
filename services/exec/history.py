"""The stored events: a bounded history, numbered without end."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from portlayer.neighbours import Connection, tell
from portlayer.prepared import Prepared, Query
from portlayer.store import Store
from services.exec.schema import EVENTS

# Events kept; older ones are removed as new ones come.
EVENT_HISTORY = 10_000
# Events read from the database at a time.
READ_AT_ONCE = 500
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
    """An event of the history, as its row has it."""

    sequence: int
    time_ns: int
    kind: int
    container_id: str
    attributes: Mapping[str, str]
    detail: str


# Two queries in one: SQLite looks up either end in the index, but for both of one query it reads
# the whole table.
_ENDS = Query(
    sa.select(
        sa.select(sa.func.min(EVENTS.c.sequence)).scalar_subquery(),
        sa.select(sa.func.max(EVENTS.c.sequence)).scalar_subquery(),
    )
)


_AFTER = (
    sa.select(EVENTS)
    .where(EVENTS.c.sequence > sa.bindparam("after"), EVENTS.c.time_ns >= sa.bindparam("since"))
    .order_by(EVENTS.c.sequence)
    .limit(sa.bindparam("most"))
)
_AFTER_ALL = Query(_AFTER)
_AFTER_OF_ONE = Query(_AFTER.where(EVENTS.c.container_id == sa.bindparam("of")))
_INSERT = Prepared(EVENTS.insert())
_FORGET = Prepared(EVENTS.delete().where(EVENTS.c.sequence <= sa.bindparam("last")))


class History:
    """The events that are kept."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, new_event: NewEvent) -> None:
        """Store an event that changes no record."""
        async with self._store.transaction() as connection:
            await append_events(connection, [new_event])

    async def after(
        self, sequence: int, limit: int = READ_AT_ONCE, *, since_ns: int = 0, container_id: str = ""
    ) -> list[StoredEvent]:
        """Return the next events after a number, at or after a time, oldest first.

        With ``container_id`` only that container's.
        """
        since = max(-_LARGEST, min(_LARGEST, since_ns))
        which: dict[str, int | str] = {"after": sequence, "since": since, "most": limit}
        query = _AFTER_ALL
        if container_id:
            query, which["of"] = _AFTER_OF_ONE, container_id
        return [StoredEvent(*row) for row in await self._store.read(query, which)]

    async def range(self) -> tuple[int, int]:
        """Return the numbers of the oldest and the newest event; zeros when there is none."""
        ((oldest, newest),) = await self._store.read(_ENDS, {})
        return oldest or 0, newest or 0


async def append_events(connection: Connection, events: Iterable[NewEvent]) -> None:
    """Number events and store them in a transaction, and let the oldest go."""
    newest = 0
    for event in events:
        row = {
            "time_ns": time.time_ns(),
            "kind": event.kind,
            "container_id": event.container_id,
            "attributes": dict(event.attributes),
            "detail": event.detail,
        }
        newest = await _INSERT.number(connection, row)
        await tell(connection, EVENTS_CHANNEL, event.container_id)
    if newest and newest % 100 == 0:
        await _FORGET.on(connection, [{"last": newest - EVENT_HISTORY}])

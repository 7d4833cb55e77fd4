"""What interaction tells of what runs in a container: health, and what clients run beside it."""

import asyncio
from dataclasses import replace
from typing import Final
from weakref import WeakValueDictionary

from vic.exec.v1 import exec_pb2
from vic.interaction.v1 import process_pb2
from vic.tether.v1 import health_pb2

from services.exec.eventlog import EventLog
from services.exec.events import event
from services.exec.history import NewEvent
from services.exec.record import Record
from services.exec.store import Containers

_WORDS: Final = {
    health_pb2.HEALTH_STATUS_STARTING: "starting",
    health_pb2.HEALTH_STATUS_HEALTHY: "healthy",
    health_pb2.HEALTH_STATUS_UNHEALTHY: "unhealthy",
}


class Reports:
    """Puts what is told on record, of each container in the order in which it came."""

    def __init__(self, containers: Containers, events: EventLog) -> None:
        self._containers = containers
        self._events = events
        # Kept alive by those who hold them or wait for them.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(self, told: process_pb2.ProcessEvent) -> None:
        """Take in one event; those of one container have to be begun in their order."""
        turn = self._turns.setdefault(told.container_id, asyncio.Lock())
        async with turn:
            record = await self._containers.get(told.container_id)
            if record is None:
                return
            if told.command:
                await self._events.append(_exec_event(record, told))
            elif told.HasField("health") and record.boot_id == told.boot_id:
                await self._take_health(record, told.health)

    async def _take_health(self, record: Record, health: health_pb2.Health) -> None:
        """Put a state on record, and tell of its status where that has changed."""
        if not is_newer(health, record.health):
            return
        known = record.health.status if record.health is not None else None
        events = []
        if health.status != known:
            word = _WORDS.get(health.status, "none")
            events.append(replace(event(record, exec_pb2.EVENT_KIND_HEALTH_STATUS), detail=word))
        if await self._containers.set_health(record, health, events) and events:
            self._events.announce(record.id)


def _exec_event(record: Record, told: process_pb2.ProcessEvent) -> NewEvent:
    """Return Docker's event of what became of a client's process."""
    exec_id, what = told.process_id, told.WhichOneof("event")
    if what == "ended":
        code = str(told.ended.exit_code)
        return event(record, exec_pb2.EVENT_KIND_EXEC_DIE, execID=exec_id, exitCode=code)
    created = what == "created"
    kind = exec_pb2.EVENT_KIND_EXEC_CREATE if created else exec_pb2.EVENT_KIND_EXEC_START
    return replace(event(record, kind, execID=exec_id), detail=told.command)


def is_newer(health: health_pb2.Health, known: health_pb2.Health | None) -> bool:
    """Whether a state is no repetition of what is known, as comes after a restart."""
    if known is None or not known.results or not health.results:
        return True
    last, before = health.results[-1].finished_at, known.results[-1].finished_at
    return last.ToNanoseconds() > before.ToNanoseconds()

"""What interaction tells of what runs in a container: health, and what clients run beside it."""

import asyncio
from dataclasses import replace
from typing import Final

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


# Which a run begins with; dockerd tells of changes alone.
_FIRST: Final = health_pb2.HEALTH_STATUS_STARTING


class Reports:
    """Puts what is told on record, in the order in which it came."""

    def __init__(self, containers: Containers, events: EventLog) -> None:
        self._containers = containers
        self._events = events
        self._turn = asyncio.Lock()

    async def take(self, told: process_pb2.ProcessEvent) -> None:
        """Take in one event; they have to be begun in their order, and are taken in as often."""
        async with self._turn:
            record = await self._containers.get(told.container_id)
            if record is None:
                return
            events, health = [], None
            if told.command:
                events = [_exec_event(record, told)]
            elif record.boot_id == told.boot_id:
                health = told.health
                known = record.health.status if record.health is not None else _FIRST
                if health.status != known:
                    events = [_health_event(record, health)]
            else:
                return
            if await self._containers.report(told.sequence, record, events, health) and events:
                self._events.announce(record.id)


def _health_event(record: Record, health: health_pb2.Health) -> NewEvent:
    word = _WORDS.get(health.status, "none")
    return replace(event(record, exec_pb2.EVENT_KIND_HEALTH_STATUS), detail=word)


def _exec_event(record: Record, told: process_pb2.ProcessEvent) -> NewEvent:
    """Return Docker's event of what became of a client's process."""
    exec_id, what = told.process_id, told.WhichOneof("event")
    if what == "ended":
        code = str(told.ended.exit_code)
        return event(record, exec_pb2.EVENT_KIND_EXEC_DIE, execID=exec_id, exitCode=code)
    created = what == "created"
    kind = exec_pb2.EVENT_KIND_EXEC_CREATE if created else exec_pb2.EVENT_KIND_EXEC_START
    return replace(event(record, kind, execID=exec_id), detail=told.command)

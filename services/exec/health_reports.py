"""What comes of health checks: states that tethers tell, put on record one after the other."""

import asyncio
from dataclasses import replace
from typing import Final
from weakref import WeakValueDictionary

from vic.exec.v1 import exec_pb2
from vic.tether.v1 import health_pb2

from services.exec.eventlog import EventLog
from services.exec.events import event
from services.exec.store import Containers

_WORDS: Final = {
    health_pb2.HEALTH_STATUS_STARTING: "starting",
    health_pb2.HEALTH_STATUS_HEALTHY: "healthy",
    health_pb2.HEALTH_STATUS_UNHEALTHY: "unhealthy",
}


class HealthReports:
    """Takes in what tethers tell, one state of a container after the other."""

    def __init__(self, containers: Containers, events: EventLog) -> None:
        self._containers = containers
        self._events = events
        # Kept alive by those who hold them or wait for them.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(self, container_id: str, boot_id: str, health: health_pb2.Health) -> None:
        """Put a state on record, and tell of its status where that has changed."""
        turn = self._turns.setdefault(container_id, asyncio.Lock())
        async with turn:
            record = await self._containers.get(container_id)
            if record is None or record.boot_id != boot_id or not is_newer(health, record.health):
                return
            events = []
            if record.health is None or record.health.status != health.status:
                word = _WORDS.get(health.status, "none")
                events.append(
                    replace(event(record, exec_pb2.EVENT_KIND_HEALTH_STATUS), detail=word)
                )
            if await self._containers.set_health(record, health, events) and events:
                self._events.announce(container_id)


def is_newer(health: health_pb2.Health, known: health_pb2.Health | None) -> bool:
    """Whether a state is no repetition of what is known, as comes after a restart."""
    if known is None or not known.results or not health.results:
        return True
    last, before = health.results[-1].finished_at, known.results[-1].finished_at
    return last.ToNanoseconds() > before.ToNanoseconds()

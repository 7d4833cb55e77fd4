"""What happened to processes, numbered, kept until exec has acknowledged it."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from vic.interaction.v1 import interaction_pb2, process_pb2
from vic.tether.v1 import health_pb2

from portlayer.errors import OutOfRange, VicError
from services.interaction.processes import INIT
from services.interaction.pulse import Pulse
from services.interaction.store import EVENTS_CHANNEL, InteractionStore, ProcessRow
from services.interaction.timestamps import from_ns

log = logging.getLogger("vic.interaction.events")

_BATCH: Final = 256
_LONGEST_COMMAND: Final = 4096


class EventJournal:
    """The events, in the database and in memory."""

    def __init__(self, store: InteractionStore) -> None:
        self._store = store
        self._events: deque[process_pb2.ProcessEvent] = deque()
        # The newest of each container among them that tells of its health.
        self._health: dict[str, process_pb2.ProcessEvent] = {}
        self._changed = Pulse()
        # Numbers become visible in order, whatever the database does.
        self._turn = asyncio.Lock()
        self.newest = 0
        """Number of the newest event that there ever was."""

    async def load(self) -> None:
        """Read what was not acknowledged before a restart, or what other replicas recorded."""
        async with self._turn:
            await self._read_on()

    async def _read_on(self) -> None:
        """Take in what is new on record, and drop what isn't there any more."""
        for sequence, serialized in await self._store.events(after=self.newest):
            event = process_pb2.ProcessEvent.FromString(serialized)
            event.sequence = sequence
            self._append(event)
        self._forget(await self._store.oldest_event() - 1)
        self._changed.beat()

    async def follow_replicas(self) -> None:
        """Take in what the other replicas record, for ever."""
        if self._store.neighbours.alone:
            return
        told = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            listening = self._store.neighbours.listen(EVENTS_CHANNEL, lambda _: told.set())
            group.create_task(listening)
            while True:
                await told.wait()
                told.clear()
                try:
                    await self.load()
                except VicError as error:
                    log.warning("cannot read the other replicas' events: %s", error.message)

    async def created(self, container_id: str, boot_id: str, process_id: str, spec: bytes) -> None:
        """Record that a client made a process; it belongs to no boot before it runs."""
        row = ProcessRow(container_id, process_id, spec=spec)
        event = _event(row)
        event.boot_id = boot_id
        event.created.SetInParent()
        async with self._turn:
            self._recorded(event, await self._store.put_process(row, event.SerializeToString()))

    async def running(self, row: ProcessRow) -> None:
        """Record that a process runs, or that it was tried to."""
        event = _event(row)
        event.running.pid = row.pid
        event.running.started_at.CopyFrom(from_ns(row.started_ns))
        await self._record(row, event)

    async def ended(self, row: ProcessRow) -> None:
        """Record that a process has ended."""
        assert row.exit is not None
        event = _event(row)
        event.ended.exit_code = row.exit.exit_code
        event.ended.oom_killed = row.exit.oom_killed
        event.ended.finished_at.CopyFrom(from_ns(row.exit.finished_ns))
        await self._record(row, event)

    async def health(self, container_id: str, boot_id: str, health: health_pb2.Health) -> None:
        """Record the state of a workload's health.

        Probes go on while nobody takes the events, for as long as that may be: where the former
        event says the same status, the new one takes its place.
        """
        event = process_pb2.ProcessEvent(
            container_id=container_id, boot_id=boot_id, process_id=INIT, health=health
        )
        async with self._turn:
            former = self._health.get(container_id)
            same = former is not None and _says_as_much(former, event)
            number = former.sequence if former is not None and same else 0
            serialized = event.SerializeToString()
            self._recorded(event, await self._store.put_event(serialized, number))

    async def _record(self, row: ProcessRow, event: process_pb2.ProcessEvent) -> None:
        async with self._turn:
            self._recorded(event, await self._store.put_process(row, event.SerializeToString()))

    def _recorded(self, event: process_pb2.ProcessEvent, sequence: int) -> None:
        """Take in an event of ours that is on record."""
        if not self._store.neighbours.alone:
            # Others' may come before it: all are read in their order, as its record has told us.
            return
        event.sequence = sequence
        self._append(event)
        self._changed.beat()

    def _append(self, event: process_pb2.ProcessEvent) -> None:
        if event.HasField("health"):
            former = self._health.get(event.container_id)
            if former is not None and _says_as_much(former, event):
                self._events.remove(former)
            self._health[event.container_id] = event
        self._events.append(event)
        self.newest = event.sequence

    async def acknowledge(self, sequence: int) -> None:
        """Forget events up to a number."""
        await self._store.remove_events(sequence)
        self._forget(sequence)

    def _forget(self, sequence: int) -> None:
        while self._events and self._events[0].sequence <= sequence:
            gone = self._events.popleft()
            if self._health.get(gone.container_id) is gone:
                del self._health[gone.container_id]

    async def check(self, sequence: int) -> None:
        """Raise OutOfRange when a number was never given: this facet's database was lost since."""
        if not self._store.neighbours.alone:
            await self.load()
        if sequence > self.newest:
            raise OutOfRange(f"event {sequence} is not known; the newest is {self.newest}")

    async def follow(self, sequence: int) -> AsyncGenerator[process_pb2.ProcessEvent, None]:
        """Yield the events after a number, then new ones as they come."""
        while True:
            for event in await self._next(sequence):
                yield event
                sequence = event.sequence

    async def _next(self, sequence: int) -> Sequence[process_pb2.ProcessEvent]:
        """Return events after a number as soon as there are any."""
        await self._changed.wait_for(
            lambda: bool(self._events) and self._events[-1].sequence > sequence
        )
        # They are few, and who follows is seldom behind.
        return [event for event in self._events if event.sequence > sequence][:_BATCH]


def _event(row: ProcessRow) -> process_pb2.ProcessEvent:
    return process_pb2.ProcessEvent(
        container_id=row.container_id,
        boot_id=row.boot_id,
        process_id=row.process_id,
        command="" if row.spec is None else command_of(row.spec),
    )


def command_of(spec: bytes) -> str:
    """Return what a client's process runs, as Docker tells it, and no more of it than is useful."""
    args = interaction_pb2.CreateExecRequest.FromString(spec).process.args
    return " ".join(args)[:_LONGEST_COMMAND]


def _says_as_much(former: process_pb2.ProcessEvent, event: process_pb2.ProcessEvent) -> bool:
    same_boot = former.boot_id == event.boot_id
    return same_boot and former.health.status == event.health.status

"""Stop: asking the init process to end, killing it after the time-out, taking the VM down."""

import asyncio
import time
from dataclasses import replace

from vic.exec.v1 import exec_pb2

from portlayer.signals import parse_signal
from services.exec.events import event
from services.exec.exitrecord import KILLED, Exit
from services.exec.history import NewEvent
from services.exec.parts import SIGKILL, Parts, check_record
from services.exec.pausing import Pausing
from services.exec.record import Record, seconds
from services.exec.states import State, Verb

DEFAULT_STOP_SECONDS = 10.0
# From SIGKILL to the report of the exit; after that the VM is ended instead, with what it has not
# flushed. It takes some 100 ms, and on two cores with a hundred other guests many seconds.
KILL_SECONDS = 60.0


class Stopping:
    """Ends containers' processes, and their VMs with them."""

    def __init__(self, parts: Parts, pausing: Pausing) -> None:
        self._parts = parts
        self._pausing = pausing

    async def stop(self, container_id: str, timeout: float | None, signal: str) -> Record:
        """Ask the init process to end, kill it after the time-out, take the VM down.

        A timeout of None is the container's own, a negative one means to wait without end.
        """
        await self.hasten(container_id, timeout, signal)
        async with self._parts.turns.turn(container_id):
            record = await self._parts.current(container_id)
            check_record(Verb.STOP, record)
            return await self.end(record, timeout, signal)

    async def hasten(self, container_id: str, timeout: float | None, signal: str) -> None:
        """Let a stop that is under way take no longer than another that is asked for now.

        It has the turn, and sees the end that it waits for.
        """
        record = await self._parts.current(container_id)
        if record.state is State.STOPPING:
            number = parse_signal(signal) if signal else stop_signal(record)
            await self._end(record, number, _patience(record, timeout))

    async def end(
        self, record: Record, timeout: float | None, signal: str, *, used_on: bool = False
    ) -> Record:
        """Stop a container whose turn the caller has, and who may have its disk ``used_on``."""
        number = parse_signal(signal) if signal else stop_signal(record)
        if record.state is State.RESTARTING:
            record = await self._parts.exits.retire_former(record)
            return await self._give_up_restart(record, event(record, exec_pb2.EVENT_KIND_STOP))
        if record.state is State.PAUSED:
            record = await self._pausing.go_on(record)
        stopping = replace(record, state=State.STOPPING)
        by_hand = not self._parts.exits.closing
        await self._parts.containers.update(stopping, expect=record, by_hand=by_hand)
        try:
            await self._end(stopping, number, _patience(record, timeout))
        except BaseException:
            # It runs on; one that has ended meanwhile stays ended.
            await self._parts.containers.update(
                replace(record, state=State.RUNNING), expect=stopping, by_hand=False
            )
            raise
        await self._parts.exits.retire(stopping, used_on=used_on)
        stopped = event(record, exec_pb2.EVENT_KIND_STOP)
        current = await self._parts.containers.get(record.id)
        if current is not None and current.state is State.RESTARTING:
            # It had ended by itself right before.
            return await self._give_up_restart(current, stopped)
        await self._parts.events.append(stopped)
        return current or stopping

    async def _give_up_restart(self, record: Record, *events: NewEvent) -> Record:
        """Let a container that waits for its restart be one that has ended."""
        by_hand = not self._parts.exits.closing
        ended = replace(record, state=State.EXITED, restart_at_ns=0, stopped_by_hand=by_hand)
        await self._parts.containers.update(ended, events, expect=record, by_hand=by_hand)
        self._parts.events.announce(record.id)
        return ended

    async def _end(self, record: Record, number: int, timeout: float | None) -> None:
        """Signal the init process, kill it after the time-out, and return when it has ended."""
        await self._parts.announce_kill(record, number)
        await self._parts.send_signal(record, number)
        if await self.ends_within(record, timeout):
            return
        await self._parts.announce_kill(record, SIGKILL)
        async with self._parts.exits.room.place():
            await self._parts.send_signal(record, SIGKILL)
            ended = await self.ends_within(record, KILL_SECONDS)
        if not ended:
            await self._parts.hypervisor.destroy(record.id, record.boot_id)
            await self._parts.exits.process_ended(
                record.id, record.boot_id, Exit(KILLED, False, time.time_ns())
            )

    async def ends_within(self, record: Record, seconds: float | None) -> bool:
        """Wait until a container's process has ended, and tell whether it did."""
        try:
            async with asyncio.timeout(seconds):
                await self._parts.exits.ended(record)
        except TimeoutError:
            return False
        return True


def _patience(record: Record, timeout: float | None) -> float | None:
    """Return the seconds that a process has to end by itself, None without end.

    A timeout of None is the container's own, a negative one means to wait without end.
    """
    if timeout is None:
        own = record.spec.HasField("stop_timeout")
        timeout = seconds(record.spec.stop_timeout) if own else DEFAULT_STOP_SECONDS
    return None if timeout < 0 else timeout


def stop_signal(record: Record) -> int:
    """Return the number of the signal that stops a container."""
    return parse_signal(record.spec.stop_signal)

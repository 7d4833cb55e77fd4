"""Pause and unpause: holding the CPUs of a VM, and letting them go on."""

from dataclasses import replace

from vic.exec.v1 import exec_pb2

from portlayer.errors import NotImplementedYet
from services.exec.drivers import CanPause
from services.exec.events import event
from services.exec.parts import Parts, check_record
from services.exec.record import Record
from services.exec.states import State, Verb


class Pausing:
    """Holds VMs and lets them go on."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def pause(self, container_id: str) -> None:
        """Hold the VM's CPUs."""
        async with self._parts.turns.turn(container_id):
            record = await self._parts.current(container_id)
            check_record(Verb.PAUSE, record)
            pausing = self._pausing()
            paused = replace(record, state=State.PAUSED)
            # First on record: a VM that stands still and is said to run could not be unpaused.
            await self._parts.containers.update(paused, expect=record)
            try:
                await pausing.pause(record.id)
            except BaseException:
                await self._parts.containers.update(record, expect=paused)
                raise
            await self._parts.events.append(event(record, exec_pb2.EVENT_KIND_PAUSE))

    async def unpause(self, container_id: str) -> None:
        """Let the VM's CPUs go on."""
        async with self._parts.turns.turn(container_id):
            record = await self._parts.current(container_id)
            check_record(Verb.UNPAUSE, record)
            await self.go_on(record)

    async def go_on(self, record: Record) -> Record:
        """Let a paused container go on, and give it the signals that came meanwhile."""
        await self._pausing().unpause(record.id)
        running = replace(record, state=State.RUNNING)
        if await self._parts.containers.update(
            running, [event(record, exec_pb2.EVENT_KIND_UNPAUSE)], expect=record
        ):
            self._parts.events.announce(record.id)
        for number in await self._parts.containers.take_signals(record.id):
            await self._parts.send_signal(running, number)
        return running

    def _pausing(self) -> CanPause:
        if not isinstance(self._parts.hypervisor, CanPause):
            raise NotImplementedYet("this hypervisor can't pause a VM", option="pause")
        return self._parts.hypervisor

"""Remove, and prune: giving back all that a container has."""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from vic.exec.v1 import exec_pb2
from vic.storage.v1 import image_pb2

from portlayer.errors import FailedPrecondition, VicError
from services.exec.drivers import CanPause
from services.exec.events import event
from services.exec.exitrecord import KILLED, Exit
from services.exec.history import NewEvent
from services.exec.holding import Holding
from services.exec.mounts import uses_volumes
from services.exec.parts import SIGKILL, Parts
from services.exec.record import Record
from services.exec.signalling import Signalling
from services.exec.states import State, Verb, check

log = logging.getLogger("vic.exec.removing")


@dataclass(frozen=True)
class Pruned:
    """What a prune removed, and what the disks of that took."""

    container_ids: Sequence[str]
    reclaimed_bytes: int


class Removing:
    """Removes containers."""

    def __init__(self, parts: Parts, holding: Holding, signalling: Signalling) -> None:
        self._parts = parts
        self._holding = holding
        self._signalling = signalling

    async def remove(
        self, container_id: str, reference: str, *, force: bool, volumes: bool = False
    ) -> None:
        """Remove a container with all that it has; with ``volumes`` its anonymous ones as well."""
        if force:
            await self._hurry(await self._parts.current(container_id))
        async with self._parts.turns.turn(container_id):
            record = await self._parts.current(container_id)
            verb = Verb.FORCE_REMOVE if force else Verb.REMOVE
            check(
                verb,
                record.state,
                container_id=record.id,
                name=record.name,
                reference=reference,
            )
            if record.state.has_vm:
                record = await self._kill(record)
            await self.dispose(record, volumes=volumes)

    async def prune(self, until_ns: int | None, label_filters: Collection[str]) -> Pruned:
        """Remove all containers that don't run and fit."""
        removed = []
        sizes = await self._sizes()
        for record in await self._parts.containers.select(
            [State.CREATED, State.EXITED, State.DEAD]
        ):
            if until_ns is not None and record.created_ns >= until_ns:
                continue
            if not _labels_fit(record.spec.labels, label_filters):
                continue
            try:
                await self.remove(record.id, record.id, force=False)
            except VicError as error:
                log.info("%s is not pruned: %s", record.id, error.message)
            else:
                removed.append(record.id)
        reclaimed = sum(sizes.get(container_id, 0) for container_id in removed)
        told = NewEvent(exec_pb2.EVENT_KIND_PRUNE, "", {"reclaimed": str(reclaimed)})
        await self._parts.events.append(told)
        return Pruned(removed, reclaimed)

    async def _sizes(self) -> Mapping[str, int]:
        """Return what each container's own disk takes."""
        try:
            usage = await self._parts.peers.images.DiskUsage(image_pb2.DiskUsageRequest())
        except VicError as error:
            log.warning("it isn't known what a prune gives back: %s", error.message)
            return {}
        return {disk.container_id: disk.writable_bytes for disk in usage.containers}

    async def _hurry(self, record: Record) -> None:
        """Let nobody wait for the time-out of a stop, or for a guest that doesn't come up."""
        if record.state not in (State.STARTING, State.STOPPING):
            return
        if not self._parts.turns.busy(record.id):
            return
        if record.state is State.STOPPING and uses_volumes(record.spec):
            # Who stops it sees the end, and has the guest flush them. One that has ended by now is
            # being taken down.
            with suppress(FailedPrecondition):
                await self._signalling.signal(record.id, "KILL")
        else:
            self._parts.exits.give_up(record.boot_id)
            await self._parts.hypervisor.destroy(record.id, record.boot_id)

    async def _kill(self, record: Record) -> Record:
        """End a container's VM at once; nothing of its disk is wanted any more.

        What it wrote to its volumes is: its guest ends the process, flushes them and powers off.
        """
        await self._parts.containers.stop_by_hand(record)
        await self._parts.announce_kill(record, SIGKILL)
        if uses_volumes(record.spec):
            if record.state is State.PAUSED and isinstance(self._parts.hypervisor, CanPause):
                await self._parts.hypervisor.unpause(record.id)
            await self._parts.exits.power_off(record)
        await self._parts.hypervisor.destroy(record.id, record.boot_id)
        await self._parts.exits.process_ended(
            record.id, record.boot_id, Exit(KILLED, False, time.time_ns())
        )
        self._parts.exits.forget(record.boot_id)
        return replace(await self._parts.containers.get(record.id) or record, boot_id="")

    async def dispose(self, record: Record, *, volumes: bool = False) -> None:
        """Remove what no VM uses any more, and a VM that is left. The caller has the turn.

        Anonymous volumes go where that is asked for, and with a container that is removed by
        itself.
        """
        removing = replace(record, state=State.REMOVING)
        await self._parts.containers.update(removing)
        await self._holding.give_way(record.id, 0)
        try:
            if record.boot_id:
                if uses_volumes(record.spec):
                    # Its process has ended, and nobody has taken its VM down yet.
                    await self._parts.exits.power_off(record)
                await self._parts.hypervisor.destroy(record.id, record.boot_id)
                self._parts.exits.forget(record.boot_id)
            await self._parts.creator.dismantle(
                record.id,
                volumes=uses_volumes(record.spec),
                remove_anonymous=volumes or record.spec.auto_remove,
            )
        except VicError as error:
            await self._parts.containers.update(
                replace(record, state=State.DEAD, error=error.message)
            )
            raise
        await self._parts.containers.delete(record.id, [event(record, exec_pb2.EVENT_KIND_DESTROY)])
        self._parts.events.announce(record.id)


def _labels_fit(labels: Mapping[str, str], filters: Collection[str]) -> bool:
    """Tell whether labels fit all filters, and not all of those with a leading "!"."""

    def fits(wanted: str) -> bool:
        name, has_value, value = wanted.partition("=")
        return name in labels and (not has_value or labels[name] == value)

    reverse = [text[1:] for text in filters if text.startswith("!")]
    if reverse and all(map(fits, reverse)):
        return False
    return all(fits(text) for text in filters if not text.startswith("!"))

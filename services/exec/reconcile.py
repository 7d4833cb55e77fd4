"""Lists what there is and compares: the only way in which the facet's state is repaired.

It runs at start, on a period, and after any doubt. What has no owner is removed; what a lost
database no longer knows is restored from the specifications beside the disks.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from vic.interaction.v1 import process_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2, volume_pb2

from portlayer.errors import VicError
from services.exec.creation import Creator
from services.exec.drivers import CanKeepReady, Hypervisor, MachineState
from services.exec.exitrecord import KILLED, Exit
from services.exec.exits import Exits
from services.exec.holding import Holding
from services.exec.operations import Turns
from services.exec.peers import Peers
from services.exec.record import Record
from services.exec.restoring import Restorer, machine_of
from services.exec.states import State
from services.exec.store import Containers

log = logging.getLogger("vic.exec.reconcile")

PERIOD_SECONDS = 60.0
# After a comparison that found no peer, or a VM missing whose end may be on its way.
RETRY_SECONDS = 2.0
# From a clone's address to its VM, and from its use to the container's having that address.
FORSAKEN_SECONDS = 20.0
# Containers mended at once: one may wait half a minute for its guest to power off.
AT_A_TIME = 8


@dataclass(frozen=True)
class Inventory:
    """What there is beside the records."""

    disks: Mapping[str, disk_pb2.Disk]
    # Containers with addresses, streams or volumes.
    held: Collection[str]
    # Boots whose VM has volumes, by container.
    attached: Mapping[str, str]
    machines: Mapping[str, MachineState]


class Reconciler:
    """Compares records, disks, addresses, streams and VMs, and mends what doesn't fit."""

    def __init__(
        self,
        containers: Containers,
        turns: Turns,
        peers: Peers,
        hypervisor: Hypervisor,
        creator: Creator,
        exits: Exits,
        holding: Holding,
    ) -> None:
        self._containers = containers
        self._turns = turns
        self._peers = peers
        self._hypervisor = hypervisor
        self._creator = creator
        self._exits = exits
        self._holding = holding
        self._restorer = Restorer(containers, peers, hypervisor, creator, exits)
        self._doubt = exits.doubt
        # Boots whose VM was missing, this time and the last.
        self._missing: set[str] = set()
        self._missed: set[str] = set()
        # Clones that have an address and are not there, and since when that was seen.
        self._forsaken: dict[str, float] = {}

    def doubt(self) -> None:
        """Ask for a comparison soon."""
        self._doubt.set()

    async def run(self) -> None:
        """Compare now, on the period, and after doubts; never returns."""
        retry = RETRY_SECONDS
        while True:
            self._doubt.clear()
            try:
                settled = await self.reconcile()
            except VicError as error:
                # A peer is away; the next round will find it.
                log.warning("cannot reconcile: %s", error.message)
                settled = False
            pause = PERIOD_SECONDS if settled else retry
            retry = RETRY_SECONDS if settled else min(PERIOD_SECONDS, retry * 2)
            try:
                async with asyncio.timeout(pause):
                    await self._doubt.wait()
            except TimeoutError:
                continue

    async def reconcile(self) -> bool:
        """Compare once; return whether all is right now.

        What can't be mended keeps nothing else from it. Raises VicError when a facet can't be
        asked.
        """
        # What is listed before the records can't be younger than they are: a container that is
        # being created has its record first and loses it last.
        there = await self._inventory()
        records = {record.id: record for record in await self._containers.select()}
        unfinished = await self._containers.reserved_ids()
        self._missed, self._missing = self._missing, set()
        owned = {*records, *unfinished}
        lost = {i for i, disk in there.disks.items() if disk.specification} - owned
        orphans = {*there.disks, *there.held} - owned - lost
        machines = there.machines.values()
        strange = [
            m
            for m in machines
            if not _is_of(m, records.get(m.container_id)) and not await self._holding.owned(m)
        ]
        unsound = [
            record.id
            for record in records.values()
            if _needs_mending(record, runs=_is_of(there.machines.get(record.id), record))
        ]
        left = [
            container_id
            for container_id, boot_id in there.attached.items()
            if not _has_boot(boot_id, records.get(container_id), there.machines.get(container_id))
        ]
        orphans -= set(await self._drop_forsaken(orphans))
        mended = await self._each(self._drop_unfinished, unfinished)
        mended &= await self._each(self._restorer.restore, lost)
        mended &= await self._each(self._drop_orphan, orphans)
        mended &= await self._each(self._destroy_orphan, {m.container_id for m in strange})
        mended &= await self._each(self._mend, unsound)
        mended &= await self._each(self._detach, left)
        return mended and not self._missing and not self._forsaken

    async def _drop_forsaken(self, names: Collection[str]) -> Collection[str]:
        """Release what clones had that wait no more; return which of the names are clones'.

        Only after a while: one may be about to be there, or about to be a container's.
        """
        hypervisor = self._hypervisor
        if not isinstance(hypervisor, CanKeepReady):
            return ()
        clones = hypervisor.clones(names)
        forsaken, now = await hypervisor.forsaken(clones), time.monotonic()
        self._forsaken = {name: self._forsaken.get(name, now) for name in forsaken}
        for name, since in list(self._forsaken.items()):
            if now - since >= FORSAKEN_SECONDS:
                await self._peers.network.Release(network_pb2.ReleaseRequest(container_id=name))
                del self._forsaken[name]
                log.warning("released the address of a clone that is gone", extra={"id": name})
        return clones

    async def _inventory(self) -> Inventory:
        disks = await self._disks()
        network = await self._peers.network.ListReservations(network_pb2.ListReservationsRequest())
        streams = await self._peers.processes.ListRegistered(process_pb2.ListRegisteredRequest())
        uses = (await self._peers.volumes.ListUses(volume_pb2.ListUsesRequest())).uses
        return Inventory(
            disks={disk.container_id: disk for disk in disks},
            held={
                *network.container_ids,
                *streams.container_ids,
                *(use.container_id for use in uses),
            },
            attached={use.container_id: use.boot_id for use in uses if use.boot_id},
            machines={m.container_id: m for m in await self._hypervisor.inventory()},
        )

    async def _disks(self) -> list[disk_pb2.Disk]:
        found: list[disk_pb2.Disk] = []
        request = disk_pb2.DiskServiceListRequest()
        while True:
            page = await self._peers.disks.List(request)
            found += page.disks
            if not page.next_page_token:
                return found
            request = disk_pb2.DiskServiceListRequest(page_token=page.next_page_token)

    async def _each(
        self, mend: Callable[[str], Awaitable[None]], container_ids: Iterable[str]
    ) -> bool:
        """Mend containers, each in its turn, some at a time; return whether all went well."""
        room = asyncio.Semaphore(AT_A_TIME)

        async def attempt(container_id: str) -> bool:
            if self._turns.busy(container_id):
                return True  # Who works on it leaves it in order, or to the next round.
            try:
                async with room, self._turns.turn(container_id):
                    await mend(container_id)
            except VicError as error:
                log.warning("cannot mend %s: %s", container_id, error.message)
                return False
            return True

        return all(await asyncio.gather(*map(attempt, container_ids)))

    async def _drop_unfinished(self, container_id: str) -> None:
        """Undo a Create that a crash interrupted, or that could not be undone then."""
        if container_id in await self._containers.reserved_ids():
            await self._creator.dismantle(container_id, remove_anonymous=True)
            await self._containers.delete(container_id)
            log.warning("undid a create that was interrupted", extra={"id": container_id})

    async def _drop_orphan(self, container_id: str) -> None:
        """Remove disk, addresses, streams and uses of volumes that no record owns."""
        if not await self._containers.known(container_id):
            await self._creator.dismantle(container_id)
            log.warning("removed what nobody owned", extra={"id": container_id})

    async def _destroy_orphan(self, container_id: str) -> None:
        """End a VM that isn't that of its container's present boot."""
        machine = await machine_of(self._hypervisor, container_id)
        if machine is None or await self._holding.owned(machine):
            return
        if not _is_of(machine, await self._containers.get(container_id)):
            await self._hypervisor.destroy(container_id, machine.boot_id)
            log.warning("ended a VM that nobody owned", extra={"id": container_id})
            await self._detach(container_id)

    async def _detach(self, container_id: str) -> None:
        """Take volumes back from a VM that isn't there any more."""
        request = volume_pb2.ListUsesRequest()
        for use in (await self._peers.volumes.ListUses(request)).uses:
            if use.container_id != container_id or not use.boot_id:
                continue
            record = await self._containers.get(container_id)
            if not _has_boot(use.boot_id, record, await machine_of(self._hypervisor, container_id)):
                await self._peers.volumes.Detach(
                    volume_pb2.DetachRequest(container_id=container_id, boot_id=use.boot_id)
                )
                log.warning("took volumes back that no VM had", extra={"id": container_id})

    async def _mend(self, container_id: str) -> None:
        """Bring a container out of a state that it can't stay in."""
        record = await self._containers.get(container_id)
        if record is None:
            return
        runs = _is_of(await machine_of(self._hypervisor, container_id), record)
        if not _needs_mending(record, runs=runs):
            return
        if record.state is State.STARTING:
            await self._undo_start(record)
        elif record.state is State.STOPPING and runs:
            # Its stop was interrupted: whoever asked for it got an error.
            running = replace(record, state=State.RUNNING)
            await self._containers.update(running, expect=record, by_hand=False)
        elif record.state.has_vm:
            await self._mend_missing(record)
        elif record.state is State.REMOVING:
            # Half of it is gone, and it was asked for.
            await self._hear_of_end(record)
            await self._remove(record)
        else:
            await self._hear_of_end(record)
            await self._exits.finish(record)
            log.warning("cleaned up after an exit", extra={"id": record.id})

    async def _hear_of_end(self, record: Record) -> None:
        """Have whoever waits for a VM to be gone know of its end, which is told once.

        It is heard from here on, and may have come before.
        """
        if record.boot_id:
            gone = self._exits.gone(record.boot_id)
            if not _is_of(await machine_of(self._hypervisor, record.id), record):
                gone.set()

    async def _undo_start(self, record: Record) -> None:
        """Undo a start that was interrupted: its caller got an error, so nothing may stay."""
        await self._hypervisor.destroy(record.id, record.boot_id)
        undone = replace(
            record,
            state=State.EXITED if record.started_ns else State.CREATED,
            pid=0,
            exit_code=128,
            error="its start was interrupted",
        )
        if record.restart_at_ns:
            # Nobody got an error: its restart policy had asked for it, and asks still.
            undone = replace(undone, state=State.RESTARTING)
        await self._containers.update(undone)
        await self._exits.finish(undone, vm_gone=True)
        self._exits.on_restart()

    async def _mend_missing(self, record: Record) -> None:
        """Record the end of a VM that isn't there any more, when nobody else can tell of it.

        Only the second time that it is missing: the hypervisor keeps how it ended before it takes
        it from its list, and that may be on its way.
        """
        if record.boot_id in self._missed and self._exits.caught_up:
            how = Exit(KILLED, False, time.time_ns())
            await self._exits.process_ended(record.id, record.boot_id, how)
        else:
            self._missing.add(record.boot_id)

    async def _remove(self, record: Record) -> None:
        if self._exits.remove is not None:
            await self._exits.remove(record)


def _is_of(machine: MachineState | None, record: Record | None) -> bool:
    """Tell whether a VM is that of a container's present boot."""
    return machine is not None and record is not None and machine.boot_id == record.boot_id


def _has_boot(boot_id: str, record: Record | None, machine: MachineState | None) -> bool:
    """Tell whether a boot is a container's present one, or its VM is there."""
    return (record is not None and record.boot_id == boot_id) or (
        machine is not None and machine.boot_id == boot_id
    )


def _needs_mending(record: Record, *, runs: bool) -> bool:
    """Tell whether a container that nobody works on is in a state that it can't stay in.

    ``runs`` tells whether the VM of its present boot is there.
    """
    match record.state:
        case State.RUNNING | State.PAUSED:
            return not runs
        case State.STARTING | State.STOPPING | State.REMOVING:
            return True
        case State.CREATED:
            # One that failed to start is removed as one that ended is.
            return bool(record.boot_id or (record.spec.auto_remove and record.error))
        case _:
            return bool(record.boot_id or record.spec.auto_remove)

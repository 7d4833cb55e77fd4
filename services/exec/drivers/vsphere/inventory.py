"""The container VMs of one folder as vCenter has them, followed by one stream of updates."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from pyVmomi import vim

from portlayer.errors import VicError
from portlayer.vsphere.identity import (
    EXIT_RECORD,
    PREFIX,
    container_uuid,
    decode,
)
from portlayer.vsphere.lookup import find_child, find_folder, find_machine
from portlayer.vsphere.properties import (
    Collector,
    read_below,
    read_present,
)
from portlayer.vsphere.session import VCenter
from services.exec.drivers import MachineExited
from services.exec.drivers.vsphere.claims import Claims
from services.exec.drivers.vsphere.found import (
    OFF,
    ON,
    PARENT,
    PATHS,
    Found,
    changed,
    moved,
    rebooted,
    standing,
    woken,
)
from services.exec.drivers.vsphere.updates import Updates

log = logging.getLogger("vic.exec.vsphere.inventory")

# For which a start's own update may be late.
CONFIRM_SECONDS = 5.0


@dataclass(frozen=True)
class Ended:
    """A container VM that has ended, and may still be in the inventory."""

    vm: vim.VirtualMachine
    exited: MachineExited
    doubtful: bool = False
    """That it was off may have been before it was let run: whether it is has to be looked at."""


class Inventory:
    """Knows the folder's VMs, and tells of ours that end.

    Positions of ends are microseconds since 1970, and grow: they go on after a restart. An end that
    wasn't forgotten is found again then, since its VM is still there, powered off.
    """

    def __init__(self, vcenter: VCenter, folder: str, instance_id: str, claims: Claims) -> None:
        self._vcenter = vcenter
        self._claims = claims
        self._folder = folder
        self._instance_id = instance_id
        self._updates = Updates(vcenter, folder, self._apply, self._completed)
        self._found: dict[str, Found] = {}
        self._ended: dict[int, Ended] = {}
        self._position = 0
        self._news = asyncio.Event()
        # Boots whose ends were told and whose VMs are still there. Updates that were under way may
        # say once more that one was on, and then off.
        self._over: set[str] = set()
        # Boots that were made and have not been let run: they are off, and have not ended.
        self._waiting: set[str] = set()
        # Boots that were let run, of which no update has said whether they are on or off, and who
        # looks at them.
        self._assumed: dict[str, asyncio.Task[None]] = {}
        # Boots that are off while another replica is about to let them run, and who waits for it.
        self._left_alone: dict[str, asyncio.Task[None]] = {}
        self.complete = asyncio.Event()
        """Set when the folder has been read as a whole."""
        self.changed = asyncio.Event()
        """Set when VMs of ours have come, gone or frozen; who waits for it clears it."""

    async def open(self) -> None:
        """Begin to follow; return when the folder is known. Raises what vCenter says."""
        await self._vcenter.call(lambda content: find_folder(content, self._folder))
        self._updates.follow()
        await self.complete.wait()

    async def close(self) -> None:
        """Stop following."""
        tasks = [*self._assumed.values(), *self._left_alone.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._updates.close()

    def expect(self, boot_id: str) -> None:
        """Take a boot that is off for one that is still to run."""
        self._waiting.add(boot_id)

    def settle(self, boot_id: str) -> None:
        """Take a boot that is off for one that has ended."""
        self._waiting.discard(boot_id)

    def begin(self, vm: vim.VirtualMachine, boot_id: str) -> None:
        """Take a boot that was off for one that runs.

        vCenter tells what a VM is, not all that it has been: of one that was powered on and off
        again at once it says that it is off.
        """
        self._waiting.discard(boot_id)
        found = self._found.get(vm._GetMoId())
        if found is None or found.identity is None or found.power != OFF:
            return
        if found.identity.boot_id == boot_id and boot_id not in self._over:
            self._found[vm._GetMoId()] = replace(found, power=ON)
            self.changed.set()
            confirming = self._confirm(vm, found.identity.container_id, boot_id)
            self._assumed[boot_id] = asyncio.create_task(confirming, name=f"confirm {boot_id}")

    def wake(self, vm: vim.VirtualMachine) -> None:
        """Take a VM for one that is about to go on: its next boot time is no reset.

        Of one that stood still between two updates vCenter tells only the boot time.
        """
        found = self._found.get(vm._GetMoId())
        if found is not None:
            self._found[vm._GetMoId()] = replace(found, woken=time.monotonic())

    async def _confirm(self, vm: vim.VirtualMachine, container_id: str, boot_id: str) -> None:
        """Look at a VM of whose start no update comes.

        To who was told that it is off vCenter need not say so again, where it was on meanwhile.
        """
        try:
            await asyncio.sleep(CONFIRM_SECONDS)
            known = self._found.get(vm._GetMoId())
            found = None if known is None else await self.of(container_id, boot_id)
            if found is not None and found.power == OFF and boot_id in self._assumed:
                self._found[vm._GetMoId()] = found
                self.changed.set()
                self._end(found, "powered off")
        except VicError as error:
            log.warning("whether %s runs is not known: %s", container_id, error.message)
        finally:
            self._assumed.pop(boot_id, None)

    async def read(self) -> list[Found]:
        """Return the container VMs of this instance, whatever their state, as they are now.

        What the stream has told may be a moment behind, and a VM that is missing here is taken for
        one that has ended.
        """

        def look(content: vim.ServiceInstanceContent) -> list[Found]:
            folder = find_folder(content, self._folder)
            return [
                self._known(changed(Found(vm), told))
                for vm, told in read_below(content, folder, vim.VirtualMachine, PATHS)
            ]

        found = await self._vcenter.call(look, repeatable=True)
        return [machine for machine in found if machine.identity is not None]

    async def of(self, container_id: str, boot_id: str = "") -> Found | None:
        """Return a container's VM as it is now; where a boot is given, that one's alone.

        There is never more than one: a former boot's goes before the next is made.
        """
        return await self._vcenter.call(
            lambda content: self.look_for(content, container_id, boot_id), repeatable=True
        )

    def look_for(
        self, content: vim.ServiceInstanceContent, container_id: str, boot_id: str
    ) -> Found | None:
        """Return what ``of`` does; blocks."""
        vm = find_machine(content, container_uuid(self._instance_id, container_id))
        found = None if vm is None else self._read(content, vm)
        if found is None or found.identity is None:
            return None
        return found if boot_id in ("", found.identity.boot_id) else None

    def live(self) -> list[Found]:
        """Return the container VMs that have not ended, as far as the updates have told."""
        return [
            found
            for found in self._found.values()
            if found.identity is not None and found.identity.boot_id not in self._over
        ]

    def parents(self) -> list[Found]:
        """Return the VMs of this instance that others are cloned from, as the updates tell."""
        return [
            found
            for found in self._found.values()
            if PARENT in found.options
            and found.options.get(PREFIX + "instance") == self._instance_id
        ]

    def look_again(
        self, content: vim.ServiceInstanceContent, known: Sequence[Found]
    ) -> list[Found]:
        """Return VMs as they are now; those that have gone are left out."""
        told = read_present(content, [found.vm for found in known], vim.VirtualMachine, PATHS)
        return [self._known(changed(Found(vm), values)) for vm, values in told]

    def is_over(self, boot_id: str) -> bool:
        """Tell whether the end of a boot was told, although its VM is on: it was reset.

        Of one whose end is doubtful nothing was told yet: that it is on says that the update was
        late.
        """
        doubtful = any(e.doubtful and e.exited.boot_id == boot_id for e in self._ended.values())
        return boot_id in self._over and not doubtful

    async def named(self, name: str) -> Found | None:
        """Return the VM of a name in the folder, ours or not, as it is now."""

        def look(content: vim.ServiceInstanceContent) -> Found | None:
            vm = find_child(content, find_folder(content, self._folder), name)
            return self._read(content, vm) if isinstance(vm, vim.VirtualMachine) else None

        return await self._vcenter.call(look, repeatable=True)

    def _read(self, content: vim.ServiceInstanceContent, vm: vim.VirtualMachine) -> Found | None:
        there = read_present(content, [vm], vim.VirtualMachine, PATHS)
        return next((self._known(changed(Found(vm), told)) for vm, told in there), None)

    async def ends(self, after: int) -> AsyncIterator[tuple[int, MachineExited | None]]:
        """Yield ends after a position, then None, then new ends."""
        await self.complete.wait()
        self._position = max(self._position, after)
        told, history = after, True
        while True:
            self._news.clear()
            for position, ended in self._after(told):
                told = position
                if ended.doubtful and await self._claims.is_claimed(ended.exited.boot_id):
                    self._leave_alone(position, ended)
                    continue
                late = ended.doubtful and await self._runs(ended.exited)
                # One that has gone since has ended, whatever was seen of it.
                if not late or ended.vm._GetMoId() not in self._found:
                    if position in self._ended:
                        self._ended[position] = replace(ended, doubtful=False)
                    yield position, await self._with_record(ended.exited)
                    continue
                log.info("an update came late: %s runs", ended.exited.container_id)
                self._ended.pop(position, None)
                self._over.discard(ended.exited.boot_id)
                self.changed.set()  # It is among those that live again.
                # What ended it while we looked is told no more, nor that it is off once more.
                self.begin(ended.vm, ended.exited.boot_id)
            if history:
                history = False
                yield told, None
            await self._news.wait()

    def _after(self, told: int) -> list[tuple[int, Ended]]:
        return [
            (position, self._ended[position]) for position in sorted(self._ended) if position > told
        ]

    def _leave_alone(self, position: int, ended: Ended) -> None:
        """Take a boot for none that has ended, until another replica has let it run, or not."""
        boot_id = ended.exited.boot_id
        self._ended.pop(position, None)
        self._over.discard(boot_id)

        async def look_again() -> None:
            try:
                await self._claims.released(boot_id)
            except VicError as error:
                log.info("who starts %s is not known: %s", boot_id, error.message)
            del self._left_alone[boot_id]
            found = self._found.get(ended.vm._GetMoId())
            if found is not None and found.power == OFF and found.identity is not None:
                self._end(found, "powered off", doubtful=True)

        if boot_id not in self._left_alone:
            waiting = asyncio.create_task(look_again(), name=f"start of {boot_id} elsewhere")
            self._left_alone[boot_id] = waiting

    async def _runs(self, exited: MachineExited) -> bool:
        """Tell whether a VM is on after all, or paused."""
        try:
            found = await self.of(exited.container_id, exited.boot_id)
        except VicError:
            return False
        return found is not None and found.power != OFF

    async def _with_record(self, exited: MachineExited) -> MachineExited:
        """Return an end with what its guest wrote at last: its update may come after the end's."""
        try:
            found = await self.of(exited.container_id, exited.boot_id)
        except VicError as error:
            log.info("an exit record may be lost: %s", error.message)
            return exited
        record = "" if found is None else found.options.get(EXIT_RECORD, "")
        return replace(exited, exit_record=record.encode()) if record else exited

    def take_ended(self, through: int) -> list[vim.VirtualMachine]:
        """Forget the ends up to a position; return their VMs, to be removed."""
        positions = [position for position in self._ended if position <= through]
        return [self._ended.pop(position).vm for position in positions]

    def _completed(self, seen: frozenset[str]) -> None:
        """Take what a whole state doesn't hold for deleted."""
        for moid in set(self._found) - seen:
            self._leave(moid)
        self.complete.set()

    def _apply(self, entry: Collector.ObjectUpdate) -> None:
        moid = entry.obj._GetMoId()
        if entry.kind == Collector.ObjectUpdate.Kind.leave:
            self._leave(moid)
            return
        before = self._found.get(moid)
        changes = {change.name: change.val for change in entry.changeSet or []}
        assert isinstance(entry.obj, vim.VirtualMachine), "the filter asks for no other"
        now = woken(before, self._known(changed(before or Found(entry.obj), changes)))
        self._found[moid] = now
        confirming = None
        if now.identity is not None and "runtime.powerState" in changes:
            confirming = self._assumed.pop(now.identity.boot_id, None)
            if confirming is not None:
                confirming.cancel()
        if before is not None and now.identity is not None and moved(before, now):
            # Nothing else follows from it: the container runs on.
            log.info("vCenter has moved %s to host %s", now.name, now.host)
        if before is None or standing(before) != standing(now):
            self.changed.set()
        if now.identity is None or now.identity.boot_id in self._waiting:
            return
        if now.power == OFF:
            if before is None or before.power != OFF or before.identity is None:
                # What is seen for the first time may have been off before it was let run: as a VM,
                # as one of ours, whose configuration is told after the VM, or once more after an
                # interruption.
                again = confirming is not None and entry.kind == Collector.ObjectUpdate.Kind.enter
                first = before is None or before.identity is None
                self._end(now, "powered off", doubtful=first or again)
        elif before is not None and rebooted(before, now):
            self._end(now, "reset")

    def _known(self, found: Found) -> Found:
        identity = decode(found.options, found.bios_uuid, self._instance_id)
        return replace(found, identity=identity)

    def _leave(self, moid: str) -> None:
        found = self._found.pop(moid, None)
        if found is None:
            return
        self.changed.set()
        if found.identity is None:
            return
        if found.power != OFF:
            self._end(found, "deleted")
        self._over.discard(found.identity.boot_id)

    def _end(self, found: Found, detail: str, *, doubtful: bool = False) -> None:
        assert found.identity is not None
        if found.identity.boot_id in self._over:
            return
        self._over.add(found.identity.boot_id)
        exited = MachineExited(
            found.identity.container_id,
            found.identity.boot_id,
            found.options.get(EXIT_RECORD, "").encode(),
            detail,
        )
        self._position = max(self._position + 1, time.time_ns() // 1000)
        self._ended[self._position] = Ended(found.vm, exited, doubtful)
        self._news.set()

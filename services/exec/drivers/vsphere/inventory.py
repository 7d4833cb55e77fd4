"""The container VMs of one folder as vCenter has them, followed by one stream of updates."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial

from pyVmomi import vim, vmodl

from portlayer.errors import VicError
from portlayer.vsphere.properties import (
    MOST_WAIT,
    Collector,
    Properties,
    open_view,
    read,
    read_below,
    view_filter,
)
from portlayer.vsphere.session import VCenter
from services.exec.drivers import MachineExited
from services.exec.drivers.vsphere.identity import EXIT_RECORD, Identity, decode, options
from services.exec.drivers.vsphere.place import find_folder

log = logging.getLogger("vic.exec.vsphere.inventory")

ON = vim.VirtualMachine.PowerState.poweredOn
OFF = vim.VirtualMachine.PowerState.poweredOff
PATHS = ("name", "runtime.powerState", "config.extraConfig")
# vCenter may name one entry of an array that changed.
_ENTRY = re.compile(r'config\.extraConfig\["(?P<key>[^"]+)"\]')
# Between attempts to follow a vCenter that is away, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


@dataclass(frozen=True)
class Found:
    """A VM in the folder. ``identity`` is None where it isn't ours."""

    vm: vim.VirtualMachine
    name: str = ""
    power: vim.VirtualMachine.PowerState | None = None
    options: dict[str, str] = field(default_factory=dict)
    identity: Identity | None = None


@dataclass(frozen=True)
class Ended:
    """A container VM that has ended, and may still be in the inventory."""

    vm: vim.VirtualMachine
    exited: MachineExited


class Inventory:
    """Knows the folder's VMs, and tells of ours that end.

    Positions of ends are microseconds since 1970, and grow: they go on after a restart. An end that
    wasn't forgotten is found again then, since its VM is still there, powered off.
    """

    def __init__(self, vcenter: VCenter, folder: str, instance_id: str) -> None:
        self._vcenter = vcenter
        self._folder = folder
        self._instance_id = instance_id
        self._following: asyncio.Task[None] | None = None
        self._closing = threading.Event()
        # That of the present wait, which can be broken off by it.
        self._collector: Collector | None = None
        self._found: dict[str, Found] = {}
        self._ended: dict[int, Ended] = {}
        self._position = 0
        self._news = asyncio.Event()
        # Boots whose ends were told and whose VMs are still there. Updates that were under way may
        # say once more that one was on, and then off.
        self._over: set[str] = set()
        # Boots that were made and have not been let run: they are off, and have not ended.
        self._waiting: set[str] = set()
        self.complete = asyncio.Event()
        """Set when the folder has been read as a whole."""

    async def open(self) -> None:
        """Begin to follow; return when the folder is known. Raises what vCenter says."""
        await self._vcenter.call(lambda content: find_folder(content, self._folder))
        self._following = asyncio.create_task(self._follow(), name="vCenter's updates")
        await self.complete.wait()

    async def close(self) -> None:
        """Stop following."""
        self._closing.set()
        if self._following is None:
            return
        collector = self._collector
        if collector is not None:
            try:
                await self._vcenter.call(lambda _: collector.CancelWaitForUpdates())
            except VicError as error:
                log.info("the wait for updates ends by itself: %s", error.message)
        await self._following

    def expect(self, boot_id: str) -> None:
        """Take a boot that is off for one that is still to run."""
        self._waiting.add(boot_id)

    def settle(self, boot_id: str) -> None:
        """Take a boot that is off for one that has ended."""
        self._waiting.discard(boot_id)

    async def read(self) -> list[Found]:
        """Return the container VMs of this instance, whatever their state, as they are now.

        What the stream has told may be a moment behind, and a VM that is missing here is taken for
        one that has ended.
        """

        def look(content: vim.ServiceInstanceContent) -> list[Found]:
            folder = find_folder(content, self._folder)
            return [
                self._known(_changed(Found(vm), told))
                for vm, told in read_below(content, folder, vim.VirtualMachine, PATHS)
            ]

        found = await self._vcenter.call(look, repeatable=True)
        return [machine for machine in found if machine.identity is not None]

    async def of(self, container_id: str, boot_id: str = "") -> list[Found]:
        """Return a container's VMs, those of one boot where it is given."""
        return [
            found
            for found in await self.read()
            if found.identity is not None
            and found.identity.container_id == container_id
            and boot_id in ("", found.identity.boot_id)
        ]

    async def named(self, name: str) -> Found | None:
        """Return the VM of a name in the folder, ours or not, as it is now."""

        def look(content: vim.ServiceInstanceContent) -> Found | None:
            index = content.searchIndex
            assert index is not None, "every vCenter has one"
            vm = index.FindChild(find_folder(content, self._folder), name)
            if not isinstance(vm, vim.VirtualMachine):
                return None
            ((_, told),) = read(content, [vm], vim.VirtualMachine, PATHS)
            return self._known(_changed(Found(vm), told))

        return await self._vcenter.call(look, repeatable=True)

    async def ends(self, after: int) -> AsyncIterator[tuple[int, MachineExited | None]]:
        """Yield ends after a position, then None, then new ends."""
        await self.complete.wait()
        self._position = max(self._position, after)
        told, history = after, True
        while True:
            self._news.clear()
            for position in sorted(p for p in self._ended if p > told):
                told = position
                yield position, self._ended[position].exited
            if history:
                history = False
                yield told, None
            await self._news.wait()

    def take_ended(self, through: int) -> list[vim.VirtualMachine]:
        """Forget the ends up to a position; return their VMs, to be removed."""
        positions = [position for position in self._ended if position <= through]
        return [self._ended.pop(position).vm for position in positions]

    async def _follow(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            begun = time.monotonic()
            loop = asyncio.get_running_loop()
            try:
                await self._vcenter.call(partial(self._watch, loop), repeatable=True)
            except VicError as error:
                if self._closing.is_set():
                    return
                if time.monotonic() - begun > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                log.warning("can't follow vCenter for %.1f s: %s", pause, error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _watch(self, loop: asyncio.AbstractEventLoop, content: vim.ServiceInstanceContent) -> None:
        """Follow in a thread, from the whole state on, until there is a fault or a close."""
        folder = find_folder(content, self._folder)
        view = open_view(content, folder, vim.VirtualMachine)
        collector = content.propertyCollector.CreatePropertyCollector()
        self._collector = collector
        try:
            collector.CreateFilter(view_filter(view, vim.VirtualMachine, PATHS), False)
            version, whole = "", True
            seen: set[str] = set()
            wait = Collector.WaitOptions(maxWaitSeconds=MOST_WAIT)
            while not self._closing.is_set():
                update = collector.WaitForUpdatesEx(version, wait)
                if update is None:
                    continue
                version = update.version
                for entry in (e for f in update.filterSet or [] for e in f.objectSet or []):
                    seen.add(entry.obj._GetMoId())
                    loop.call_soon_threadsafe(self._apply, entry)
                if whole and not update.truncated:
                    whole = False
                    loop.call_soon_threadsafe(self._completed, frozenset(seen))
        except vmodl.fault.RequestCanceled:
            if not self._closing.is_set():
                raise
        finally:
            self._collector = None

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
        now = self._known(_changed(before or Found(entry.obj), changes))
        self._found[moid] = now
        if now.identity is None or now.power != OFF or now.identity.boot_id in self._waiting:
            return
        if before is None or before.power != OFF or before.identity is None:
            self._end(now, "powered off")

    def _known(self, found: Found) -> Found:
        return replace(found, identity=decode(found.options, self._instance_id))

    def _leave(self, moid: str) -> None:
        found = self._found.pop(moid, None)
        if found is None or found.identity is None:
            return
        if found.power != OFF:
            self._end(found, "deleted")
        self._over.discard(found.identity.boot_id)

    def _end(self, found: Found, detail: str) -> None:
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
        self._ended[self._position] = Ended(found.vm, exited)
        self._news.set()


def _changed(found: Found, changes: Properties) -> Found:
    for path, value in changes.items():
        if path == "name":
            found = replace(found, name=value)
        elif path == "runtime.powerState":
            found = replace(found, power=value)
        elif path == "config.extraConfig":
            found = replace(found, options=options(value))
        elif match := _ENTRY.fullmatch(path):
            text = "" if value is None else str(getattr(value, "value", value))
            found = replace(found, options=found.options | {match["key"]: text})
    return found

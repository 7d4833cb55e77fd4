"""The stream of vCenter's updates of one folder's VMs."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from pyVmomi import vim, vmodl

from portlayer.errors import VicError
from portlayer.vsphere.lookup import find_folder
from portlayer.vsphere.properties import MOST_WAIT, Collector, open_view, view_filter
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.found import PATHS

log = logging.getLogger("vic.exec.vsphere.inventory")

# Between attempts to follow a vCenter that is away, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# Between attempts to break off a wait, of which one that comes before the wait does nothing.
CANCEL_PAUSE = 0.5


class Updates:
    """Follows a folder from its whole state on, and after each interruption from that once more."""

    def __init__(
        self,
        vcenter: VCenter,
        folder: str,
        apply: Callable[[Collector.ObjectUpdate], None],
        completed: Callable[[frozenset[str]], None],
    ) -> None:
        """`apply` gets each update, `completed` the IDs of all VMs after a whole state.

        Both are called by the event loop.
        """
        self._vcenter = vcenter
        self._folder = folder
        self._apply = apply
        self._completed = completed
        self._following: asyncio.Task[None] | None = None
        self._closing = threading.Event()
        self._closed = asyncio.Event()
        # That of the present wait, which can be broken off by it.
        self._collector: Collector | None = None

    def follow(self) -> None:
        """Begin."""
        self._following = asyncio.create_task(self._follow(), name="vCenter's updates")

    async def close(self) -> None:
        """Stop following."""
        self._closing.set()
        self._closed.set()
        if self._following is None:
            return
        while not self._following.done():
            collector = self._collector
            if collector is not None:
                await self._break_off(collector)
            await asyncio.wait({self._following}, timeout=CANCEL_PAUSE)
        await self._following

    async def _break_off(self, collector: Collector) -> None:
        try:
            await self._vcenter.call(lambda _: collector.CancelWaitForUpdates())
        except VicError as error:
            log.info("the wait for updates ends by itself: %s", error.message)

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
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._closed.wait()
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

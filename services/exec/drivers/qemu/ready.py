"""Clones that are kept ready: forked and warmed up ahead of demand, without a name or a secret.

What a start costs under emulation is guest code that runs for the first time, and a clone that has
gone through the motions once has that behind it. It stands still then, and is nobody's until a
start takes it. Under emulation one clone goes through them, as the template, and the others are
forks of its process: these cost milliseconds, so that a start for which none waits takes one as
well. None is worth recovering: what an exec before us left is ended.
"""

import asyncio
import logging
import time
from collections import deque

from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from portlayer.errors import Reason, VicError
from services.exec.drivers.qemu.classes import ClassTemplates
from services.exec.drivers.qemu.dialling import Dialling
from services.exec.drivers.qemu.hostmemory import MARGIN_BYTES, HostMemory
from services.exec.drivers.qemu.parents import Parents
from services.exec.drivers.qemu.template import Template
from services.exec.drivers.qemu.warming import (
    READY_PREFIX,
    TEMPLATE_PREFIX,
    ReadyClone,
    Warming,
)

log = logging.getLogger("vic.exec.qemu.ready")

# After a clone that could not be made ready; doubled each time in a row.
RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0
# A container that does little is over soon after its start, and so is who waits for it: while
# another clone is there for the next start, its replacement leaves the CPUs to both.
QUIET_SECONDS = 0.5
# How often is looked, while clones wait, whether the host has memory for them and QEMU is theirs.
LOOK_SECONDS = 15.0


class ReadyClones:
    """A few clones of one shape, filled up in the background while no start is under way."""

    def __init__(
        self,
        agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub",
        parents: Parents,
        memory: HostMemory,
        dialling: Dialling | None = None,
    ) -> None:
        self._agent = agent
        self._parents = parents
        self._warming = Warming(agent, parents, dialling)
        self._template = Template(agent, self._warming)
        self._others = ClassTemplates(agent, self._warming, memory)
        self.memory = memory
        self._wanted = 0
        self._shape = b""
        self._waiting: deque[ReadyClone] = deque()
        # Starts under way, by boot: they come first.
        self._starts: set[str] = set()
        # When the host has been left to the last start, and its container, for long enough.
        self._quiet_at = 0.0
        self._changed = asyncio.Event()
        self._ends: set[asyncio.Task[None]] = set()
        # Clones that were taken and could not be used.
        self.failed = 0

    @property
    def waiting(self) -> int:
        """Clones that wait for a start."""
        return len(self._waiting)

    @property
    def wanted(self) -> int:
        """Clones that are to wait."""
        return self._wanted

    def want(self, count: int | None) -> None:
        """Keep so many from now on, none until this is called; None is as many as suit the host."""
        self._wanted = self.memory.automatic() if count is None else count
        self._changed.set()

    async def take(self, shape: hostagent_pb2.Shape) -> ReadyClone | None:
        """Return a clone of a shape, the caller's from now on; where none waits, it is forked."""
        if not self._wanted:
            return None
        self._changed.set()
        if shape.SerializeToString(deterministic=True) != self._shape:
            return await self._others.fork(shape)
        if self._waiting:
            return self._waiting.popleft()
        return await self._template.fork(shape)

    def give_back(self, clone: ReadyClone) -> None:
        """Take a clone back that was not used."""
        self._waiting.append(clone)

    def give_up(self, machine_id: str) -> None:
        """Take in that a clone could not be used, and end what is left of it."""
        self.failed += 1
        self._end_soon(machine_id)

    def ended(self, machine_id: str) -> None:
        """Take in that a machine has ended."""
        if self._template.ended(machine_id):
            self._changed.set()
        self._others.ended(machine_id)
        for clone in [one for one in self._waiting if one.machine_id == machine_id]:
            log.warning("a ready clone has ended by itself", extra={"machine": machine_id})
            self._waiting.remove(clone)
            self._end_soon(machine_id)
            self._changed.set()

    async def weed(self) -> None:
        """End what no start can use: its parent is gone, or another QEMU's that was here before."""
        try:
            listed = (await self._agent.ListParents(hostagent_pb2.ListParentsRequest())).parents
        except VicError as error:
            # It is asked again before long, or by the next start that is refused.
            log.info("what waits is not looked at: %s", error.message)
            return
        current = {parent.parent_id for parent in listed if parent.current}
        stale = [clone for clone in self._waiting if clone.parent_id not in current]
        for clone in stale:
            self._waiting.remove(clone)
            self._end_soon(clone.machine_id)
        templates = [await self._template.weed(current), await self._others.weed(current)]
        if stale or any(templates):
            log.info("what waited was made with another QEMU, or of a parent that is gone")
            self._parents.doubt()
            self._changed.set()

    def hold_back(self, boot_id: str) -> None:
        """Begin no preparation until a start is done."""
        self._starts.add(boot_id)

    def let_go(self, boot_id: str) -> None:
        """Tell that a start is done, or given up. Idempotent."""
        if boot_id in self._starts:
            self._quiet_at = time.monotonic() + QUIET_SECONDS
        self._starts.discard(boot_id)
        self._changed.set()

    def _pause(self) -> float:
        """Return for how many seconds more a replacement can wait, as another clone still does."""
        cheap = self._template.there or not self._waiting
        return 0.0 if cheap else self._quiet_at - time.monotonic()

    async def keep(self, shape: hostagent_pb2.Shape) -> None:
        """End what was left by an exec before us, then keep clones of a shape ready for ever."""
        self._shape = shape.SerializeToString(deterministic=True)
        retry = RETRY_SECONDS
        swept = False
        look_at = time.monotonic() + LOOK_SECONDS
        while True:
            self._changed.clear()
            try:
                if not swept:
                    await self._sweep()
                    swept = True
                if time.monotonic() >= look_at:
                    await self.weed()
                    look_at = time.monotonic() + LOOK_SECONDS
                await self._fill(shape)
                retry = RETRY_SECONDS
            except VicError as error:
                log.warning("no clone can be made ready: %s", error.message)
                await asyncio.sleep(retry)
                retry = min(retry * 2, LONGEST_RETRY_SECONDS)
                continue
            await self._wait()

    async def _wait(self) -> None:
        """Wait for a change, or until it is time to look."""
        # Nothing tells of memory running short, or of QEMU's upgrade, before it is too late.
        seconds = LOOK_SECONDS if self._wanted else None
        if len(self._waiting) < self._wanted and (pause := self._pause()) > 0:
            seconds = pause
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _fill(self, shape: hostagent_pb2.Shape) -> None:
        while True:
            spare = self.memory.spare()
            if spare < 0 and self._waiting:
                log.warning("memory is short: ready clones are given up")
            kept = 0 if spare < 0 else self._wanted
            while len(self._waiting) > kept:
                await self._end(self._waiting.popleft().machine_id)
            if not kept:
                await self._template.give_up()
                await self._others.give_up()
            if self._starts or spare < MARGIN_BYTES:
                return
            if len(self._waiting) >= kept:
                if kept:
                    await self._others.prepare()
                return
            if self._pause() > 0:
                return
            clone = await self._prepare(shape)
            self._waiting.append(clone)
            log.info("a clone is ready", extra={"machine": clone.machine_id})

    async def _prepare(self, shape: hostagent_pb2.Shape) -> ReadyClone:
        """Make a clone that has warmed up and stands still, or that dials where it is a fork."""
        try:
            await self._template.prepare(shape)
        except VicError as error:
            if error.reason is not Reason.LAUNCH_FAILED:
                raise
            # It needs more of the host than other clones do: a user namespace, for one.
            log.warning("no template can be launched: %s", error.message)
        clone = await self._template.fork(shape, connected=True)
        kind = hostagent_pb2.MACHINE_KIND_READY
        return clone or await self._warming.warm_up(READY_PREFIX, kind, shape)

    async def close(self) -> None:
        """End all that wait, and what they are forked of."""
        for clone in self._waiting:
            self._end_soon(clone.machine_id)
        self._waiting.clear()
        if self._ends:
            await asyncio.wait(self._ends)
        await self._template.give_up()
        await self._others.give_up()

    async def _sweep(self) -> None:
        for machine in (await self._agent.List(hostagent_pb2.ListRequest())).machines:
            if machine.machine_id.startswith((READY_PREFIX, TEMPLATE_PREFIX)):
                await self._end(machine.machine_id)
        # Of those that were gone already, or never came to be.
        await self._warming.release_places()

    def _end_soon(self, machine_id: str) -> None:
        task = asyncio.create_task(self._end(machine_id), name=f"end {machine_id}")
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _end(self, machine_id: str) -> None:
        await self._warming.end(machine_id)

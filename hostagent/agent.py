"""The host agent's work: what is asked of machines and parents, one call a machine at a time."""

import asyncio
import logging
import sqlite3
from collections.abc import Coroutine
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from hostagent.accelerator import Verdict
from hostagent.assembly import machine_weight
from hostagent.bootstrap import Bootstrap
from hostagent.cgroups import Limits
from hostagent.commandline import shape_key
from hostagent.counters import CounterReader, Counters
from hostagent.forking.templates import Templates
from hostagent.guestconfig import clock_frame
from hostagent.inventory import Inventory, LiveMachine
from hostagent.journal import ExitCause
from hostagent.launching import Host, Launching, Plan, machine_not_found
from hostagent.machine import (
    Accelerator,
    Machine,
    MachineKind,
    Nic,
    Shape,
    Surroundings,
    check_name,
    check_weight,
)
from hostagent.parents import Parent, Parents, ParentState
from hostagent.plugging import Plugging
from hostagent.qemu import host_cpu
from hostagent.records import Record
from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    NotFound,
    Reason,
    Unavailable,
)

log = logging.getLogger("vic.hostagent")

# A parent's QEMU ends within milliseconds of QMP's quit.
SEAL_SECONDS = 10.0

T = TypeVar("T")


class HostAgent:
    """All that the service offers, in terms of our own values."""

    def __init__(
        self, host: Host, inventory: Inventory, parents: Parents, tasks: asyncio.TaskGroup
    ) -> None:
        self.host = host
        self.inventory = inventory
        self.parents = parents
        self._plugging = Plugging(inventory, host.slot)
        self._tasks = tasks
        self.templates = Templates(tasks)
        self._launching = Launching(host, inventory, parents, self.templates)
        self._in_hand: set[asyncio.Task[Any]] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def shape_key(self, shape: Shape) -> str:
        """Return the key of a shape. Raises InvalidArgument, NotFound (BOOTSTRAP_NOT_FOUND)."""
        shape.check()
        image = self.host.bootstraps.get(shape.bootstrap_digest)
        return await self._shape_key(shape, image, await self.verdict(image))

    async def warnings(self) -> list[str]:
        """Return what there is to be known of the machines, a sentence each."""
        warnings = list(self.host.groups.warnings)
        version = await self.host.qemu.version()
        if outdated := self.inventory.outdated(self.host.qemu.program):
            warnings.append(
                f"VMs that run on with the QEMU that was here before an upgrade: {outdated}; each "
                f"gets QEMU {version} when its container is restarted"
            )
        return warnings

    async def verdict(self, image: Bootstrap) -> Verdict:
        """Return the accelerator's verdict; the first call may try a kernel for some seconds."""
        return await self.host.accelerator.decide(
            lambda: self.host.bootstraps.open_kernel(image.digest)
        )

    async def launch(
        self, machine: Machine, fingerprint: str, ready_id: str = "", template_id: str = ""
    ) -> Record:
        """Start a machine, fork a template, or make a machine that waits this one.

        Errors: HostAgentService.Launch.

        A launch that was begun is brought to its end, also where the caller gives up meanwhile: it
        may ask again, or kill.
        """
        machine.check(self.host.slot)
        if ready_id:
            check_name("ready_id", ready_id)
        if template_id:
            check_name("template_id", template_id)
        return await self._to_its_end(self._launch(machine, fingerprint, ready_id, template_id))

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what comes of work, which goes on where the caller gives up meanwhile."""
        task = asyncio.create_task(work)
        self._in_hand.add(task)
        task.add_done_callback(self._in_hand.discard)
        return await asyncio.shield(task)

    async def finish_work(self) -> None:
        """Wait for what is brought to its end."""
        if self._in_hand:
            await asyncio.wait(self._in_hand)

    async def _launch(
        self, machine: Machine, fingerprint: str, ready_id: str, template_id: str
    ) -> Record:
        async with self._turn(machine.machine_id):
            known = self._known(machine, fingerprint)
            if known is not None:
                return known
            image = self.host.bootstraps.get(machine.shape.bootstrap_digest)
            verdict = await self.verdict(image)
            if machine.kind is MachineKind.TEMPLATE and verdict.accelerator is Accelerator.KVM:
                raise FailedPrecondition("what KVM runs can't be forked")
            key = await self._shape_key(machine.shape, image, verdict)
            parent = self._parent_for(machine, key)
            plan = Plan(machine, fingerprint, image, verdict, key, parent)
            try:
                with ExitStack() as closing:
                    async with AsyncExitStack() as undo:
                        if ready_id:
                            async with self._turn(ready_id):
                                live = await self._launching.use(ready_id, plan, closing, undo)
                        elif template_id:
                            live = await self._launching.fork(template_id, plan, closing, undo)
                        else:
                            live = await self._launching.start(plan, closing, undo)
                        undo.pop_all()
            except (OSError, sqlite3.Error) as error:
                raise Internal(
                    f"machine {machine.machine_id} could not be launched: {error}",
                    Reason.LAUNCH_FAILED,
                ) from error
            if parent is not None and machine.kind is MachineKind.PARENT:
                self.parents.boot(parent)
            return live.record

    async def kill(self, machine_id: str, launch_id: str, *, wait: bool = True) -> None:
        """End a machine. Raises NotFound (MACHINE_NOT_FOUND) where none is known."""
        check_name("machine_id", machine_id)
        async with self._turn(machine_id):
            live = self.inventory.find(machine_id)
            if live is None or (launch_id and live.record.launch_id != launch_id):
                if not self.inventory.journal.knows(machine_id, launch_id):
                    raise machine_not_found(machine_id)
                return
            self.inventory.kill(live, ExitCause.KILLED)
            if wait:
                await live.gone.wait()

    def reweigh(self, machine_id: str, launch_id: str, weight: int) -> None:
        """Give a machine another share of the CPUs. Raises NotFound, InvalidArgument."""
        check_weight(weight)
        live = self._running(machine_id, launch_id)
        limits = Limits(cpu_weight=machine_weight(weight, live.record.shape))
        self.host.groups.limit(live.record.group, limits)

    async def plug(self, machine_id: str, launch_id: str, nic: Nic) -> None:
        """Give a machine one more NIC. Errors: HostAgentService.PlugNic.

        What was begun is brought to its end, as QEMU does: it may be asked again.
        """

        async def plug() -> None:
            async with self._turn(machine_id):
                await self._plugging.plug(self._running(machine_id, launch_id), nic)

        await self._to_its_end(plug())

    async def unplug(self, machine_id: str, launch_id: str, tap_name: str) -> None:
        """Take a NIC from a machine, likewise. Errors: HostAgentService.UnplugNic."""

        async def unplug() -> None:
            async with self._turn(machine_id):
                await self._plugging.unplug(self._running(machine_id, launch_id), tap_name)

        await self._to_its_end(unplug())

    async def surround(
        self, machine_id: str, launch_id: str, surroundings: Surroundings, wait_seconds: float
    ) -> bool:
        """Tell a tether of other interfaces. Errors: HostAgentService.Surround."""
        # Without a turn: a NIC that it waits for may be plugged only then.
        live = self._running(machine_id, launch_id)
        return await self._plugging.surround(live, surroundings, wait_seconds)

    def set_clock(self, machine_id: str, launch_id: str) -> None:
        """Tell a tether the time. Raises NotFound, Unavailable (PLUG_FAILED)."""
        port = self._running(machine_id, launch_id).port
        try:
            if port is None:
                raise OSError("it has no port")
            port.send(clock_frame())
        except OSError as error:
            message = f"the machine's tether can't be spoken to: {error}"
            raise Unavailable(message, Reason.PLUG_FAILED) from error

    def get(self, machine_id: str) -> Record:
        """Return a running machine. Raises NotFound (MACHINE_NOT_FOUND)."""
        live = self.inventory.find(machine_id)
        if live is None:
            raise machine_not_found(machine_id)
        return live.record

    async def counters(self) -> list[Counters]:
        """Return what each machine has taken of the host."""
        records = [live.record for live in self.inventory.live()]
        reader = CounterReader(self.host.groups)
        return await asyncio.to_thread(lambda: list(reader.read(records)))

    async def create_parent(self, parent_id: str, shape: Shape) -> Parent:
        """Make a parent's memory. See HostAgentService.CreateParent for the errors."""
        check_name("parent_id", parent_id)
        return self.parents.create(parent_id, shape, await self.shape_key(shape))

    async def seal_parent(self, parent_id: str, device_state: bytes) -> Parent:
        """Seal a parent whose machine is ending. See HostAgentService.SealParent."""
        parent = self.parents.get(parent_id)
        for live in self._machines_in(parent):
            try:
                async with asyncio.timeout(SEAL_SECONDS):
                    await live.gone.wait()
            except TimeoutError:
                raise FailedPrecondition(
                    f"machine {live.record.machine_id} of parent {parent_id} still runs"
                ) from None
        if parent.state is not ParentState.SEALED:
            self.parents.seal(parent, device_state)
            self._tasks.create_task(self._keep(parent))
        return parent

    async def remove_parent(self, parent_id: str) -> None:
        """Forget a parent. Idempotent. Raises FailedPrecondition while its machine runs."""
        check_name("parent_id", parent_id)
        try:
            parent = self.parents.get(parent_id)
        except NotFound:
            return
        if self._machines_in(parent):
            raise FailedPrecondition(f"the machine of parent {parent_id} runs")
        await self.parents.remove(parent)

    async def is_current(self, parent: Parent) -> bool:
        """Tell whether clones can be made of a parent with what this host has now."""
        try:
            return await self.shape_key(parent.shape) == parent.shape_key
        except NotFound:
            return False

    async def _keep(self, parent: Parent) -> None:
        try:
            await self.parents.keep(parent)
        except OSError as error:
            # It serves clones from memory; only a restart loses it.
            log.warning("parent %s is not kept on disk: %s", parent.parent_id, error)

    async def _shape_key(self, shape: Shape, image: Bootstrap, verdict: Verdict) -> str:
        return shape_key(
            shape,
            verdict.accelerator,
            verdict.cpu,
            image.kernel_arguments,
            await self.host.qemu.version(),
            host_cpu(),
        )

    def _running(self, machine_id: str, launch_id: str) -> LiveMachine:
        live = self.inventory.find(machine_id)
        if live is None or live.record.launch_id != launch_id:
            raise machine_not_found(machine_id)
        return live

    def _known(self, machine: Machine, fingerprint: str) -> Record | None:
        """Return the record where this very launch runs. Raises where it can't be begun."""
        live = self.inventory.find(machine.machine_id)
        if live is not None:
            if live.record.fingerprint == fingerprint:
                return live.record
            raise AlreadyExists(
                f"machine {machine.machine_id} runs, launched as {live.record.launch_id}",
                Reason.MACHINE_EXISTS,
                machine_id=machine.machine_id,
            )
        if self.inventory.journal.has_ended(machine.machine_id, machine.launch_id):
            raise FailedPrecondition(
                f"launch {machine.launch_id} of machine {machine.machine_id} has ended"
            )
        return None

    def _parent_for(self, machine: Machine, key: str) -> Parent | None:
        if machine.kind is MachineKind.COLD:
            return None
        parent = self.parents.get(machine.parent_id)
        if parent.shape_key != key:
            raise FailedPrecondition(
                f"parent {machine.parent_id} has another shape than this machine has now",
                parent_id=machine.parent_id,
            )
        return parent

    def _machines_in(self, parent: Parent) -> list[LiveMachine]:
        return [
            live
            for live in self.inventory.live()
            if live.record.kind is MachineKind.PARENT and live.record.parent_id == parent.parent_id
        ]

    def _turn(self, machine_id: str) -> asyncio.Lock:
        """Return the lock under which one machine's calls run one after another."""
        lock = self._turns.get(machine_id)
        if lock is None:
            lock = self._turns[machine_id] = asyncio.Lock()
        return lock

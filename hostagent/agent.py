"""The host agent's work: launch machines, know them, end them, and tell of their ends."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Iterable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import time_ns
from typing import Any
from weakref import WeakValueDictionary

from hostagent import monitor
from hostagent.accelerator import AcceleratorChoice, Verdict
from hostagent.assembly import (
    TEMPLATE_POWERS,
    Assembler,
    file_identity,
    group_limits,
    longest_file,
    machine_weight,
)
from hostagent.bootstrap import Bootstrap, BootstrapImages
from hostagent.certificates import TetherAuthority
from hostagent.cgroups import Limits, MachineGroups
from hostagent.claims import Claims
from hostagent.commandline import shape_key
from hostagent.forking.forker import ForkOrder
from hostagent.forking.parts import PartsMaker
from hostagent.forking.templates import Templates
from hostagent.guestconfig import first_frame
from hostagent.inventory import Inventory, LiveMachine
from hostagent.journal import ExitCause
from hostagent.launchpad import Launchpad
from hostagent.machine import (
    NICS,
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
from hostagent.qemu import Qemu, host_cpu
from hostagent.records import Record
from hostagent.taps import rename_tap, waiting_tap
from hostagent.tetherport import TetherState
from hostagent.users import first_uid
from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    NotFound,
    Reason,
)
from portlayer.fencing import admitted_turn

log = logging.getLogger("vic.hostagent")

# A parent's QEMU ends within milliseconds of QMP's quit.
SEAL_SECONDS = 10.0
# To put a disk into a machine that waits; some 10 ms, on a host that isn't busy.
ATTACH_SECONDS = 30.0
# When the host is short of memory, a machine that nobody uses yet goes first of all.
READY_OOM_SCORE = 900
OOM_SCORE = 500


@dataclass(frozen=True)
class Host:
    """The parts of this host that machines are made with."""

    instance_id: str
    slot: int
    qemu: Qemu
    bootstraps: BootstrapImages
    accelerator: AcceleratorChoice
    authority: TetherAuthority
    groups: MachineGroups
    launchpad: Launchpad
    assembler: Assembler
    parts: PartsMaker
    claims: Claims


@dataclass(frozen=True)
class Plan:
    """A machine that may be launched, and with what."""

    machine: Machine
    fingerprint: str
    image: Bootstrap
    verdict: Verdict
    shape_key: str
    parent: Parent | None


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
        self._launches: set[asyncio.Task[Record]] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def shape_key(self, shape: Shape) -> str:
        """Return the key of a shape. Raises InvalidArgument, NotFound (BOOTSTRAP_NOT_FOUND)."""
        shape.check()
        image = self.host.bootstraps.get(shape.bootstrap_digest)
        return await self._shape_key(shape, image, await self.verdict(image))

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
        task = asyncio.create_task(self._launch(machine, fingerprint, ready_id, template_id))
        self._launches.add(task)
        task.add_done_callback(self._launches.discard)
        return await asyncio.shield(task)

    async def finish_launches(self) -> None:
        """Wait for the launches in hand."""
        if self._launches:
            await asyncio.wait(self._launches)

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
                            live = await self._use(ready_id, plan, closing, undo)
                        elif template_id:
                            live = await self._fork(template_id, plan, closing, undo)
                        else:
                            live = await self._start(plan, closing, undo)
                        undo.pop_all()
            except (OSError, sqlite3.Error) as error:
                raise Internal(
                    f"machine {machine.machine_id} could not be launched: {error}",
                    Reason.LAUNCH_FAILED,
                ) from error
            if parent is not None and machine.kind is MachineKind.PARENT:
                self.parents.boot(parent)
            return live.record

    async def _start(self, plan: Plan, closing: ExitStack, undo: AsyncExitStack) -> LiveMachine:
        host, machine = self.host, plan.machine
        memory, state = await self._memory(plan)
        if memory is not None:
            closing.callback(os.close, memory)
        launcher = await host.launchpad.take()
        undo.push_async_callback(host.launchpad.discard, launcher)
        if machine.kind.warms_up:
            machine = replace(machine, nics=waiting_nics(host.slot, launcher.uid))
        # A tap can take tens of milliseconds while the kernel takes other interfaces down.
        assembled = await asyncio.to_thread(
            host.assembler.assemble,
            machine,
            qemu=host.qemu.path,
            verdict=plan.verdict,
            image=plan.image,
            frame=first_frame(machine, host.instance_id, host.authority),
            memory=memory,
            state=state,
            closing=closing,
            undo=undo,
        )
        self._check_disk_is_free(assembled.disk)
        host.groups.limit(launcher.group, group_limits(machine, plan.verdict))
        record = Record(
            **_described(plan, machine),
            process=launcher.name,
            uid=launcher.uid,
            group=launcher.group,
            qmp_path=str(assembled.qmp_path),
            incoming_uri=assembled.incoming_uri,
            config_peer=assembled.config_peer,
            disk=assembled.disk,
            launched_ns=time_ns(),
            turn=_turn(),
        )
        # Written first: whatever happens to us from here on, the next agent finds the machine.
        undo.callback(self.inventory.records.delete, machine.machine_id)
        self.inventory.records.save(record)
        live = LiveMachine(record, launcher.process)
        await launcher.become(assembled.order, partial(self.inventory.ended, live))
        if machine.kind.warms_up:
            live.process.set_oom_score(record.process, READY_OOM_SCORE)
        self.inventory.add(live, assembled.tether_port)
        return live

    async def _fork(
        self, template_id: str, plan: Plan, closing: ExitStack, undo: AsyncExitStack
    ) -> LiveMachine:
        """Fork a template; what comes of it has warmed up, and stands still as that does."""
        host = self.host
        template = self._template(template_id, plan)
        forker = await self.templates.forker_of(template)
        memory, _ = await self._memory(plan)
        assert memory is not None
        closing.callback(os.close, memory)
        seat = host.launchpad.claim()
        undo.callback(host.launchpad.release, seat)
        machine = replace(plan.machine, nics=waiting_nics(host.slot, seat.uid))
        parts = await asyncio.to_thread(
            host.parts.make, machine, template.record, memory, closing, undo
        )
        host.groups.limit(seat.group, group_limits(machine, plan.verdict))
        fork = await forker.fork(
            ForkOrder(seat.uid, TEMPLATE_POWERS, parts.replacements, parts.shared)
        )
        undo.push_async_callback(fork.end)
        # Takes some 10 ms (the kernel waits for all CPUs).
        await asyncio.to_thread(host.groups.add, seat.group, fork.pid)
        record = Record(
            **_described(plan, machine),
            process=fork.name,
            uid=seat.uid,
            group=seat.group,
            qmp_path=str(parts.qmp_path),
            incoming_uri="",
            config_peer=parts.config_peer,
            disk=None,
            launched_ns=time_ns(),
            tether_state=TetherState.WARM,
            turn=_turn(),
        )
        # An agent that dies before this has the fork in the template's group, or in one that is no
        # machine's: the next agent ends it.
        undo.callback(self.inventory.records.delete, machine.machine_id)
        self.inventory.records.save(record)
        live = LiveMachine(record, fork.process)
        self.inventory.add(live, parts.tether_port)
        fork.watch(partial(self.inventory.ended, live))
        return live

    def _template(self, template_id: str, plan: Plan) -> LiveMachine:
        """Return a template that what is asked for can be forked of."""
        live = self.inventory.find(template_id)
        if live is None:
            raise machine_not_found(template_id)
        record = live.record
        machine = plan.machine
        same = record.shape_key == plan.shape_key and record.parent_id == machine.parent_id
        if not same or machine.kind is not MachineKind.READY:
            raise FailedPrecondition(f"template {template_id} is another than what is asked for")
        return live

    async def _use(
        self, ready_id: str, plan: Plan, closing: ExitStack, undo: AsyncExitStack
    ) -> LiveMachine:
        """Make a machine that waits the one that is asked for; it stands still meanwhile."""
        host, machine = self.host, plan.machine
        async with self._turn(ready_id):
            live = self._waiting(ready_id, plan)
            chain = await asyncio.to_thread(host.assembler.open_chain, machine, closing)
            disk = file_identity(chain[0])
            volumes = await asyncio.to_thread(host.assembler.open_volumes, machine, closing)
            self._check_disk_is_free(disk)
            frame = first_frame(machine, host.instance_id, host.authority)
            if machine.largest_disk_bytes > machine.shape.disk_size_bytes:
                # Where the host doesn't let us (CAP_SYS_RESOURCE), another machine is launched.
                longest = longest_file(machine.largest_disk_bytes)
                live.process.limit_files(live.record.process, longest)
            # From here on it is not what it was, and of no use if this fails.
            undo.push_async_callback(self.inventory.end, live, ExitCause.KILLED)
            former = live.record
            renames = zip(former.nics, machine.nics, strict=False)
            attach = monitor.attach_disk(chain)
            if volumes:
                flags = [volume.read_only for volume in machine.volumes]
                attach += monitor.attach_volumes(list(zip(volumes, flags, strict=True)))
            results = await asyncio.gather(
                asyncio.to_thread(monitor.run, Path(former.qmp_path), attach, ATTACH_SECONDS),
                asyncio.to_thread(_rename, [(old.tap_name, new.tap_name) for old, new in renames]),
                # Both have come to their end before a descriptor is closed.
                return_exceptions=True,
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            host.groups.limit(former.group, group_limits(machine, plan.verdict))
            live.process.set_oom_score(former.process, OOM_SCORE)
            record = replace(
                former,
                machine_id=machine.machine_id,
                launch_id=machine.launch_id,
                kind=machine.kind,
                nics=machine.nics,
                identity=machine.identity,
                fingerprint=plan.fingerprint,
                incoming_uri="",
                disk=disk,
                launched_ns=time_ns(),
                tether_state="",
                turn=_turn(),
            )
            if live.port is None or live.gone.is_set():
                raise machine_not_found(ready_id)
            self.inventory.become(live, record)
            live.port.send(frame)
            return live

    def _waiting(self, ready_id: str, plan: Plan) -> LiveMachine:
        """Return a machine that waits and can become what is asked for."""
        live = self.inventory.find(ready_id)
        if live is None or live.record.kind is not MachineKind.READY:
            raise machine_not_found(ready_id)
        if live.record.shape_key != plan.shape_key or plan.machine.kind is not MachineKind.CLONE:
            raise FailedPrecondition(f"machine {ready_id} has another shape than is asked for")
        if live.record.tether_state != TetherState.WARM:
            raise FailedPrecondition(f"machine {ready_id} has not warmed up")
        if len(plan.machine.nics) > len(live.record.nics):
            raise FailedPrecondition(f"machine {ready_id} has too few NICs")
        return live

    async def _memory(self, plan: Plan) -> tuple[int | None, bytes | None]:
        """Return what a parent gives: its memory, ours to close, and to a clone its state."""
        if plan.parent is None:
            return None, None
        if plan.machine.kind.is_clone:
            return await self.parents.clone(plan.parent)
        return self.parents.memory_to_boot(plan.parent), None

    async def kill(self, machine_id: str, launch_id: str) -> None:
        """End a machine. Raises NotFound (MACHINE_NOT_FOUND) where none is known."""
        check_name("machine_id", machine_id)
        async with self._turn(machine_id):
            live = self.inventory.find(machine_id)
            if live is None or (launch_id and live.record.launch_id != launch_id):
                if not self.inventory.journal.knows(machine_id, launch_id):
                    raise machine_not_found(machine_id)
                return
            await self.inventory.end(live, ExitCause.KILLED)

    def reweigh(self, machine_id: str, launch_id: str, weight: int) -> None:
        """Give a machine another share of the CPUs. Raises NotFound, InvalidArgument."""
        check_weight(weight)
        live = self._running(machine_id, launch_id)
        limits = Limits(cpu_weight=machine_weight(weight, live.record.shape))
        self.host.groups.limit(live.record.group, limits)

    async def plug(self, machine_id: str, launch_id: str, nic: Nic) -> None:
        """Give a machine one more NIC. Errors: HostAgentService.PlugNic."""
        async with self._turn(machine_id):
            await self._plugging.plug(self._running(machine_id, launch_id), nic)

    async def unplug(self, machine_id: str, launch_id: str, tap_name: str) -> None:
        """Take a NIC from a machine. Errors: HostAgentService.UnplugNic."""
        async with self._turn(machine_id):
            await self._plugging.unplug(self._running(machine_id, launch_id), tap_name)

    async def surround(
        self, machine_id: str, launch_id: str, surroundings: Surroundings, wait_seconds: float
    ) -> bool:
        """Tell a tether of other interfaces. Errors: HostAgentService.Surround."""
        # Without a turn: a NIC that it waits for may be plugged only then.
        live = self._running(machine_id, launch_id)
        return await self._plugging.surround(live, surroundings, wait_seconds)

    def get(self, machine_id: str) -> Record:
        """Return a running machine. Raises NotFound (MACHINE_NOT_FOUND)."""
        live = self.inventory.find(machine_id)
        if live is None:
            raise machine_not_found(machine_id)
        return live.record

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

    def _check_disk_is_free(self, disk: tuple[int, int] | None) -> None:
        for live in self.inventory.live():
            if disk is not None and live.record.disk == disk:
                raise FailedPrecondition(
                    f"the disk is in use by machine {live.record.machine_id}",
                    machine_id=live.record.machine_id,
                )

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


def waiting_nics(slot: int, uid: int) -> tuple[Nic, ...]:
    """Return the NICs of a machine that waits, as its parent has them, under taps of its own."""
    number = uid - first_uid(slot)
    return tuple(
        Nic(waiting_tap(slot, number, index), f"52:54:00:00:00:{index:02x}")
        for index in range(NICS)
    )


def _described(plan: Plan, machine: Machine) -> dict[str, Any]:
    """Return the fields of a record that say what was asked for."""
    return {
        "machine_id": machine.machine_id,
        "launch_id": machine.launch_id,
        "kind": machine.kind,
        "shape": machine.shape,
        "shape_key": plan.shape_key,
        "parent_id": machine.parent_id,
        "accelerator": plan.verdict.accelerator,
        "nics": machine.nics,
        "identity": machine.identity,
        "fingerprint": plan.fingerprint,
    }


def _rename(taps: Iterable[tuple[str, str]]) -> None:
    for name, wanted in taps:
        rename_tap(name, wanted)


def _turn() -> int:
    turn = admitted_turn()
    return turn.number if turn is not None else 0


def machine_not_found(machine_id: str) -> NotFound:
    """Return the error for a machine that isn't there."""
    return NotFound(
        f"there is no machine {machine_id[:80]}", Reason.MACHINE_NOT_FOUND, machine_id=machine_id
    )

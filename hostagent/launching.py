"""How machines come to be: QEMU is started, a template forked, or a machine that waits is used."""

import asyncio
import logging
import os
from collections.abc import Iterable
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import time_ns
from typing import Any

from hostagent import monitor
from hostagent.accelerator import AcceleratorChoice, Verdict
from hostagent.assembly import (
    TEMPLATE_POWERS,
    Assembler,
    file_identity,
    group_limits,
    longest_file,
)
from hostagent.bootstrap import Bootstrap, BootstrapImages
from hostagent.certificates import TetherAuthority
from hostagent.cgroups import MachineGroups
from hostagent.claims import Claims
from hostagent.forking.forker import ForkOrder
from hostagent.forking.parts import PartsMaker
from hostagent.forking.ptrace import TraceError
from hostagent.forking.standing import CannotStand
from hostagent.forking.templates import Templates
from hostagent.forking.untouched import own_untouched
from hostagent.guestconfig import assignment_frame, first_frame, identity_frame
from hostagent.inventory import Inventory, LiveMachine
from hostagent.journal import ExitCause
from hostagent.launchpad import Launchpad
from hostagent.machine import NICS, Machine, MachineKind, Nic
from hostagent.mirror import Mirror
from hostagent.parents import Parent, Parents
from hostagent.qemu import Qemu
from hostagent.records import Record
from hostagent.taps import rename_tap, waiting_tap
from hostagent.tetherport import TetherState
from hostagent.users import first_uid
from portlayer.errors import FailedPrecondition, Internal, NotFound, Reason
from portlayer.fencing import admitted_turn

log = logging.getLogger("vic.launching")

# To put a disk into a machine that waits; some 10 ms, on a host that isn't busy.
ATTACH_SECONDS = 30.0
# Until QEMU has put its machine together; some 50 ms, on a host that isn't busy.
ANSWER_SECONDS = 60.0
# Until the end of a QEMU that has hung up is seen: a moment.
END_SECONDS = 2.0
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


class Launching:
    """Carries plans out. What is to be undone where one fails goes onto its ``undo``."""

    def __init__(
        self, host: Host, inventory: Inventory, parents: Parents, templates: Templates
    ) -> None:
        self.host = host
        self.inventory = inventory
        self.parents = parents
        self.templates = templates
        self._shares_untouched = False

    async def start(self, plan: Plan, closing: ExitStack, undo: AsyncExitStack) -> LiveMachine:
        """Start QEMU for a machine. Raises VicError, OSError, sqlite3.Error, as all of these."""
        host, machine = self.host, plan.machine
        if machine.management is not None:
            raise FailedPrecondition("only a fork of a template dials while it waits")
        memory, state = await self._memory(plan)
        if memory is not None:
            closing.callback(os.close, memory)
        launcher = await host.launchpad.take()
        undo.push_async_callback(host.launchpad.discard, launcher)
        if machine.kind.warms_up:
            machine = replace(machine, nics=waiting_nics(host.slot, launcher.uid))
        with ExitStack() as handed:
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
                closing=handed,
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
            await launcher.become(assembled.order)
        # What it listens at is its own alone now: who speaks to it is told when it ends.
        live = LiveMachine(record, launcher.process)
        if machine.kind.is_clone and memory is not None:
            await self._own_untouched(live, memory)
        if machine.kind.warms_up:
            live.process.set_oom_score(record.process, READY_OOM_SCORE)
            try:
                live.mirror = Mirror(machine.nics[0].tap_name)
            except OSError as error:
                # It rehearses by loopback then; its forks are the slower for it, and no worse.
                log.warning("%s rehearses without its network card: %s", machine.machine_id, error)
            undo.callback(live.end_mirror)
        self.inventory.add(live, assembled.tether_port)
        # An end that has come already is told now: a machine is known before it has ended.
        launcher.watch(partial(self.inventory.ended, live))
        return live

    async def _own_untouched(self, live: LiveMachine, memory: int) -> None:
        """Let a clone that doesn't run yet have for itself what its parent left untouched.

        Where its process can't be held still, it goes on without. Raises Internal (LAUNCH_FAILED).
        """
        record = live.record
        try:
            await asyncio.to_thread(_own_untouched, record, memory)
        except CannotStand as error:
            level = logging.DEBUG if self._shares_untouched else logging.WARNING
            self._shares_untouched = True
            log.log(level, "clones may have memory twice: QEMU can't be held still: %s", error)
        except (OSError, TraceError) as error:
            why = str(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    # Its connections are closed a moment before its end is told.
                    await live.process.ended.wait()
                    why = f"QEMU ended: {self.inventory.last_words(record.machine_id)}"
            raise Internal(
                f"machine {record.machine_id} could not be launched: {why}", Reason.LAUNCH_FAILED
            ) from error

    async def fork(
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
        machine = plan.machine
        dials = machine.management is not None
        # A NIC that is on its network already keeps its name when the machine is used.
        spare = waiting_nics(host.slot, seat.uid)[len(machine.nics) :]
        machine = replace(machine, nics=(*machine.nics, *spare))
        frame = identity_frame(machine, host.instance_id, host.authority) if dials else b""
        parts = await asyncio.to_thread(
            host.parts.make, machine, template.record, memory, frame, closing, undo
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
            connected=dials,
        )
        # An agent that dies before this has the fork in the template's group, or in one that is no
        # machine's: the next agent ends it.
        undo.callback(self.inventory.records.delete, machine.machine_id)
        self.inventory.records.save(record)
        live = LiveMachine(record, fork.process)
        self.inventory.add(live, parts.tether_port)
        # Nothing may fail from here on: it is known, and an end is told to who knows it.
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

    async def use(
        self, ready_id: str, plan: Plan, closing: ExitStack, undo: AsyncExitStack
    ) -> LiveMachine:
        """Make a machine that waits the one that is asked for; the caller has the turns of both."""
        host, machine = self.host, plan.machine
        live = self._waiting(ready_id, plan)
        chain = await asyncio.to_thread(host.assembler.open_chain, machine, closing)
        disk = file_identity(chain[0])
        volumes = await asyncio.to_thread(host.assembler.open_volumes, machine, closing)
        self._check_disk_is_free(disk)
        connected = live.record.connected
        frame = (
            assignment_frame(machine)
            if connected
            else first_frame(machine, host.instance_id, host.authority)
        )
        if machine.largest_disk_bytes > machine.shape.disk_size_bytes:
            # Where the host doesn't let us (CAP_SYS_RESOURCE), another machine is launched.
            longest = longest_file(machine.largest_disk_bytes)
            live.process.limit_files(live.record.process, longest)
        # From here on it is not what it was, and of no use if this fails.
        undo.push_async_callback(self.inventory.end, live, ExitCause.KILLED)
        former = live.record
        renames = zip(former.nics, machine.nics, strict=False)
        attach = [*(monitor.hold() if connected else ()), *monitor.attach_disk(chain)]
        if volumes:
            flags = [volume.read_only for volume in machine.volumes]
            attach += monitor.attach_volumes(list(zip(volumes, flags, strict=True)))
        results = await asyncio.gather(
            asyncio.to_thread(monitor.run, Path(former.qmp_path), attach, ATTACH_SECONDS),
            asyncio.to_thread(
                _rename,
                [(old.tap_name, new.tap_name) for old, new in renames if old != new],
            ),
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
        # Before it is known as what it becomes: an agent that dies in between is followed by one
        # that ends it, as its CPUs stand still; afterwards nobody would tell it who it is.
        live.port.send(frame)
        self.inventory.become(live, record)
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
        nics, waiting = plan.machine.nics, live.record.nics
        if len(nics) > len(waiting):
            raise FailedPrecondition(f"machine {ready_id} has too few NICs")
        if live.record.connected and nics[:1] != waiting[:1]:
            raise FailedPrecondition(f"machine {ready_id} has another management NIC")
        return live

    async def _memory(self, plan: Plan) -> tuple[int | None, bytes | None]:
        """Return what a parent gives: its memory, ours to close, and to a clone its state."""
        if plan.parent is None:
            return None, None
        if plan.machine.kind.is_clone:
            return await self.parents.clone(plan.parent)
        return self.parents.memory_to_boot(plan.parent), None

    def _check_disk_is_free(self, disk: tuple[int, int] | None) -> None:
        for live in self.inventory.live():
            # One that was killed writes no more, and a new file may have got its inode already.
            if disk is not None and live.record.disk == disk and not live.record.cause:
                raise FailedPrecondition(
                    f"the disk is in use by machine {live.record.machine_id}",
                    machine_id=live.record.machine_id,
                )


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


def _own_untouched(record: Record, memory: int) -> None:
    # Whoever answers has all memory mapped, and waits for orders.
    monitor.run(Path(record.qmp_path), [], ANSWER_SECONDS)
    own_untouched(record.process.pid, memory)


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

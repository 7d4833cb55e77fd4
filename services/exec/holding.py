"""Files of containers, held within reach of a tether while somebody works on them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from vic.exec.v1 import exec_pb2
from vic.storage.v1 import disk_pb2

from portlayer.errors import (
    FailedPrecondition,
    NotImplementedYet,
    Reason,
    ResourceExhausted,
    Unavailable,
    VicError,
)
from portlayer.neighbours import Neighbours
from services.exec.drivers import CanShowImage, MachineState
from services.exec.parts import Parts, check_record
from services.exec.record import Record
from services.exec.states import Verb
from services.exec.utility_vms import UtilityVms, is_utility, reach_of

log = logging.getLogger("vic.exec.holding")

# A client of `docker cp` comes back at once, for a path's content after its description.
IDLE_SECONDS = 10.0
# What a start gives those who are at work on the container's files. Longer copies are broken off:
# whoever starts a container waits for it.
GRACE_SECONDS = 10.0
# For the news of an end to come here from interaction, which has told it already.
END_SECONDS = 10.0
# Utility VMs at a time: as many take a gigabyte under emulation. One that nobody uses gives way.
MOST = 8
ROOM_SECONDS = 60.0


@dataclass(frozen=True)
class Hold:
    """Files within reach."""

    boot_id: str
    utility: bool
    root_read_only: bool
    image_lun: int
    lost: "asyncio.Future[VicError]"
    """Why they are no more, as soon as that is so."""


class _Vm:
    """A utility VM, and who uses it."""

    def __init__(self, record: Record, boot_id: str, reach: "exec_pb2.VolumeReach") -> None:
        self.record = record
        self.boot_id = boot_id
        self.reach = reach
        self.users = 0
        self.unused = asyncio.Event()
        self.lost: asyncio.Future[VicError] = asyncio.get_running_loop().create_future()
        self.life = AsyncExitStack()
        """What ends with it."""
        self.idle: asyncio.TimerHandle | None = None
        self.watch: asyncio.Task[None] | None = None

    def fail(self, error: VicError) -> None:
        """Tell its users that it is lost."""
        if not self.lost.done():
            self.lost.set_result(error)


class Holding:
    """Holds files: in the container's own VM, or in a utility VM, which is kept a while."""

    def __init__(self, parts: Parts, vms: UtilityVms, neighbours: Neighbours) -> None:
        self._parts = parts
        self._utilities = vms
        self._neighbours = neighbours
        self._vms: dict[str, _Vm] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._left = asyncio.Event()
        """Somebody has left a VM since this was cleared."""

    @asynccontextmanager
    async def held(
        self,
        container_id: str,
        wanted: "exec_pb2.VolumeReach",
        *,
        image: bool,
        ended_boot_id: str = "",
    ) -> AsyncIterator[Hold]:
        """Keep a container's files within reach meanwhile. Raises as ExecService.HoldFiles says."""
        if ended_boot_id:
            await self._end_known(container_id, ended_boot_id)
        async with AsyncExitStack() as stack:
            async with self._parts.turns.turn(container_id):
                record = await self._parts.current(container_id)
                check_record(Verb.FILES, record)
                boot_id = record.boot_id
                lost: asyncio.Future[VicError] = asyncio.get_running_loop().create_future()
                if not record.state.has_vm:
                    vm = await self._vm(record, reach_of(record, wanted))
                    self._join(vm)
                    stack.callback(self._leave, vm)
                    boot_id, lost = vm.boot_id, vm.lost
                lun = await self._show_image(record, boot_id) if image else 0
            yield Hold(
                boot_id=boot_id,
                utility=not record.state.has_vm,
                root_read_only=record.spec.read_only_root,
                image_lun=lun,
                lost=lost,
            )

    async def _end_known(self, container_id: str, boot_id: str) -> None:
        """Return when the end of a boot is on record, which its caller has heard of before us."""
        record = await self._parts.current(container_id)
        if record.boot_id == boot_id:
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self._parts.exits.ended(record)

    async def _vm(self, record: Record, reach: "exec_pb2.VolumeReach") -> _Vm:
        """Return the container's utility VM with what is needed of its volumes."""
        vm = self._vms.get(record.id)
        if vm is not None and vm.lost.done():
            # Nobody could see to its end when it came.
            await self._end(vm, flush=False)
            vm = None
        if vm is not None and vm.reach >= reach:
            return vm
        if vm is not None and not await _is_left(vm, GRACE_SECONDS):
            raise FailedPrecondition(
                f"volumes of container {record.id} are being read: try again later",
                Reason.FILES_TAKEN,
            )
        await self.give_way(record.id, 0)
        # Its process has ended, and its VM may be on its way out.
        record = await self._parts.exits.retire_former(record)
        await self._make_room()
        boot_id = await self._utilities.fork(record, reach)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._utilities.end, record, boot_id, reach, flush=False)
            vm = _Vm(record, boot_id, reach)
            # Other replicas leave it alone for as long.
            await vm.life.enter_async_context(self._neighbours.turn(boot_id))
            self._vms[record.id] = vm
            undo.pop_all()
        vm.watch = self._begin(self._watch(vm), f"utility VM of {record.id}")
        return vm

    async def _make_room(self) -> None:
        """Return when there may be one more, which those that nobody uses give way to."""
        deadline = asyncio.get_running_loop().time() + ROOM_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                while len(self._vms) >= MOST:
                    self._left.clear()
                    idle = next((vm for vm in self._vms.values() if not vm.users), None)
                    if idle is None:
                        await self._left.wait()
                    else:
                        await self._end_unused(idle)
        except TimeoutError as error:
            raise ResourceExhausted(
                f"files of {MOST} containers that don't run are being worked on: try again later"
            ) from error

    def _join(self, vm: _Vm) -> None:
        vm.users += 1
        vm.unused.clear()
        if vm.idle is not None:
            vm.idle.cancel()
            vm.idle = None

    def _leave(self, vm: _Vm) -> None:
        vm.users -= 1
        if vm.users:
            return
        vm.unused.set()
        self._left.set()
        self._end_later(vm)

    def _end_later(self, vm: _Vm) -> None:
        """End a utility VM when nobody has used it for a while."""
        loop = asyncio.get_running_loop()
        name = f"end of a utility VM of {vm.record.id}"
        vm.idle = loop.call_later(IDLE_SECONDS, lambda: self._begin(self._end_idle(vm), name))

    async def _end_idle(self, vm: _Vm) -> None:
        try:
            await self._end_unused(vm)
        except VicError as error:
            self._try_later(vm, error)

    def _try_later(self, vm: _Vm, error: VicError) -> None:
        """Take in that a utility VM could not be ended. One that was let go is the reconciler's."""
        log.warning("cannot end a utility VM of %s: %s", vm.record.id, error.message)
        if self._vms.get(vm.record.id) is vm and not vm.users:
            self._end_later(vm)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _end_unused(self, vm: _Vm) -> None:
        """End a utility VM that nobody uses, in its container's turn."""
        async with self._parts.turns.turn(vm.record.id):
            if self._vms.get(vm.record.id) is vm and not vm.users:
                await self._end(vm, flush=True)

    async def _watch(self, vm: _Vm) -> None:
        """Give up a utility VM that has ended by itself."""
        await self._parts.exits.gone(vm.boot_id).wait()
        vm.fail(Unavailable("the utility VM has ended", Reason.HYPERVISOR_FAILED))
        try:
            async with self._parts.turns.turn(vm.record.id):
                if self._vms.get(vm.record.id) is vm:
                    log.warning("a utility VM of %s has ended by itself", vm.record.id)
                    await self._end(vm, flush=False)
        except VicError as error:
            self._try_later(vm, error)

    async def give_way(self, container_id: str, seconds: float) -> bool:
        """End a container's utility VM, and tell whether there was one. The caller has its turn.

        Those who use it get so many seconds to come to their end. What they have written is on the
        disk when they were told so; a volume is brought to rest besides, for others to read.
        """
        vm = self._vms.get(container_id)
        if vm is None:
            return False
        await _is_left(vm, seconds)
        message = f"container {container_id} was started or removed while its files were in use"
        vm.fail(FailedPrecondition(message, Reason.FILES_TAKEN))
        await self._end(vm, flush=bool(vm.reach))
        return True

    async def give_volumes(self, container_id: str) -> bool:
        """Have a container's utility VM give its volumes up, and tell whether it had some."""
        vm = self._vms.get(container_id)
        if vm is None or not vm.reach:
            return False
        async with self._parts.turns.turn(container_id):
            return await self.give_way(container_id, GRACE_SECONDS)

    async def _end(self, vm: _Vm, *, flush: bool) -> None:
        del self._vms[vm.record.id]
        self._left.set()
        if vm.idle is not None:
            vm.idle.cancel()
        if vm.watch is not None and vm.watch is not asyncio.current_task():
            vm.watch.cancel()
        try:
            await self._utilities.end(vm.record, vm.boot_id, vm.reach, flush=flush)
        finally:
            await vm.life.aclose()

    async def owned(self, machine: MachineState) -> bool:
        """Tell whether a VM is a utility VM of this process, or of another replica that lives."""
        vm = self._vms.get(machine.container_id)
        if vm is not None and vm.boot_id == machine.boot_id:
            return True
        if not is_utility(machine.boot_id) or self._neighbours.alone:
            return False
        return await self._neighbours.is_present(machine.boot_id)

    async def close(self) -> None:
        """End all utility VMs. What can't be, the next process's reconciler ends."""
        while self._vms:
            vm = next(iter(self._vms.values()))
            vm.fail(Unavailable("the service is stopping"))
            try:
                await self._end(vm, flush=False)
            except VicError as error:
                log.warning("a utility VM of %s may be left: %s", vm.record.id, error.message)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _show_image(self, record: Record, boot_id: str) -> int:
        hypervisor = self._parts.hypervisor
        if not isinstance(hypervisor, CanShowImage):
            raise NotImplementedYet(
                "comparing a container with its image on this hypervisor",
                Reason.OPTION_NOT_IMPLEMENTED,
            )
        request = disk_pb2.DiskServiceGetRequest(container_id=record.id)
        disk = (await self._parts.peers.disks.Get(request)).disk
        return await hypervisor.show_image(record.id, boot_id, len(disk.chain))


async def _is_left(vm: _Vm, seconds: float) -> bool:
    """Wait for those who use a VM to come to their end, and tell whether they have."""
    if vm.users and seconds:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await vm.unused.wait()
    return not vm.users

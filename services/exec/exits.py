"""How an exit becomes known, is recorded once, and its VM is taken down.

The tether reports the exit of the init process to interaction, whose Watch this facet follows. The
hypervisor tells when a VM ends, with the exit record that the tether wrote before it powered off;
that counts where the first way failed (interaction was away, QEMU was killed).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace

from vic.exec.v1 import exec_pb2
from vic.interaction.v1 import process_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import volume_pb2

from portlayer.errors import Unavailable, VicError
from services.exec.beside import Beside
from services.exec.clones import ended_early
from services.exec.drivers import Hypervisor, MachineExited
from services.exec.eventlog import EventLog
from services.exec.events import event
from services.exec.exitrecord import KILLED, LOST_WITH_HOST, Exit, parse_exit_record
from services.exec.history import NewEvent
from services.exec.mounts import uses_volumes
from services.exec.operations import Turns
from services.exec.peers import Peers
from services.exec.policy import to_restart, wants_restart, wants_start_with_suite
from services.exec.record import Record
from services.exec.room import Room
from services.exec.states import State
from services.exec.store import Containers

log = logging.getLogger("vic.exec.exits")

INIT = "init"
# A guest that was asked to power off flushes its disk first; some 100 MB of dirty pages at most. It
# takes a second, and on two cores with a hundred other guests half a minute; what it has not
# flushed when it is ended is lost.
POWER_OFF_SECONDS = 120.0


class _Boot:
    """What is waited for of one boot, from its start to the retirement of its VM."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        """The VM is gone."""
        self.ended = asyncio.Event()
        """The end of the init process is on record."""
        self.retired = asyncio.Event()
        """Nothing is left of the VM, and nothing is attached to it."""
        self.settled = asyncio.Event()
        """No Start is at work on it."""
        self.settled.set()
        self.given_up = False
        """It is ended on purpose, whatever Start makes of that."""
        self.waiting = 0
        """How many wait for one of these."""
        self.kept = False
        """Whether it is more than waited for."""


class Exits:
    """Records exits and takes VMs down."""

    def __init__(
        self,
        containers: Containers,
        events: EventLog,
        turns: Turns,
        peers: Peers,
        hypervisor: Hypervisor,
    ) -> None:
        self._containers = containers
        self._events = events
        self._turns = turns
        self._peers = peers
        self._hypervisor = hypervisor
        self.room = Room(hypervisor)
        """For guests that are at work on their end."""
        # Made where one is first asked for: VMs outlive this process.
        self._boots: dict[str, _Boot] = {}
        self.beside = Beside(containers, turns, peers)
        self._cleanups: set[asyncio.Task[None]] = set()
        self.remove: Callable[[Record], Awaitable[None]] | None = None
        """Removes a container whose turn we have; set by the composition root."""
        self.on_restart: Callable[[], None] = lambda: None
        """Called when a container waits for its restart; set by who starts it."""
        self.closing = False
        """Whether the suite ends: nothing is started any more."""
        self.doubt = asyncio.Event()
        """Set when something is left that only a comparison gives back: the reconciler's."""
        self.caught_up = False
        """Whether all ends of VMs that came to pass while nobody followed them are taken in."""

    def check_open(self) -> None:
        """Raise Unavailable where the suite ends: nobody would stop what begins to run now."""
        if self.closing:
            raise Unavailable("the suite is going down")

    def expect(self, boot_id: str) -> None:
        """Hold back what becomes of a boot until Start has settled it."""
        self._boot(boot_id).settled.clear()

    def give_up(self, boot_id: str) -> None:
        """Take in that a boot is about to be ended, which Start may be at work on."""
        if (boot := self._boots.get(boot_id)) is not None:
            boot.given_up = True

    def check_wanted(self, boot_id: str) -> None:
        """Raise Unavailable where a boot is ended on purpose: no other is to take its place."""
        if (boot := self._boots.get(boot_id)) is not None and boot.given_up:
            raise ended_early()

    def settle(self, boot_id: str) -> None:
        """Tell that Start has recorded that a boot's process runs."""
        self._boot(boot_id).settled.set()

    def gone(self, boot_id: str) -> asyncio.Event:
        """Return the event that is set when the VM of an expected boot is gone."""
        return self._boot(boot_id).gone

    def forget(self, boot_id: str) -> None:
        """Let go of a boot; whoever waits for something of it goes on."""
        boot = self._boots.pop(boot_id, None)
        if boot is not None:
            boot.settled.set()
            boot.ended.set()
            boot.retired.set()

    async def ended(self, record: Record) -> None:
        """Return when the init process of a record's boot has ended and that is on record."""
        with self._awaited(record.boot_id) as boot:
            current = await self._containers.get(record.id)
            if current is not None and current.boot_id == record.boot_id and current.state.has_vm:
                await boot.ended.wait()

    async def retired(self, record: Record) -> None:
        """Return when nothing is left of the VM of a record's boot, whose process has ended."""
        with self._awaited(record.boot_id) as boot:
            current = await self._containers.get(record.id)
            if current is not None and current.boot_id == record.boot_id:
                await boot.retired.wait()

    async def removed(self, record: Record) -> None:
        """Return when a container that is about to be removed is. Raises Unavailable at our end."""
        after = await self._events.newest()
        if await self._containers.get(record.id) is None:
            return
        async with aclosing(self._events.follow(after, container_id=record.id)) as following:
            async for told in following:
                if told.kind == exec_pb2.EVENT_KIND_DESTROY:
                    return

    async def look_again(self) -> None:
        """Let go on who waits for ends that are on record, since another replica heard of them."""
        if self._boots:
            running = await self._containers.running_boots()
            for boot_id, boot in self._boots.items():
                if boot.settled.is_set() and boot_id not in running:
                    boot.ended.set()

    async def process_ended(self, container_id: str, boot_id: str, how: Exit) -> None:
        """Record that an init process ended; the VM is taken down in the background.

        Of a boot that Start is at work on the end is taken in after Start's own record; what didn't
        get that far has no end to tell.
        """
        if (boot := self._boots.get(boot_id)) is not None:
            await boot.settled.wait()
        record = await self._containers.get(container_id)
        if record is None or record.boot_id != boot_id or not record.state.runs:
            self._over(boot_id)
            return
        if not await self._record(record, how):
            self._over(boot_id)
            return
        task = asyncio.create_task(self._clean_up(record), name=f"retire {container_id}")
        self._cleanups.add(task)
        task.add_done_callback(self._cleanups.discard)

    async def machine_exited(self, exited: MachineExited) -> None:
        """Take in that a VM is gone."""
        if (boot := self._boots.get(exited.boot_id)) is not None:
            boot.gone.set()
        record = await self._containers.get(exited.container_id)
        if (boot := self._boots.get(exited.boot_id)) is not None:
            # The end of its process was put on record meanwhile.
            boot.gone.set()
        if record is None or record.boot_id != exited.boot_id or not record.state.has_vm:
            return
        self._boot(exited.boot_id).gone.set()
        how = parse_exit_record(exited.exit_record)
        if how is None:
            log.warning(
                "a VM ended without an exit record",
                extra={"container": exited.container_id, "detail": exited.detail},
            )
            code = LOST_WITH_HOST if exited.host_restarted else KILLED
            how = Exit(code, False, time.time_ns())
        if exited.host_restarted:
            how = replace(how, host_restarted=True)
        await self.process_ended(exited.container_id, exited.boot_id, how)

    def _over(self, boot_id: str) -> None:
        """Let go on who waits for an end that is on record already: another replica heard of it."""
        if (boot := self._boots.get(boot_id)) is not None:
            boot.ended.set()

    def _boot(self, boot_id: str) -> _Boot:
        boot = self._boots.setdefault(boot_id, _Boot())
        boot.kept = True
        return boot

    @contextmanager
    def _awaited(self, boot_id: str) -> Iterator[_Boot]:
        """Give a boot to who waits for something of it, for which alone it isn't kept."""
        boot = self._boots.setdefault(boot_id, _Boot())
        boot.waiting += 1
        try:
            yield boot
        finally:
            boot.waiting -= 1
            if not boot.waiting and not boot.kept and self._boots.get(boot_id) is boot:
                del self._boots[boot_id]

    async def _record(self, record: Record, how: Exit) -> bool:
        """Put an exit on record; return whether it wasn't."""
        ended = replace(
            record,
            exit_code=how.exit_code,
            oom_killed=how.oom_killed,
            finished_ns=how.finished_ns,
            state=State.EXITED,
        )
        ran_ns = max(0, how.finished_ns - record.started_ns)
        if how.host_restarted:
            if wants_start_with_suite(ended):
                ended = to_restart(replace(ended, restart_count=0), time.time_ns(), 0)
        elif self._restarts(record, how.exit_code):
            again = replace(ended, restart_count=record.restart_count + 1)
            ended = to_restart(again, time.time_ns(), ran_ns)
        events: list[NewEvent] = []
        if how.oom_killed:
            events.append(event(record, exec_pb2.EVENT_KIND_OOM))
        events.append(
            event(
                record,
                exec_pb2.EVENT_KIND_DIE,
                exitCode=str(how.exit_code),
                execDuration=str(ran_ns // 10**9),
            )
        )
        # The end of its VM is told once, and not of one that is no container's on record.
        known = record.boot_id in self._boots
        boot = self._boot(record.boot_id)
        if not await self._containers.end(ended, events, anew=how.host_restarted):
            if not known:
                self.forget(record.boot_id)
            return False
        boot.ended.set()
        self._events.announce(record.id)
        if ended.state is State.RESTARTING:
            self.on_restart()
        return True

    def _restarts(self, record: Record, exit_code: int) -> bool:
        stopped = self.closing or record.stopped_by_hand
        return not stopped and wants_restart(record, exit_code)

    async def _clean_up(self, record: Record) -> None:
        try:
            async with self._turns.turn(record.id):
                current = await self._containers.get(record.id)
                # A boot that somebody else retired is named no more.
                if current is not None and current.boot_id in (record.boot_id, ""):
                    await self.finish(current)
        except VicError as error:
            # The reconciler does it again.
            self.doubt.set()
            log.warning("cannot clean up after %s: %s", record.id, error.message)

    async def finish(self, record: Record, *, vm_gone: bool = False) -> None:
        """Do all that an exit, or the failure of a start, leaves to do. The caller has the turn."""
        removed = record.spec.auto_remove and self.remove is not None
        if record.boot_id:
            if vm_gone:
                self._boot(record.boot_id).gone.set()
            # The removal itself tells network and interaction.
            await self.retire(record, disconnect=not removed)
        if removed and self.remove is not None:
            await self.remove(replace(record, boot_id=""))

    async def retire_former(self, record: Record) -> Record:
        """Take down what is left of a boot before its container is used on; return its record then.

        The caller has the container's turn, in which nobody may have cleaned up after the boot yet.
        """
        if not record.boot_id:
            return record
        await self.retire(record, used_on=True)
        return replace(record, boot_id="")

    async def retire(
        self, record: Record, *, disconnect: bool = True, used_on: bool = False
    ) -> None:
        """Take down the VM of a container whose process has ended, and disconnect its NICs.

        The guest flushes its disk and powers off by itself; where it can't be asked or doesn't, it
        is ended. A container that is removed next has nothing worth flushing but volumes, unless
        its disk is ``used_on``. The caller has the container's turn.
        """
        # A hundred guests that power off at once would have no time to, each within its own.
        async with self.room.place():
            if used_on or not record.spec.auto_remove or uses_volumes(record.spec):
                await self.power_off(record)
            # Nobody has to see its memory given back, where its disk goes with it.
            wait = disconnect or uses_volumes(record.spec)
            await self._hypervisor.destroy(record.id, record.boot_id, wait=wait)
            if uses_volumes(record.spec):
                await self._detach(record)
            if disconnect:
                await self._disconnect(record)
                await self._containers.retire(record)
                await self.beside.write(record.id)
        self.forget(record.boot_id)

    async def _detach(self, record: Record) -> None:
        """Give back the volumes of a VM that is gone; where that can't be, the reconciler does."""
        request = volume_pb2.DetachRequest(container_id=record.id, boot_id=record.boot_id)
        try:
            await self._peers.volumes.Detach(request)
        except VicError as error:
            self.doubt.set()
            log.warning("the volumes of %s are attached still: %s", record.id, error.message)

    async def _disconnect(self, record: Record) -> None:
        """Tell network and interaction that the VM of a boot is gone.

        Neither can keep the container from being stopped: what network knows of a tap that is gone
        its own reconciler mends, and interaction hears of it again at the next start.
        """
        unbind = self._peers.network.Unbind(network_pb2.UnbindRequest(container_id=record.id))
        retire = self._peers.processes.Retire(
            process_pb2.RetireRequest(container_id=record.id, boot_id=record.boot_id)
        )
        for result in await asyncio.gather(unbind, retire, return_exceptions=True):
            if isinstance(result, VicError):
                log.warning("cannot disconnect %s: %s", record.id, result.message)
            elif isinstance(result, BaseException):
                raise result

    async def power_off(self, record: Record) -> None:
        """Have the guest power off and wait until it is gone, which it may be before the answer."""
        gone = self.gone(record.boot_id)
        if gone.is_set():
            return

        async def ask() -> None:
            await self._peers.processes.PowerOff(
                process_pb2.PowerOffRequest(container_id=record.id)
            )
            await gone.wait()

        asking = asyncio.create_task(ask(), name=f"power off {record.id}")
        going = asyncio.create_task(gone.wait(), name=f"end of {record.id}")
        try:
            async with asyncio.timeout(POWER_OFF_SECONDS):
                await asyncio.wait({asking, going}, return_when=asyncio.FIRST_COMPLETED)
            if not going.done():
                asking.result()
        except (VicError, TimeoutError) as error:
            log.warning("the VM of %s did not power off by itself: %s", record.id, error)
        finally:
            asking.cancel()
            going.cancel()
            await asyncio.gather(asking, going, return_exceptions=True)

    async def drain(self, within: float | None = None) -> None:
        """Wait for the clean-ups in hand, and give those up that take longer than so many seconds.

        The next reconciler brings them to their end.
        """
        try:
            async with asyncio.timeout(within):
                await self.beside.drain()
                while self._cleanups:
                    await asyncio.wait(set(self._cleanups))
        except TimeoutError:
            for task in self._cleanups:
                task.cancel()
            await asyncio.wait(set(self._cleanups))

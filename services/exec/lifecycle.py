"""The verbs: start, stop, signal, pause, rename, remove."""

import asyncio
import logging
import signal as signals
import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from vic.exec.v1 import container_pb2, exec_pb2
from vic.interaction.v1 import process_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2

from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    NotImplementedYet,
    Reason,
    VicError,
    leaf_error,
)
from services.exec.creation import Creator
from services.exec.drivers import CanPause, Hypervisor, StartKind
from services.exec.eventlog import EventLog
from services.exec.events import event
from services.exec.exits import INIT, KILLED, Exit, Exits
from services.exec.limits import Size
from services.exec.names import validate_name
from services.exec.operations import Turns
from services.exec.peers import Peers
from services.exec.policy import to_restart, validate_policy
from services.exec.record import Record, seconds
from services.exec.signals import parse_signal
from services.exec.starting import Starter
from services.exec.states import State, Verb, check
from services.exec.store import Containers, NewEvent

log = logging.getLogger("vic.exec.lifecycle")

SIGKILL = signals.SIGKILL.value
DEFAULT_STOP_SECONDS = 10.0
# From SIGKILL to the report of the exit; after that the VM is ended instead.
KILL_SECONDS = 10.0


class Lifecycle:
    """Carries out verbs on containers, one at a time on each."""

    def __init__(
        self,
        containers: Containers,
        events: EventLog,
        turns: Turns,
        peers: Peers,
        hypervisor: Hypervisor,
        creator: Creator,
        exits: Exits,
        tether_server_name: str,
    ) -> None:
        self._containers = containers
        self._events = events
        self._turns = turns
        self._peers = peers
        self._hypervisor = hypervisor
        self._creator = creator
        self._exits = exits
        self._starter = Starter(containers, peers, hypervisor, exits, tether_server_name)
        exits.remove = self._remove

    async def start(self, container_id: str) -> Record:
        """Make the VM and run the init process. Errors as ExecService.Start says."""
        async with self._turns.turn(container_id):
            record = await self._current(container_id)
            _check(Verb.START, record)
            return await self._start_by_hand(record)

    async def start_again(self, container_id: str) -> None:
        """Start a container whose restart policy asks for it, unless that has been overtaken."""
        async with self._turns.turn(container_id):
            record = await self._containers.get(container_id)
            if record is None or record.state is not State.RESTARTING:
                return
            if record.boot_id:
                await self._exits.retire(record)
                record = replace(record, boot_id="")
            await self._start(record)

    async def _start_by_hand(self, record: Record) -> Record:
        """Start a container whatever became of it before; its restart policy begins anew."""
        fresh = replace(record, restart_count=0, restart_at_ns=0, restart_delay_ns=0)
        if record.stopped_by_hand:
            await self._containers.update(fresh, by_hand=False)
        return await self._start(fresh)

    @property
    def starts(self) -> Counter[StartKind]:
        """Starts since the service came up, by kind."""
        return self._starter.starts

    async def _start(self, former: Record) -> Record:
        try:
            await self._containers.admit(former, self._size)
            running = await self._starter.start(former)
        except BaseException as error:
            await self._start_failed(former, error)
            raise
        self._events.announce(running.id)
        return running

    def _size(self, record: Record) -> Size:
        return self._hypervisor.size(record.spec.resources)

    async def _start_failed(self, former: Record, error: BaseException) -> None:
        """Put the record back as it was, with why the start failed."""
        leaf = leaf_error(error)
        message = leaf.message if isinstance(leaf, VicError) else type(leaf).__name__
        code = 128
        if isinstance(leaf, VicError) and leaf.metadata.get("exit_code", "").isdecimal():
            code = int(leaf.metadata["exit_code"]) & 0xFF
        if former.state is State.RESTARTING and not _is_final(leaf):
            # As after an exit: what was missing may be back by then.
            waiting = to_restart(replace(former, error=message), time.time_ns(), 0)
            await self._containers.update(waiting)
            self._exits.on_restart()
            return
        state = State.CREATED if not former.started_ns else State.EXITED
        failed = replace(former, state=state, pid=0, exit_code=code, error=message)
        await self._containers.update(replace(failed, restart_at_ns=0))
        if former.spec.auto_remove:
            # Docker's: a container that was to be removed at its end and never ran is removed.
            try:
                await self._remove(former)
            except VicError as failure:
                # Why the start failed says more; the reconciler removes it.
                log.warning("cannot remove %s: %s", former.id, failure.message)

    async def stop(self, container_id: str, timeout: float | None, signal: str) -> Record:
        """Ask the init process to end, kill it after the time-out, take the VM down.

        A timeout of None is the container's own, a negative one means to wait without end.
        """
        async with self._turns.turn(container_id):
            record = await self._current(container_id)
            _check(Verb.STOP, record)
            return await self._stop(record, timeout, signal)

    async def _give_up_restart(self, record: Record, *events: NewEvent) -> Record:
        """Let a container that waits for its restart be one that has ended."""
        by_hand = not self._exits.closing
        ended = replace(record, state=State.EXITED, restart_at_ns=0, stopped_by_hand=by_hand)
        await self._containers.update(ended, events, expect=record, by_hand=by_hand)
        self._events.announce(record.id)
        return ended

    async def _stop(self, record: Record, timeout: float | None, signal: str) -> Record:
        number = parse_signal(signal) if signal else _stop_signal(record)
        if timeout is None:
            own = record.spec.HasField("stop_timeout")
            timeout = seconds(record.spec.stop_timeout) if own else None
        if timeout is None:
            timeout = DEFAULT_STOP_SECONDS
        if record.state is State.RESTARTING:
            if record.boot_id:
                await self._exits.retire(record)
                record = replace(record, boot_id="")
            return await self._give_up_restart(record, event(record, exec_pb2.EVENT_KIND_STOP))
        if record.state is State.PAUSED:
            record = await self._go_on(record)
        stopping = replace(record, state=State.STOPPING)
        by_hand = not self._exits.closing
        await self._containers.update(stopping, expect=record, by_hand=by_hand)
        try:
            await self._end(stopping, number, None if timeout < 0 else timeout)
        except BaseException:
            # It runs on; one that has ended meanwhile stays ended.
            await self._containers.update(
                replace(record, state=State.RUNNING), expect=stopping, by_hand=False
            )
            raise
        await self._exits.retire(stopping)
        stopped = event(record, exec_pb2.EVENT_KIND_STOP)
        current = await self._containers.get(record.id)
        if current is not None and current.state is State.RESTARTING:
            # It had ended by itself right before.
            return await self._give_up_restart(current, stopped)
        await self._announce(stopped)
        return current or stopping

    async def _end(self, record: Record, number: int, timeout: float | None) -> None:
        """Signal the init process, kill it after the time-out, and return when it has ended."""
        await self._announce_kill(record, number)
        await self._signal(record, number)
        if await self._ends_within(record, timeout):
            return
        await self._announce_kill(record, SIGKILL)
        await self._signal(record, SIGKILL)
        if not await self._ends_within(record, KILL_SECONDS):
            await self._hypervisor.destroy(record.id, record.boot_id)
            await self._exits.process_ended(
                record.id, record.boot_id, Exit(KILLED, False, time.time_ns())
            )

    async def _ends_within(self, record: Record, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._exits.ended(record)
        except TimeoutError:
            return False
        return True

    async def _signal(self, record: Record, number: int) -> None:
        """Send a signal to the init process; one that has just ended is no error."""
        request = process_pb2.SignalRequest(container_id=record.id, process_id=INIT, signal=number)
        try:
            await self._peers.processes.Signal(request)
        except VicError as error:
            if error.reason not in (Reason.NOT_RUNNING, Reason.TETHER_AWAY):
                raise
            log.info("signal %d did not reach %s: %s", number, record.id, error.message)

    async def restart(self, container_id: str, timeout: float | None, signal: str) -> Record:
        """Stop a container where it runs, and start it."""
        async with self._turns.turn(container_id):
            record = await self._current(container_id)
            if record.state.has_vm or record.state is State.RESTARTING:
                record = await self._stop(record, timeout, signal)
            _check(Verb.START, record)
            record = await self._start_by_hand(record)
            await self._announce(event(record, exec_pb2.EVENT_KIND_RESTART))
            return record

    async def signal(self, container_id: str, signal: str) -> None:
        """Send a signal to the init process; with SIGKILL return when that has ended.

        It takes no turn: a stop that waits for its time-out must not keep a kill waiting. A paused
        container goes on where the signal is to end it; any other is kept until it goes on.
        """
        number = parse_signal(signal or "KILL")
        record = await self._current(container_id)
        _check(Verb.SIGNAL, record)
        ends = number in (SIGKILL, _stop_signal(record))
        if ends and not await self._containers.stop_by_hand(record):
            # It has ended meanwhile.
            record = await self._current(container_id)
            _check(Verb.SIGNAL, record)
        if record.state is State.RESTARTING:
            if ends:
                await self._kill_restart(record, number)
            return
        if record.state is State.PAUSED and not ends:
            if await self._containers.hold_signal(record, number):
                await self._announce_kill(record, number)
                return
            record = await self._current(container_id)
            _check(Verb.SIGNAL, record)
        if record.state is State.PAUSED:
            record = await self._go_on(record)
        await self._announce_kill(record, number)
        try:
            await self._peers.processes.Signal(
                process_pb2.SignalRequest(container_id=record.id, process_id=INIT, signal=number)
            )
        except VicError as error:
            if ends and number != SIGKILL:
                await self._containers.stop_by_hand(record, False)
            if error.reason is Reason.NOT_RUNNING:
                raise FailedPrecondition(
                    f"cannot kill container: {record.name}: container {record.id} is not running",
                    state="exited",
                ) from error
            if error.reason is not Reason.TETHER_AWAY or number != SIGKILL:
                raise
            await self._hypervisor.destroy(record.id, record.boot_id)
        if number == SIGKILL and not await self._ends_within(record, KILL_SECONDS):
            await self._hypervisor.destroy(record.id, record.boot_id)

    async def _kill_restart(self, record: Record, number: int) -> None:
        """Let a container that waits for its restart, or is being started again, have ended."""
        async with self._turns.turn(record.id):
            record = await self._current(record.id)
            if record.state.has_vm or record.state is State.RESTARTING:
                await self._stop(record, None, str(number))

    async def pause(self, container_id: str) -> None:
        """Hold the VM's CPUs."""
        async with self._turns.turn(container_id):
            record = await self._current(container_id)
            _check(Verb.PAUSE, record)
            pausing = self._pausing()
            paused = replace(record, state=State.PAUSED)
            # First on record: a VM that stands still and is said to run could not be unpaused.
            await self._containers.update(paused, expect=record)
            try:
                await pausing.pause(record.id)
            except BaseException:
                await self._containers.update(record, expect=paused)
                raise
            await self._containers.append(event(record, exec_pb2.EVENT_KIND_PAUSE))
            self._events.announce(record.id)

    async def unpause(self, container_id: str) -> None:
        """Let the VM's CPUs go on."""
        async with self._turns.turn(container_id):
            record = await self._current(container_id)
            _check(Verb.UNPAUSE, record)
            await self._go_on(record)

    async def _go_on(self, record: Record) -> Record:
        """Let a paused container go on, and give it the signals that came meanwhile."""
        await self._pausing().unpause(record.id)
        running = replace(record, state=State.RUNNING)
        if await self._containers.update(
            running, [event(record, exec_pb2.EVENT_KIND_UNPAUSE)], expect=record
        ):
            self._events.announce(record.id)
        for number in await self._containers.take_signals(record.id):
            await self._signal(running, number)
        return running

    def _pausing(self) -> CanPause:
        if not isinstance(self._hypervisor, CanPause):
            raise NotImplementedYet("this hypervisor can't pause a VM", option="pause")
        return self._hypervisor

    async def update(self, container_id: str, policy: container_pb2.RestartPolicy) -> Record:
        """Give a container another restart policy. Errors as ExecService.Update says."""
        validate_policy(policy, auto_remove=False)
        async with self._turns.turn(container_id):
            record = await self._current(container_id)
            _check(Verb.UPDATE, record)
            if record.spec.auto_remove and policy.condition:
                raise FailedPrecondition(
                    "Restart policy cannot be updated because AutoRemove is enabled "
                    "for the container",
                    state=record.state.word,
                )
            spec = container_pb2.ContainerSpec()
            spec.CopyFrom(record.spec)
            if policy.condition:
                spec.restart_policy.CopyFrom(policy)
            updated = replace(record, spec=spec)
            await self._put_specification(updated)
            try:
                updating = event(updated, exec_pb2.EVENT_KIND_UPDATE)
                await self._containers.respecify(updated, updating)
            except BaseException:
                await self._put_specification(record)
                raise
            self._events.announce(record.id)
            return await self._current(container_id)

    async def rename(self, container_id: str, new_name: str) -> Record:
        """Give a container another name."""
        new_name = new_name.removeprefix("/")
        if not new_name:
            raise InvalidArgument("Neither old nor new names may be empty", Reason.INVALID_SPEC)
        validate_name(new_name)
        async with self._turns.turn(container_id):
            record = await self._current(container_id)
            _check(Verb.RENAME, record)
            if record.name == new_name:
                raise InvalidArgument(
                    "Renaming a container with the same name as its current name",
                    Reason.SAME_NAME,
                )
            spec = container_pb2.ContainerSpec()
            spec.CopyFrom(record.spec)
            spec.name = new_name
            renamed = replace(record, name=new_name, spec=spec)
            async with AsyncExitStack() as undo:
                await self._put_specification(renamed)
                undo.push_async_callback(self._put_specification, record)
                undo.push_async_callback(self._name_in_networks, record)
                await self._name_in_networks(renamed)
                await self._containers.rename(
                    renamed, event(renamed, exec_pb2.EVENT_KIND_RENAME, oldName=f"/{record.name}")
                )
                undo.pop_all()
            self._events.announce(record.id)
            return await self._current(container_id)

    async def _name_in_networks(self, record: Record) -> None:
        await self._peers.network.Rename(
            network_pb2.RenameRequest(container_id=record.id, container_name=record.name)
        )

    async def _put_specification(self, record: Record) -> None:
        await self._peers.disks.PutSpecification(
            disk_pb2.PutSpecificationRequest(
                container_id=record.id, specification=record.specification()
            )
        )

    async def remove(self, container_id: str, reference: str, *, force: bool) -> None:
        """Remove a container with all that it has."""
        if force:
            await self._hurry(await self._current(container_id))
        async with self._turns.turn(container_id):
            record = await self._current(container_id)
            verb = Verb.FORCE_REMOVE if force else Verb.REMOVE
            check(verb, record.state, container_id=record.id, name=reference)
            if record.state.has_vm:
                record = await self._kill(record)
            await self._remove(record)

    async def prune(self, until_ns: int | None, label_filters: Collection[str]) -> list[str]:
        """Remove all containers that don't run and fit; return their IDs."""
        removed = []
        for record in await self._containers.select([State.CREATED, State.EXITED, State.DEAD]):
            if until_ns is not None and record.created_ns >= until_ns:
                continue
            if not _labels_fit(record.spec.labels, label_filters):
                continue
            try:
                await self.remove(record.id, record.id, force=False)
            except VicError as error:
                log.info("%s is not pruned: %s", record.id, error.message)
            else:
                removed.append(record.id)
        # As Docker tells it; what the removed disks held is storage's knowledge.
        await self._announce(NewEvent(exec_pb2.EVENT_KIND_PRUNE, "", {"reclaimed": "0"}))
        return removed

    async def _hurry(self, record: Record) -> None:
        """Let nobody wait for the time-out of a stop, or for a guest that doesn't come up."""
        if record.state in (State.STARTING, State.STOPPING) and self._turns.busy(record.id):
            await self._hypervisor.destroy(record.id, record.boot_id)

    async def _kill(self, record: Record) -> Record:
        """End a container's VM at once; nothing of its disk is wanted any more."""
        await self._containers.stop_by_hand(record)
        await self._announce_kill(record, SIGKILL)
        await self._hypervisor.destroy(record.id, record.boot_id)
        await self._exits.process_ended(
            record.id, record.boot_id, Exit(KILLED, False, time.time_ns())
        )
        self._exits.forget(record.boot_id)
        return replace(await self._containers.get(record.id) or record, boot_id="")

    async def _remove(self, record: Record) -> None:
        """Remove what no VM uses any more, and a VM that is left. The caller has the turn."""
        removing = replace(record, state=State.REMOVING)
        await self._containers.update(removing)
        try:
            if record.boot_id:
                await self._hypervisor.destroy(record.id, record.boot_id)
                self._exits.forget(record.boot_id)
            await self._creator.dismantle(record.id)
        except VicError as error:
            await self._containers.update(replace(record, state=State.DEAD, error=error.message))
            raise
        await self._containers.delete(record.id, [event(record, exec_pb2.EVENT_KIND_DESTROY)])
        self._events.announce(record.id)

    async def _current(self, container_id: str) -> Record:
        return await self._containers.resolve(container_id)

    async def _announce_kill(self, record: Record, number: int) -> None:
        # Before the signal, lest the end that it brings is told first.
        await self._announce(event(record, exec_pb2.EVENT_KIND_KILL, signal=str(number)))

    async def _announce(self, new_event: NewEvent) -> None:
        await self._containers.append(new_event)
        self._events.announce(new_event.container_id)


def _labels_fit(labels: Mapping[str, str], filters: Collection[str]) -> bool:
    """Tell whether labels fit all filters, and not all of those with a leading "!"."""

    def fits(wanted: str) -> bool:
        name, has_value, value = wanted.partition("=")
        return name in labels and (not has_value or labels[name] == value)

    reverse = [text[1:] for text in filters if text.startswith("!")]
    if reverse and all(map(fits, reverse)):
        return False
    return all(fits(text) for text in filters if not text.startswith("!"))


def _is_final(failure: BaseException) -> bool:
    """Tell whether a start that failed so would fail again."""
    return isinstance(failure, InvalidArgument | NotFound) or (
        isinstance(failure, VicError) and failure.reason is Reason.LAUNCH_FAILED
    )


def _stop_signal(record: Record) -> int:
    return parse_signal(record.spec.stop_signal)


def _check(verb: Verb, record: Record) -> None:
    check(verb, record.state, container_id=record.id, name=record.name)

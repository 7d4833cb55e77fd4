"""The verbs on containers, one at a time on each; start and restart themselves."""

import logging
import time
from collections import Counter
from dataclasses import replace

from vic.exec.v1 import exec_pb2

from portlayer.errors import InvalidArgument, NotFound, Reason, VicError, leaf_error
from portlayer.neighbours import Neighbours
from services.exec.admission import Admission
from services.exec.drivers import StartKind
from services.exec.events import event
from services.exec.holding import GRACE_SECONDS, Holding
from services.exec.networking import Networking
from services.exec.parts import Parts, check_record
from services.exec.pausing import Pausing
from services.exec.policy import to_restart
from services.exec.record import Record
from services.exec.removing import Removing
from services.exec.renaming import Renaming
from services.exec.signalling import Signalling
from services.exec.starting import Starter
from services.exec.startmode import StartModes
from services.exec.states import State, Verb
from services.exec.stopping import Stopping
from services.exec.tether_place import TetherPlace
from services.exec.updating import Updating
from services.exec.utility_vms import UtilityVms

log = logging.getLogger("vic.exec.lifecycle")


class Lifecycle:
    """Carries out verbs on containers. Errors as ExecService says."""

    def __init__(
        self,
        parts: Parts,
        admission: Admission,
        modes: StartModes,
        tethers: TetherPlace,
        neighbours: Neighbours,
    ) -> None:
        self._parts = parts
        self._admission = admission
        self._starter = Starter(
            parts.containers,
            parts.peers,
            parts.hypervisor,
            parts.exits,
            parts.kernels,
            modes,
            tethers,
        )
        self.holding = Holding(parts, UtilityVms(parts, modes, tethers), neighbours)
        self._starter.give_volumes = self.holding.give_volumes
        pausing = Pausing(parts)
        self._stopping = Stopping(parts, pausing)
        self.stop = self._stopping.stop
        signalling = Signalling(parts, pausing, self._stopping)
        removing = Removing(parts, self.holding, signalling)
        self.signal = signalling.signal
        self.pause, self.unpause = pausing.pause, pausing.unpause
        self.update, self.rename = Updating(parts, admission).update, Renaming(parts).rename
        networking = Networking(parts)
        self.connect, self.disconnect = networking.connect, networking.disconnect
        self.remove, self.prune = removing.remove, removing.prune
        self._dispose = parts.exits.remove = removing.dispose

    async def start(self, container_id: str) -> Record:
        """Make the VM and run the init process. Errors as ExecService.Start says."""
        async with self._parts.turns.turn(container_id):
            self._parts.exits.check_open()
            record = await self._parts.current(container_id)
            check_record(Verb.START, record)
            return await self._start_by_hand(record)

    async def restart(self, container_id: str, timeout: float | None, signal: str) -> Record:
        """Stop a container where it runs, and start it."""
        await self._stopping.hasten(container_id, timeout, signal)
        async with self._parts.turns.turn(container_id):
            self._parts.exits.check_open()
            record = await self._parts.current(container_id)
            if record.state.has_vm or record.state is State.RESTARTING:
                record = await self._stopping.end(record, timeout, signal, used_on=True)
            check_record(Verb.START, record)
            record = await self._start_by_hand(record)
            await self._parts.events.append(event(record, exec_pb2.EVENT_KIND_RESTART))
            return record

    async def start_again(self, container_id: str) -> None:
        """Start a container whose restart policy asks for it, unless that has been overtaken."""
        async with self._parts.turns.turn(container_id):
            record = await self._parts.containers.get(container_id)
            if record is None or record.state is not State.RESTARTING or self._parts.exits.closing:
                return
            try:
                record = await self._parts.exits.retire_former(record)
            except VicError as error:
                await self._wait_again(record, error.message)
                raise
            await self._start(record)

    async def _wait_again(self, record: Record, message: str) -> None:
        """Have a restart policy try again after its next pause: what was missing may be back."""
        waiting = to_restart(replace(record, error=message), time.time_ns(), 0)
        await self._parts.containers.update(waiting)
        self._parts.exits.on_restart()

    async def _start_by_hand(self, record: Record) -> Record:
        """Start a container whatever became of it before; its restart policy begins anew."""
        fresh = replace(record, restart_count=0, restart_at_ns=0, restart_delay_ns=0)
        if record.stopped_by_hand:
            await self._parts.containers.update(fresh, by_hand=False)
        # Its VM may be there still: whoever cleans up after an exit waits for the turn as we did.
        return await self._start(await self._parts.exits.retire_former(fresh))

    @property
    def starts(self) -> Counter[StartKind]:
        """Starts since the service came up, by kind."""
        return self._starter.starts

    async def _start(self, former: Record) -> Record:
        """Start a container of whose former boot nothing is left."""
        try:
            await self._admission.admit(
                former, self._parts.hypervisor.size(former.spec.resources), self._parts.vm_size
            )
            await self.holding.give_way(former.id, GRACE_SECONDS)
            # From here on the record tells whoever ends the suite of a VM.
            self._parts.exits.check_open()
            running = await self._starter.start(former)
        except BaseException as error:
            await self._start_failed(former, error)
            raise
        self._parts.events.announce(running.id)
        self._parts.exits.beside.write_soon(running.id)
        return running

    async def _start_failed(self, former: Record, error: BaseException) -> None:
        """Put the record back as it was, with why the start failed."""
        leaf = leaf_error(error)
        message = leaf.message if isinstance(leaf, VicError) else type(leaf).__name__
        code = 128
        if isinstance(leaf, VicError) and leaf.metadata.get("exit_code", "").isdecimal():
            code = int(leaf.metadata["exit_code"]) & 0xFF
        if former.state is State.RESTARTING and not _is_final(leaf):
            await self._wait_again(former, message)
            return
        state = State.CREATED if not former.started_ns else State.EXITED
        failed = replace(former, state=state, pid=0, exit_code=code, error=message)
        await self._parts.containers.update(replace(failed, restart_at_ns=0))
        if former.spec.auto_remove:
            # Docker's: a container that was to be removed at its end and never ran is removed.
            try:
                await self._dispose(former)
            except VicError as failure:
                # Why the start failed says more; the reconciler removes it.
                log.warning("cannot remove %s: %s", former.id, failure.message)


def _is_final(failure: BaseException) -> bool:
    """Tell whether a start that failed so would fail again."""
    return isinstance(failure, InvalidArgument | NotFound) or (
        isinstance(failure, VicError) and failure.reason is Reason.LAUNCH_FAILED
    )

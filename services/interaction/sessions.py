"""What is known of each registered container: its boot, its tether, its processes."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Final

from vic.tether.v1 import health_pb2

from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    Reason,
    ResourceExhausted,
    VicError,
)
from services.interaction.control import ControlStream
from services.interaction.events import EventJournal
from services.interaction.logfiles import LogLimits
from services.interaction.logstore import ContainerLog
from services.interaction.pace import Pace
from services.interaction.processes import INIT, KILLED, LaunchFailure, Phase, Process
from services.interaction.pulse import Pulse
from services.interaction.store import ContainerRow, Exit, InteractionStore, Options, ProcessRow
from services.interaction.usage import UsageHub

log = logging.getLogger("vic.interaction.sessions")

# More than any workload runs at once; a tether that claims more is not believed.
MAX_PROCESSES: Final = 4096
# Of a health check, with some room for each result's other fields and for what isn't ASCII.
MAX_RESULTS: Final = 5
MAX_HEALTH_BYTES: Final = MAX_RESULTS * 4 * 4096


class Session:
    """One container. All of it is used from the event loop alone."""

    def __init__(
        self,
        row: ContainerRow,
        container_log: ContainerLog,
        store: InteractionStore,
        journal: EventJournal,
    ) -> None:
        self.container_id = row.id
        self.options = row.options
        self.boot_id = row.boot_id
        self.changed = Pulse()
        self.pace = Pace()
        self.usage = UsageHub(lambda: self._controls.get(self.boot_id), self.changed)
        self.open_streams = 0
        """Streams that its tether has open."""
        self.removed = False
        self.processes: dict[str, Process] = {}
        """Processes of the present boot that were asked for, by ID."""
        self.execs: dict[str, Process] = {}
        """Additional processes that clients made, by ID; also those of former boots."""
        self._next_init = Process(INIT)
        self._health: health_pb2.Health | None = None
        """What the tether of the present boot told last of its workload's health."""
        self._controls: dict[str, ControlStream] = {}
        self._container_log = container_log
        self._store = store
        self._journal = journal

    @property
    def log(self) -> ContainerLog | None:
        """The container's log, or None when none is to be kept."""
        return None if self.options.discard_logs else self._container_log

    @property
    def init(self) -> Process:
        """The init process that runs, or the one that will at the next start."""
        current = self.processes.get(INIT)
        return self._next_init if current is None or current.over else current

    @property
    def running(self) -> bool:
        """Whether the init process runs."""
        return self.init.running

    def restore(self, rows: Iterable[ProcessRow]) -> None:
        """Take in what is on record of its processes."""
        for row in rows:
            process = Process(row.process_id)
            if row.boot_id:
                process.begin(row.boot_id, self.log if row.process_id == INIT else None)
            process.restore(row)
            if row.spec is not None:
                self.execs[row.process_id] = process
            if row.boot_id and row.boot_id == self.boot_id:
                self.processes[row.process_id] = process

    async def configure(self, options: Options) -> None:
        """Take in options, which may be other ones than before."""
        self.options = options
        self._container_log.limit(LogLimits(options.log_max_size, options.log_max_files))
        await self._container_log.forward(options.syslog)

    async def stop(self) -> None:
        """Break off what this process does for it by itself."""
        await self._container_log.stop()

    def tell(self) -> None:
        """Wake who waits for a change, readers of the log among them."""
        self.changed.beat()
        self._container_log.tell()

    # Boots and tethers.

    def control(self, boot_id: str) -> ControlStream | None:
        """Return the control stream of a boot's tether, if it is there."""
        return self._controls.get(boot_id)

    def connect(self, control: ControlStream) -> None:
        """Take in a control stream.

        One of another boot than the present one waits, alone, until exec names its boot.
        """
        for boot_id, older in list(self._controls.items()):
            if boot_id == control.boot_id or boot_id != self.boot_id:
                older.close(FailedPrecondition("a newer control stream has replaced this one"))
                del self._controls[boot_id]
        self._controls[control.boot_id] = control
        self.tell()

    def disconnect(self, control: ControlStream, error: VicError) -> None:
        """Take in that a control stream has ended."""
        control.close(error)
        if self._controls.get(control.boot_id) is control:
            del self._controls[control.boot_id]
        self.tell()

    async def tether(self, boot_id: str) -> ControlStream:
        """Return the control stream of a boot's tether as soon as it is there.

        Raises FailedPrecondition (NOT_RUNNING) when the boot is the present one no more.
        """
        await self.changed.wait_for(lambda: boot_id in self._controls or boot_id != self.boot_id)
        if boot_id not in self._controls:
            raise not_running(self.container_id)
        return self._controls[boot_id]

    def adopt(self, boot_id: str) -> None:
        """Make a boot the present one; the former one was retired."""
        self.boot_id = boot_id
        self._health = None
        self.tell()

    async def retire(self, boot_id: str) -> None:
        """Take in that a boot's VM is gone; nothing to do for another one than the present."""
        if not boot_id or boot_id != self.boot_id:
            return
        log.info("retired", extra={"container": self.container_id, "boot": boot_id})
        self._drop_control(boot_id, "its virtual machine was ended")
        processes, self.processes = self.processes, {}
        self.boot_id = ""
        killed = Exit(KILLED, oom_killed=False, finished_ns=time.time_ns())
        lost = [p for p in processes.values() if p.exit is None and not p.over]
        for process in lost:
            process.exit = killed
            process.end(Phase.ENDED)
        self.tell()
        for process in lost:
            if process.process_id != INIT and process.recorded:
                await self._put_end(process)
        await self._store.set_boot(self.container_id, "")
        await self._container_log.close()

    def _drop_control(self, boot_id: str, why: str) -> None:
        control = self._controls.pop(boot_id, None)
        if control is not None:
            control.close(FailedPrecondition(why))

    async def remove(self) -> None:
        """End everything and delete the log."""
        self.removed = True
        for boot_id in list(self._controls):
            self._drop_control(boot_id, "the container was removed")
        for process in (*self.processes.values(), self._next_init):
            process.end(Phase.ENDED)
        self.tell()
        await self._container_log.remove()

    # Processes.

    def prepare(self, boot_id: str, process_id: str) -> Process:
        """Return the process that is to run under the present boot.

        Raises FailedPrecondition (NOT_RUNNING) when the boot is another one.
        """
        if boot_id != self.boot_id:
            raise not_running(self.container_id)
        process = self.processes.get(process_id)
        if process is None:
            if process_id == INIT:
                process, self._next_init = self._next_init, Process(INIT)
                process.begin(boot_id, self.log)
            else:
                process = self.execs.get(process_id) or Process(process_id)
                process.begin(boot_id, None)
            self.processes[process_id] = process
        return process

    def welcome(self, boot_id: str, process_ids: Sequence[str]) -> None:
        """Take in which processes a tether has, after a restart of this service.

        Raises InvalidArgument when there are too many.
        """
        if len(process_ids) + len(self.processes) > 2 * MAX_PROCESSES:
            raise InvalidArgument("too many processes")
        for process_id in process_ids:
            if process_id and process_id not in self.processes:
                process = self.prepare(boot_id, process_id)
                if process.transient:
                    # Its client was cut off with the former life of this service.
                    process.streams.stdin.finish()

    def drop(self, process: Process) -> None:
        """Forget a process whose client is gone; the tether is told so when it asks."""
        process.end(Phase.ENDED)
        if self.processes.get(process.process_id) is process:
            del self.processes[process.process_id]
        self.tell()

    async def started(self, boot_id: str, process_id: str, pid: int, started_ns: int) -> None:
        """Take in that a process runs, as often as the tether says so."""
        process = self._find(boot_id, process_id)
        if process is None or process.over:
            return
        if process.phase is Phase.NEW:
            process.phase = Phase.RUNNING
            process.pid, process.started_ns = pid, started_ns or time.time_ns()
            self.tell()
            # Who waits for the launch goes on before the record is written.
            await asyncio.sleep(0)
        if not process.recorded and not process.transient:
            await self._journal.running(process.row(self.container_id))
            process.recorded = True

    async def created(self, process: Process) -> None:
        """Record that a client made a process."""
        assert process.spec is not None
        await self._journal.created(
            self.container_id, self.boot_id, process.process_id, process.spec
        )

    async def take_health(self, boot_id: str, health: health_pb2.Health) -> None:
        """Take in the state of the workload's health. Raises InvalidArgument for what can't be."""
        if boot_id != self.boot_id or self.removed or health == self._health:
            return
        if len(health.results) > MAX_RESULTS or health.ByteSize() > MAX_HEALTH_BYTES:
            raise InvalidArgument("the results of a health check are too long")
        if health.status not in health_pb2.HealthStatus.values():
            raise InvalidArgument("no such status of health")
        self._health = health
        await self._journal.health(self.container_id, boot_id, health)

    async def failed(self, boot_id: str, process_id: str, failure: LaunchFailure) -> None:
        """Take in that a process could not be started."""
        process = self._find(boot_id, process_id)
        if process is not None and process.phase is Phase.NEW:
            process.failure = failure
            process.end(Phase.FAILED)
            self.tell()
            if process.of_a_client:
                now = time.time_ns()
                process.exit = Exit(failure.exit_code, oom_killed=False, finished_ns=now)
                await self._journal.running(process.row(self.container_id))
        control = self._controls.get(boot_id)
        # That of the init process is on no record, and its tether keeps it for who asks again.
        if control is not None and process_id != INIT:
            control.acknowledge_exit(process_id)

    async def exited(self, boot_id: str, process_id: str, how: Exit) -> None:
        """Take in that a process has ended: record it after its last byte, and acknowledge it."""
        process = self._find(boot_id, process_id)
        if process is not None and not process.over:
            if process.ending:
                return
            process.ending = True
            try:
                await self._end(process, how)
            finally:
                process.ending = False
        control = self._controls.get(boot_id)
        if control is not None:
            control.acknowledge_exit(process_id)

    async def _end(self, process: Process, how: Exit) -> None:
        streams = process.streams
        await streams.changed.wait_for(lambda: streams.ended or not streams.connections)
        if process.exit is None and not self.removed:
            process.exit = how
            # The tether may go meanwhile; what it said is recorded all the same.
            await asyncio.shield(self._record_end(process))

    async def _record_end(self, process: Process) -> None:
        try:
            await self._put_end(process)
        except BaseException:
            process.exit = None
            raise
        process.end(Phase.ENDED)
        self.tell()
        if process.process_id == INIT:
            await self._container_log.close()

    async def _put_end(self, process: Process) -> None:
        if not process.transient:
            await self._journal.ended(process.row(self.container_id))

    def _find(self, boot_id: str, process_id: str) -> Process | None:
        if boot_id != self.boot_id or self.removed:
            return None
        return self.processes.get(process_id)

    def enter(self, limit: int) -> None:
        """Count a stream of the tether. Raises ResourceExhausted when there are too many."""
        if self.open_streams >= limit:
            raise ResourceExhausted(f"more than {limit} streams of one virtual machine")
        self.open_streams += 1

    def leave(self) -> None:
        """Count a stream of the tether as ended."""
        self.open_streams -= 1


def not_running(container_id: str) -> FailedPrecondition:
    """Return the error of a call that needs a running process."""
    return FailedPrecondition(f"container {container_id} is not running", Reason.NOT_RUNNING)

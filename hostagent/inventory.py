"""The machines that run: found again after a restart, watched, and cleaned up after.

Whatever happens to a machine ends in one place, :meth:`Inventory.ended`: its exit goes into the
journal first, and only then is what was made for it removed. Both can be repeated, so an agent that
is killed in between leaves the rest to the next one.
"""

import asyncio
import logging
import os
import select
import signal
import socket
import sqlite3
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hostagent import journal
from hostagent.cgroups import MachineGroups
from hostagent.journal import ExitCause, Journal
from hostagent.layout import Layout
from hostagent.leaving import Leaving
from hostagent.machine import MachineKind
from hostagent.mirror import Mirror
from hostagent.outputs import GrowthWatch, Outputs
from hostagent.processes import ExitStatus, WatchedProcess
from hostagent.records import Record, RecordStore
from hostagent.tetherport import Report, TetherPort
from hostagent.users import MachineUsers

log = logging.getLogger("vic.inventory")

TAIL_BYTES = 2048
# In an error's message, in characters.
MOST_WORDS = 500
ORPHAN_SECONDS = 5.0
RETRY_SECONDS = 2.0


@dataclass(eq=False)
class LiveMachine:
    """A machine that runs, by what we know of it."""

    record: Record
    process: WatchedProcess
    port: TetherPort | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has ended and nothing is left of it."""
    leaving: Leaving = field(default_factory=Leaving)
    mirror: Mirror | None = None
    """While it warms up."""
    unrecorded: bool = False
    """Whether it has ended and that could not be written down yet."""
    _program: tuple[int, int] | None = None

    @property
    def program(self) -> tuple[int, int] | None:
        """Device and inode of its QEMU, looked up once; None where it has ended."""
        if self._program is None:
            self._program = self.process.program(self.record.process)
        return None if self.process.ended.is_set() else self._program

    def end_mirror(self) -> None:
        """Leave it alone. Idempotent."""
        if self.mirror is not None:
            self.mirror.close()
            self.mirror = None


class Inventory:
    """All machines of the instance."""

    def __init__(
        self,
        layout: Layout,
        records: RecordStore,
        journal: Journal,
        users: MachineUsers,
        groups: MachineGroups,
        outputs: Outputs,
    ) -> None:
        self.records = records
        self.journal = journal
        self._layout = layout
        self._users = users
        self._groups = groups
        self._outputs = outputs
        self._live: dict[str, LiveMachine] = {}
        self._watches: list[GrowthWatch] = []

    def find(self, machine_id: str) -> LiveMachine | None:
        """Return a running machine."""
        return self._live.get(machine_id)

    def live(self) -> list[LiveMachine]:
        """Return all running machines."""
        return list(self._live.values())

    def outdated(self, program: tuple[int, int]) -> int:
        """Return how many machines of containers run another QEMU than this one."""
        kinds = (MachineKind.COLD, MachineKind.CLONE)
        running = (one.program for one in self._live.values() if one.record.kind in kinds)
        return sum(1 for found in running if found not in (None, program))

    def recover(self) -> None:
        """Find the machines of the agent before us, report those that ended, sweep what is left."""
        records = list(self.records.load())
        renamed = {
            record.process
            for record in records
            if isinstance(record, Record) and record.kind is not MachineKind.READY
        }
        for record in records:
            if isinstance(record, Path):
                log.error("record %s can't be read; its machine will be ended", record)
                record.unlink()
                continue
            if record.kind is MachineKind.READY and record.process in renamed:
                # It had just become a container's.
                self.records.delete(record.machine_id)
                continue
            self._users.claim(record.uid)
            pidfd = record.process.open()
            if pidfd is None:
                here = record.process.of_this_boot
                found = ExitCause.FOUND_DEAD if here else ExitCause.HOST_RESTARTED
                self._found_ended(replace(record, cause=record.cause or found))
            else:
                self._adopt(record, pidfd)
        self._sweep()
        self._watches = self._outputs.watch(self._violated, self._spoken)
        for machine_id in self._live:
            self._spoken(machine_id)

    def close(self) -> None:
        """Let go of all machines; they run on."""
        for watch in self._watches:
            watch.close()
        for live in self._live.values():
            live.process.abandon()
            live.leaving.forget()
            live.end_mirror()
            if live.port is not None:
                live.port.close()

    def add(self, live: LiveMachine, port: socket.socket) -> None:
        """Know a machine that has just begun to run."""
        record = live.record
        # First what can fail: the machine is ended then, and must not be known.
        self.journal.append(
            journal.LAUNCHED, record.machine_id, record.launch_id, {"pid": record.process.pid}
        )
        live.port = TetherPort(port, partial(self._reported, live))
        self._live[record.machine_id] = live

    def become(self, live: LiveMachine, record: Record) -> None:
        """Know a machine by another name, and as another kind, from now on. Raises OSError.

        Whatever happens to us meanwhile, the next agent finds it by one of the two records.
        """
        former = live.record.machine_id
        self.records.save(record)
        del self._live[former]
        live.record = record
        self._live[record.machine_id] = live
        self.records.delete(former)
        self._outputs.rename(former, record.machine_id)
        self.journal.append(
            journal.LAUNCHED, record.machine_id, record.launch_id, {"pid": record.process.pid}
        )

    def change(self, live: LiveMachine, record: Record) -> None:
        """Write down what has changed of a machine. Raises OSError."""
        live.record = record
        self.records.save(record)

    def kill(self, live: LiveMachine, cause: ExitCause) -> None:
        """Kill a machine, which runs no more then; it takes some time until it is gone."""
        live.process.kill()
        if not live.record.cause:
            try:
                self.change(live, replace(live.record, cause=cause))
            except OSError as error:
                # Only another agent, if one comes before its end is recorded, tells another cause.
                log.warning("why %s is ended can't be kept: %s", live.record.machine_id, error)

    async def end(self, live: LiveMachine, cause: ExitCause) -> None:
        """Kill a machine and wait until nothing is left of it."""
        self.kill(live, cause)
        await live.gone.wait()

    def last_words(self, machine_id: str) -> str:
        """Return the end of a machine's console, where QEMU says why it ends, as one line."""
        return " ".join(self._tail(machine_id).decode("utf-8", "replace").split())[-MOST_WORDS:]

    def ended(self, live: LiveMachine, status: ExitStatus) -> None:
        """Report a machine's end and clean up after it."""
        live.leaving.forget()
        live.end_mirror()
        if live.port is not None:
            live.port.close()
        try:
            self._finish(live.record, live.record.cause or ExitCause.ENDED, status)
        except (OSError, sqlite3.Error) as error:
            # The disk is full, most likely: the exit must not be lost for that.
            if not live.unrecorded:
                message = "the end of %s can't be recorded yet: %s"
                log.error(message, live.record.machine_id, error)
            live.unrecorded = True
            loop = asyncio.get_running_loop()
            loop.call_later(RETRY_SECONDS, self.ended, live, status)
        else:
            self._live.pop(live.record.machine_id, None)
            live.gone.set()

    def _finish(self, record: Record, cause: str, status: ExitStatus) -> None:
        machine_id = record.machine_id
        self.journal.append(
            journal.EXITED,
            machine_id,
            record.launch_id,
            {"cause": str(cause), "code": status.code, "signal": status.signal},
            record=self._outputs.exit_record(machine_id),
            tail=self._tail(machine_id),
        )
        log.info(
            "machine ended",
            extra={"machine_id": machine_id, "cause": str(cause), "code": status.code},
        )
        self._outputs.end(machine_id, self._live)
        Path(record.qmp_path).unlink(missing_ok=True)
        try:
            self._groups.remove(record.group)
        except OSError as error:
            # The next agent's sweep finds it again.
            log.warning("cgroup %s is left: %s", record.group, error)
        self.records.delete(machine_id)
        self._users.release(record.uid)

    def _tail(self, machine_id: str) -> bytes:
        with suppress(FileNotFoundError):
            return self._outputs.console(machine_id, TAIL_BYTES)
        return b""

    def _found_ended(self, record: Record) -> None:
        """Report a machine that nobody saw ending; it is known until that is recorded."""
        live = LiveMachine(record, WatchedProcess(None, lambda _status: None))
        self._live[record.machine_id] = live
        self.ended(live, ExitStatus())

    def _adopt(self, record: Record, pidfd: int) -> None:
        # The callback needs the machine and the machine the process: the machine comes second.
        made: list[LiveMachine] = []
        process = WatchedProcess(pidfd, lambda status: self.ended(made[0], status))
        live = LiveMachine(record, process)
        made.append(live)
        self._live[record.machine_id] = live
        if record.kind.is_nameless:
            # The memory a parent boots in was the last agent's to seal; a template ends with its
            # forker; whether a ready machine was being made a container's nobody knows any more.
            self.kill(live, ExitCause.KILLED)
            return
        try:
            port = socket.socket(fileno=process.descriptor_of(record.config_peer))
        except OSError as error:
            log.warning("the tether of %s can't be heard: %s", record.machine_id, error)
        else:
            live.port = TetherPort(port, partial(self._reported, live))

    def _sweep(self) -> None:
        """Remove what bears our instance's name and belongs to no machine that runs."""
        for name in self._groups.machines() - {live.record.group for live in self._live.values()}:
            self._end_orphans(name)
            with suppress(OSError):
                self._groups.remove(name)
        sockets = {live.record.qmp_path for live in self._live.values()}
        for path in self._layout.sockets.iterdir():
            if str(path) not in sockets:
                path.unlink()
        self._outputs.sweep(self._live)

    def _end_orphans(self, group: str) -> None:
        for pid in self._groups.pids(group):
            with suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                # Still in our group: then the descriptor is of the process that we mean.
                if pid in self._groups.pids(group):
                    log.warning("process %d in %s belongs to no machine and is ended", pid, group)
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    poll = select.poll()
                    poll.register(pidfd, select.POLLIN)
                    poll.poll(ORPHAN_SECONDS * 1000)
                os.close(pidfd)

    def _reported(self, live: LiveMachine, report: Report) -> None:
        live.end_mirror()
        record = replace(live.record, tether_state=report.state, tether_error=report.error)
        self.change(live, record)
        fields = {"state": report.state, "error": report.error}
        self.journal.append(journal.REPORTED, record.machine_id, record.launch_id, fields)

    def _spoken(self, machine_id: str) -> None:
        """See that a machine that says its last word goes."""
        live = self._live.get(machine_id)
        if live is not None and not live.process.ended.is_set():
            live.leaving.look(self._outputs, machine_id, partial(self._dismiss, live))

    def _dismiss(self, live: LiveMachine) -> None:
        if not live.gone.is_set() and not live.record.cause:
            log.warning("machine %s does not power off and is ended", live.record.machine_id)
            self.kill(live, ExitCause.KILLED)

    def _violated(self, machine_id: str) -> None:
        live = self._live.get(machine_id)
        if live is not None:
            log.warning("machine %s floods its exit port and is ended", machine_id)
            self.kill(live, ExitCause.VIOLATION)

"""Follows what interaction and the hypervisor tell, for as long as the service lives."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import asynccontextmanager

from vic.interaction.v1 import process_pb2

from portlayer.errors import OutOfRange, VicError, domain_errors, leaf_error
from services.exec.drivers import Hypervisor
from services.exec.exitrecord import Exit
from services.exec.exits import INIT, Exits
from services.exec.facts import Facts
from services.exec.intake import Intake
from services.exec.peers import Peers
from services.exec.reconcile import Reconciler
from services.exec.reports import Reports
from services.exec.store import REPORTS

log = logging.getLogger("vic.exec.watching")

PROCESSES = "interaction"
MACHINES = "hypervisor"
# Between attempts while a peer is away; it is back within seconds after a restart.
RETRY_SECONDS = 0.5


class Watching:
    """Takes in exits from both sources, and remembers how far it has come."""

    def __init__(
        self,
        facts: Facts,
        peers: Peers,
        hypervisor: Hypervisor,
        exits: Exits,
        reports: Reports,
        reconciler: Reconciler,
    ) -> None:
        self._facts = facts
        self._peers = peers
        self._hypervisor = hypervisor
        self._exits = exits
        self._reports = reports
        self._reconciler = reconciler
        self._works: set[asyncio.Task[None]] = set()
        # The one that takes in the ends of VMs at present.
        self._machines: Intake | None = None

    async def run(self) -> None:
        """Follow both sources; never returns."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forever(PROCESSES, self._follow_processes))
            group.create_task(self._forever(MACHINES, self._follow_machines))

    async def _forever(self, source: str, follow: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await follow()
            except Exception as failure:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    # Python 3.11's groups forget it when a task of theirs fails meanwhile.
                    raise asyncio.CancelledError from failure
                error = leaf_error(failure)
                if not isinstance(error, VicError):
                    raise
                log.info("cannot follow %s: %s", source, error.message)
                if isinstance(error, OutOfRange):
                    await self._begin_anew(source)
            # Nothing tells when a peer is back; the channel's own backoff bounds the attempts too.
            await asyncio.sleep(RETRY_SECONDS)
            self._reconciler.doubt()

    async def _begin_anew(self, source: str) -> None:
        """Take in that a source's history no longer reaches back to where we were.

        What was missed, comparing finds out. Where the database is away the source says so again.
        """
        try:
            await self._facts.set_position(source, 0)
            if source == PROCESSES:
                await self._facts.set_position(REPORTS, 0)
        except VicError as error:
            log.warning("cannot follow %s anew: %s", source, error.message)

    async def _follow_processes(self) -> None:
        async def confirm(sequence: int) -> None:
            await self._facts.set_position(PROCESSES, sequence)
            await self._peers.processes.Acknowledge(
                process_pb2.AcknowledgeRequest(sequence=sequence)
            )

        position = await self._facts.position(PROCESSES)
        request = process_pb2.WatchRequest(after_sequence=position)
        async with self._confirming(confirm) as intake:
            async for response in self._peers.processes.Watch(request, wait_for_ready=True):
                if response.WhichOneof("message") == "event":
                    await intake.take(response.event.sequence, self._process_event(response.event))

    def _process_event(self, event: process_pb2.ProcessEvent) -> Coroutine[None, None, None] | None:
        if event.command or event.HasField("health"):
            return self._reports.take(event)
        if event.process_id != INIT or event.WhichOneof("event") != "ended":
            return None
        how = Exit(
            event.ended.exit_code,
            event.ended.oom_killed,
            event.ended.finished_at.ToNanoseconds(),
        )
        return self._exits.process_ended(event.container_id, event.boot_id, how)

    async def _follow_machines(self) -> None:
        async def confirm(sequence: int) -> None:
            await self._facts.set_position(MACHINES, sequence)
            await self._hypervisor.forget_exits(sequence)

        position = await self._facts.position(MACHINES)
        try:
            async with self._confirming(confirm) as intake:
                self._machines = intake
                async for sequence, exited in self._hypervisor.exits(position):
                    if exited is not None:
                        await intake.take(sequence, self._exits.machine_exited(exited))
                    else:
                        await intake.take(sequence, self._catch_up(intake, intake.in_hand()))
        finally:
            self._machines = None
            self._exits.caught_up = False

    async def _catch_up(self, intake: Intake, history: Collection[asyncio.Task[None]]) -> None:
        """Tell, when the history is taken in, that an end we don't know of is lost."""
        if history:
            await asyncio.wait(history)
        if self._machines is intake:
            self._exits.caught_up = True
            self._reconciler.doubt()

    @asynccontextmanager
    async def _confirming(self, confirm: Callable[[int], Awaitable[None]]) -> AsyncIterator[Intake]:
        """Give an intake that confirms meanwhile. Raises groups of domain and other errors."""
        intake = Intake(confirm, self._works)
        async with asyncio.TaskGroup() as group:
            confirming = group.create_task(intake.run())
            with domain_errors():
                yield intake
            confirming.cancel()

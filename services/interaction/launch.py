"""Running a process in a VM through its tether, and telling what became of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from vic.tether.v1 import process_pb2, tether_pb2

from portlayer.errors import InvalidArgument, Reason
from services.interaction.control import ControlStream, tether_away
from services.interaction.listing import ProcessTable
from services.interaction.processes import INIT, Phase, Process
from services.interaction.race import all_of
from services.interaction.sessions import Session, not_running
from services.interaction.store import InteractionStore
from services.interaction.waiting import WaitingTethers

log = logging.getLogger("vic.interaction.launch")

# A tether that was cut off is back within two seconds.
AWAY_SECONDS: Final = 5.0
# For the answer of one that is there; a guest that shares two cores with a hundred that are busy
# takes many seconds to come to it. Below the deadline of who names none.
ANSWER_SECONDS: Final = 45.0


@dataclass(frozen=True)
class Launched:
    """A process that was started."""

    pid: int
    started_ns: int
    kernel_release: str


class Launcher:
    """Starts processes and sends them commands."""

    def __init__(self, store: InteractionStore, tethers: WaitingTethers) -> None:
        self._store = store
        self._tethers = tethers

    async def launch(
        self,
        session: Session,
        boot_id: str,
        command: tether_pb2.LaunchCommand,
        seconds: float,
        *,
        tether_id: str = "",
    ) -> Launched:
        """Run a process, or return what became of it when that was asked before.

        With init and a ``tether_id`` the boot's tether is one that has waited under that name.
        Raises FailedPrecondition (LAUNCH_FAILED, NOT_RUNNING; WRONG_STATE where that is another
        boot's) and Unavailable (TETHER_AWAY) when nothing was heard of the tether of that boot in
        time.
        """
        process_id = command.process_id
        async with _answered(session, seconds):
            if process_id == INIT and boot_id != session.boot_id:
                await self._name_tether(session, boot_id, tether_id)
                await session.retire(session.boot_id)
                session.adopt(boot_id)
                process = session.prepare(boot_id, process_id)
                # Who restarts this service now must find the boot, or its tether is not believed.
                launched: Launched
                _, launched = await all_of(
                    self._store.set_boot(session.container_id, boot_id),
                    self._run(session, process, command),
                )
                return launched
            process = session.prepare(boot_id, process_id)
            return await self._run(session, process, command)

    async def admit(
        self, session: Session, boot_id: str, seconds: float, *, tether_id: str = ""
    ) -> None:
        """Make a boot the present one that has no init process; return when its tether is there.

        Raises Unavailable (TETHER_AWAY) when nothing was heard of it in time, and as ``launch``
        does with a ``tether_id``.
        """
        async with _answered(session, seconds):
            if boot_id != session.boot_id:
                await self._name_tether(session, boot_id, tether_id)
                await session.retire(session.boot_id)
                session.adopt(boot_id)
                await self._store.set_boot(session.container_id, boot_id)
            await session.tether(boot_id)

    async def _name_tether(self, session: Session, boot_id: str, tether_id: str) -> None:
        """Record which tether speaks for a boot, before a word goes to it."""
        if tether_id:
            await self._tethers.give(tether_id, session.container_id, boot_id)

    async def _run(
        self,
        session: Session,
        process: Process,
        command: tether_pb2.LaunchCommand,
    ) -> Launched:
        boot_id = process.boot_id
        while True:
            control = await session.tether(boot_id)
            if process.phase is Phase.NEW:
                control.launch(command)
            await _settled(session, process, control)
            if process.failure is not None:
                raise process.failure.error()
            if session.boot_id != boot_id and not process.started_ns:
                raise not_running(session.container_id)
            if process.phase is not Phase.NEW:
                return Launched(process.pid, process.started_ns, control.kernel_release)

    async def signal(self, session: Session, process_id: str, number: int) -> None:
        """Send a signal. Raises FailedPrecondition (NOT_RUNNING), Unavailable (TETHER_AWAY)."""
        process = running_process(session, process_id)
        async with _tether(session, process.boot_id) as control:
            error = await control.signal(process_id, number)
        if error:
            raise not_running(session.container_id)

    async def resize(
        self, session: Session, process_id: str, window: process_pb2.WindowSize
    ) -> None:
        """Set a terminal's size. Raises FailedPrecondition (NOT_RUNNING), Unavailable."""
        process = running_process(session, process_id)
        async with _tether(session, process.boot_id) as control:
            error = await control.resize(process_id, window)
        if error:
            raise not_running(session.container_id)

    async def top(self, session: Session, ps_args: Sequence[str]) -> ProcessTable:
        """List the processes.

        Raises FailedPrecondition (NOT_RUNNING), InvalidArgument, Unavailable (TETHER_AWAY).
        """
        process = running_process(session, INIT)
        async with _tether(session, process.boot_id) as control:
            return await control.top(ps_args)

    async def update_limits(self, session: Session, limits: process_pb2.WorkloadLimits) -> None:
        """Set the workload's limits. Raises InvalidArgument, Unavailable (TETHER_AWAY)."""
        if not session.boot_id:
            raise tether_away(session.container_id)
        async with _tether(session, session.boot_id) as control:
            error = await control.update_limits(limits)
        if error:
            raise InvalidArgument(error, Reason.INVALID_SPEC)

    async def power_off(self, session: Session) -> None:
        """Ask to power the VM off. Raises Unavailable (TETHER_AWAY)."""
        if not session.boot_id:
            raise tether_away(session.container_id)
        async with _tether(session, session.boot_id) as control:
            control.power_off()


def running_process(session: Session, process_id: str) -> Process:
    """Return a process that runs. Raises FailedPrecondition (NOT_RUNNING)."""
    process = session.processes.get(process_id)
    if process is None or not process.running:
        raise not_running(session.container_id)
    return process


async def _settled(session: Session, process: Process, control: ControlStream) -> None:
    """Return when a process has started or can't, or when it has to be asked for again."""
    await session.changed.wait_for(
        lambda: (
            process.phase is not Phase.NEW
            or session.boot_id != process.boot_id
            or session.control(process.boot_id) is not control
        )
    )


@asynccontextmanager
async def _tether(session: Session, boot_id: str) -> AsyncIterator[ControlStream]:
    """Reach the tether of a boot, which has some time to answer. Raises Unavailable."""
    async with _answered(session, AWAY_SECONDS):
        control = await session.tether(boot_id)
    async with _answered(session, ANSWER_SECONDS):
        yield control


@asynccontextmanager
async def _answered(session: Session, seconds: float) -> AsyncIterator[None]:
    """Turn waiting in vain for a tether into its error."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise tether_away(session.container_id) from None

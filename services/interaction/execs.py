"""Additional processes that clients make, start and ask about."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from typing import Final

from opentelemetry.trace import SpanKind
from vic.interaction.v1 import interaction_pb2
from vic.tether.v1 import process_pb2, tether_pb2

from portlayer.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
)
from portlayer.telemetry import current_span
from services.interaction.launch import Launcher
from services.interaction.processes import Phase, Process
from services.interaction.registry import Sessions
from services.interaction.sessions import MAX_PROCESSES, Session, not_running
from services.interaction.store import InteractionStore

_ID: Final = re.compile(r"[0-9a-f]{64}")
# As long as dockerd remembers one that has ended, and as one that nobody starts may wait.
KEPT_SECONDS: Final = 600
# Of a container's that have ended; dockerd has no such number, nor a database of them.
MOST_ENDED: Final = 1000
# So many more are forgotten together, with one statement.
_AT_ONCE: Final = 100
# A tether answers within milliseconds; it has longer where its VM is short of CPU.
LAUNCH_SECONDS: Final = 60.0
# How long a terminal's size waits for somebody to start its process: dockerd's.
CLAIM_SECONDS: Final = 10.0


class Execs:
    """Additional processes of all containers."""

    def __init__(self, sessions: Sessions, launcher: Launcher, store: InteractionStore) -> None:
        self._sessions = sessions
        self._launcher = launcher
        self._store = store

    def get(self, exec_id: str) -> tuple[Session, Process]:
        """Return an additional process and its container. Raises NotFound (EXEC_NOT_FOUND)."""
        for session in self._sessions:
            process = session.execs.get(exec_id)
            if process is not None:
                return session, process
        raise NotFound(f"No such exec instance: {exec_id}", Reason.EXEC_NOT_FOUND)

    async def create(self, request: interaction_pb2.CreateExecRequest) -> Process:
        """Make an additional process that is to be started later."""
        container_id = request.container_id
        session = self._sessions.get(container_id)
        exec_id = request.exec_id or secrets.token_hex(32)
        if not _ID.fullmatch(exec_id):
            raise InvalidArgument("an exec's ID has 64 hexadecimal digits")
        if not request.process.args:
            raise InvalidArgument("No exec command specified", Reason.NO_COMMAND)
        serialized = _stored(request)
        known = self._known(exec_id)
        if known is not None:
            owner, process = known
            if owner is session and process.spec == serialized:
                return process
            raise AlreadyExists(f"exec {exec_id} exists")
        if not session.running:
            raise not_running(container_id)
        await self._forget_old(session)
        if sum(not process.over for process in session.execs.values()) >= MAX_PROCESSES:
            raise FailedPrecondition(f"more than {MAX_PROCESSES} execs", Reason.LIMIT_EXCEEDED)
        process = session.execs[exec_id] = Process(exec_id, serialized)
        await session.created(process)
        return process

    def claim(self, exec_id: str) -> tuple[Session, Process]:
        """Return an additional process that the caller alone starts.

        Raises NotFound (EXEC_NOT_FOUND) and FailedPrecondition (WRONG_STATE, NOT_RUNNING).
        """
        session, process = self.get(exec_id)
        if process.over:
            raise FailedPrecondition(f"Error: Exec command {exec_id} has already run")
        if process.claimed or process.phase is not Phase.NEW:
            raise FailedPrecondition(f"Error: Exec command {exec_id} is already running")
        if not session.running:
            raise not_running(session.container_id)
        process.claimed = True
        session.changed.beat()
        return session, process

    async def run(
        self, session: Session, process: Process, window: process_pb2.WindowSize | None = None
    ) -> None:
        """Start a claimed process. Raises what launching raises."""
        spec = asked(process).process
        if window is not None:
            spec.window.CopyFrom(window)
        with current_span("tether/Launch", None, SpanKind.CLIENT):
            await self._launcher.launch(
                session,
                session.boot_id,
                tether_pb2.LaunchCommand(process_id=process.process_id, process=spec),
                LAUNCH_SECONDS,
            )

    def unended(self, container_id: str) -> list[str]:
        """Return the IDs of a container's additional processes that have not ended."""
        execs = self._sessions.get(container_id).execs
        return [exec_id for exec_id, process in execs.items() if not process.over]

    async def settled(self, session: Session, exec_id: str) -> None:
        """Return when an additional process has been started.

        Raises DeadlineExceeded (EXEC_NOT_STARTED) when nobody starts it, FailedPrecondition
        (LAUNCH_FAILED) when it can't be.
        """
        process = session.execs.get(exec_id)
        if process is None:
            return
        await _within(CLAIM_SECONDS, session, lambda: process.claimed or not _waits(process))
        await _within(LAUNCH_SECONDS, session, lambda: not _waits(process))
        if process.phase is Phase.FAILED:
            raise FailedPrecondition("exec process is not started", Reason.LAUNCH_FAILED)

    async def ended(self, session: Session, process: Process) -> None:
        """Return when a process's life has ended and that is on record."""
        with current_span("tether/Exit", None, SpanKind.CLIENT):
            await session.changed.wait_for(lambda: process.over)

    def _known(self, exec_id: str) -> tuple[Session, Process] | None:
        try:
            return self.get(exec_id)
        except NotFound:
            return None

    async def _forget_old(self, session: Session) -> None:
        now = time.monotonic()
        old = [
            exec_id
            for exec_id, process in session.execs.items()
            if not process.running and process.since + KEPT_SECONDS < now
        ]
        ended = [exec_id for exec_id, process in session.execs.items() if process.over]
        if len(ended) >= MOST_ENDED + _AT_ONCE:
            ended.sort(key=lambda exec_id: session.execs[exec_id].since)
            old = list({*old, *ended[:-MOST_ENDED]})
        if not old:
            return
        for exec_id in old:
            del session.execs[exec_id]
            session.processes.pop(exec_id, None)
        await self._store.remove_processes(session.container_id, old)


async def _within(seconds: float, session: Session, holds: Callable[[], bool]) -> None:
    """Return when something holds, or nothing runs any more in the container."""
    try:
        async with asyncio.timeout(seconds):
            await session.changed.wait_for(lambda: holds() or not session.running)
    except TimeoutError:
        message = "timeout waiting for exec session ready"
        raise DeadlineExceeded(message, Reason.EXEC_NOT_STARTED) from None


def _waits(process: Process) -> bool:
    return process.phase is Phase.NEW


def asked(process: Process) -> interaction_pb2.CreateExecRequest:
    """Return what a client asked of an additional process, without the IDs."""
    return interaction_pb2.CreateExecRequest.FromString(process.spec or b"")


def _stored(request: interaction_pb2.CreateExecRequest) -> bytes:
    kept = interaction_pb2.CreateExecRequest()
    kept.CopyFrom(request)
    kept.ClearField("container_id")
    kept.ClearField("exec_id")
    return kept.SerializeToString(deterministic=True)

"""One process of a container VM."""

import time
from dataclasses import dataclass
from enum import Enum

from portlayer.errors import FailedPrecondition, Reason
from services.interaction.logstore import ContainerLog
from services.interaction.store import Exit, ProcessRow
from services.interaction.streams import ProcessStreams

INIT = "init"
"""Process ID of every container's first process."""

FILES = "files-"
"""How the process IDs of work on a container's files begin; 64 hexadecimal digits follow."""

KILLED = 137
"""Exit code of a process that went with its VM, as if SIGKILL had ended it."""


class Phase(Enum):
    """How far a process has come."""

    NEW = "created"
    """Not known to run; it may have been asked for."""
    RUNNING = "running"
    FAILED = "failed"
    """It could not be started."""
    ENDED = "ended"


@dataclass(frozen=True)
class LaunchFailure:
    """Why a process could not be started."""

    failure: str
    """Name in vic.tether.v1.LaunchFailure."""
    message: str
    exit_code: int

    def error(self) -> FailedPrecondition:
        """Return it as callers get it."""
        return FailedPrecondition(
            self.message,
            Reason.LAUNCH_FAILED,
            exit_code=str(self.exit_code),
            failure=self.failure,
        )


class Process:
    """A process and its streams. Its session changes it and tells of it."""

    def __init__(self, process_id: str, spec: bytes | None = None) -> None:
        self.process_id = process_id
        self.spec = spec
        """What a client asked for when it made it; None when exec launched it."""
        self.boot_id = ""
        self.phase = Phase.NEW
        self.pid = 0
        self.started_ns = 0
        self.failure: LaunchFailure | None = None
        self.exit: Exit | None = None
        self.streams = ProcessStreams()
        self.since = time.monotonic()
        """When it was made, or ended."""
        self.claimed = False
        """Whether a client is starting it."""
        self.recorded = False
        """Whether it is on record that it runs."""
        self.ending = False
        """Whether its exit is being taken in."""

    @property
    def of_a_client(self) -> bool:
        """Whether a client made it, rather than exec."""
        return self.spec is not None

    @property
    def transient(self) -> bool:
        """Whether nothing is recorded of it: work on files, which its client's going ends."""
        return self.process_id.startswith(FILES)

    @property
    def running(self) -> bool:
        """Whether it runs, as far as is known."""
        return self.phase is Phase.RUNNING

    @property
    def over(self) -> bool:
        """Whether its life has ended, one way or the other."""
        return self.phase in (Phase.FAILED, Phase.ENDED)

    def end(self, phase: Phase) -> None:
        """Be over."""
        self.phase = phase
        self.since = time.monotonic()
        self.streams.hang_up()
        self.streams.stdin.close()

    def begin(self, boot_id: str, log: ContainerLog | None) -> None:
        """Belong to a boot from now on."""
        self.boot_id = boot_id
        self.streams.begin(boot_id, log)

    def row(self, container_id: str) -> ProcessRow:
        """Return what is kept of it through restarts."""
        return ProcessRow(
            container_id=container_id,
            process_id=self.process_id,
            boot_id=self.boot_id,
            spec=self.spec,
            pid=self.pid,
            started_ns=self.started_ns,
            exit=self.exit,
        )

    def restore(self, row: ProcessRow) -> None:
        """Become what a row says."""
        self.spec = row.spec
        self.pid, self.started_ns, self.exit = row.pid, row.started_ns, row.exit
        if row.exit is not None:
            self.phase = Phase.ENDED
            self.streams.finish()
        elif row.started_ns:
            self.phase = Phase.RUNNING
        self.recorded = row.started_ns != 0

"""Where the agent keeps what: DATA/hostagent."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from hostagent.users import EXEC, first_uid


@dataclass(frozen=True)
class Layout:
    """The agent's directory. All of it is root's alone, but for the way to the QMP sockets."""

    directory: Path
    slot: int

    @property
    def machines(self) -> Path:
        """Records of running machines."""
        return self.directory / "machines"

    @property
    def consoles(self) -> Path:
        """Serial consoles."""
        return self.directory / "consoles"

    @property
    def exits(self) -> Path:
        """Exit records of running machines."""
        return self.directory / "exits"

    @property
    def parents(self) -> Path:
        """Memory and device state of sealed parents."""
        return self.directory / "parents"

    @property
    def sockets(self) -> Path:
        """QMP sockets."""
        return self.directory / "qmp"

    @property
    def empty(self) -> Path:
        """Nothing: launchers mount their root file systems over it, each unseen by all others."""
        return self.directory / "root"

    @property
    def journal(self) -> Path:
        """What happened to machines."""
        return self.directory / "journal.db"

    @property
    def accelerator(self) -> Path:
        """The verdict of the last trial."""
        return self.directory / "accelerator.json"

    @property
    def allocation(self) -> Path:
        """What the instance was given of the host."""
        return self.directory / "allocation.json"

    @property
    def exec_uid(self) -> int:
        """User ID of the exec service, which alone may connect to a QMP socket."""
        return first_uid(self.slot) + EXEC

    def prepare(self) -> None:
        """Make what is missing. Raises OSError."""
        private = (self.machines, self.consoles, self.exits, self.parents, self.empty)
        for path, mode in (
            (self.directory, 0o711),
            (self.sockets, 0o711),
            *((path, 0o700) for path in private),
        ):
            path.mkdir(mode=mode, exist_ok=True)
            os.chown(path, 0, 0)
            path.chmod(mode)

    def qmp_socket(self, machine_id: str, launch_id: str) -> Path:
        """Return the socket of a launch: a path of bounded length, since a socket's has 107.

        Of one launch alone: who still speaks to a former one reaches nobody.
        """
        name = hashlib.sha256(f"{machine_id} {launch_id}".encode()).hexdigest()[:16]
        return self.sockets / f"{name}.sock"

"""One JSON file a running machine: what is needed to find it again and to clean up after it."""

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hostagent.machine import Accelerator, MachineKind, Nic, Shape
from hostagent.processes import ProcessName

VERSION = 1


@dataclass(frozen=True)
class PluggedNic:
    """A NIC that was plugged in, and the spare port that it was put into."""

    port: int
    tap_name: str
    mac_address: str


@dataclass(frozen=True)
class Record:
    """A machine that was launched and whose end has not been dealt with."""

    machine_id: str
    launch_id: str
    kind: MachineKind
    shape: Shape
    shape_key: str
    parent_id: str
    accelerator: Accelerator
    nics: tuple[Nic, ...]
    identity: bytes
    fingerprint: str
    """Digest of the request, to tell a repeated call from another one."""
    process: ProcessName
    uid: int
    group: str
    """Name of its cgroup."""
    qmp_path: str
    incoming_uri: str
    config_peer: int
    """Number of QEMU's descriptor whose other end is the port ``vic.config``."""
    disk: tuple[int, int] | None
    """Device and inode of the machine's own disk."""
    launched_ns: int
    tether_state: str = ""
    tether_error: str = ""
    cause: str = ""
    """Why it is being ended; empty while nobody ends it."""
    turn: int = 0
    """Of who launched it (:mod:`portlayer.fencing`); zero where nobody takes turns."""
    plugged: tuple[PluggedNic, ...] = ()
    """Written before it is done: QEMU knows what there is."""
    connected: bool = False
    """Whether its tether has dialled, or dials, under the name that the machine had waited by."""
    surrounded: int = 0
    """Number of the last change of the container's surroundings that its tether was told of."""


class RecordStore:
    """The directory of the records."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, record: Record) -> None:
        """Write a record, in one step."""
        fields = asdict(record)
        fields["identity"] = base64.b64encode(record.identity).decode()
        path = self._path(record.machine_id)
        staged = path.with_suffix(".new")
        staged.write_text(json.dumps({"version": VERSION, **fields}, indent=1))
        os.replace(staged, path)

    def delete(self, machine_id: str) -> None:
        """Remove a record. Idempotent."""
        self._path(machine_id).unlink(missing_ok=True)

    def load(self) -> Iterator[Record | Path]:
        """Yield every record; in place of one that can't be read, its path."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                yield _record(json.loads(path.read_text()))
            except (ValueError, KeyError, TypeError):
                yield path

    def _path(self, machine_id: str) -> Path:
        return self._directory / f"{machine_id}.json"


def _record(fields: dict[str, Any]) -> Record:
    if fields.pop("version") != VERSION:
        raise ValueError("written by another version")
    disk = fields["disk"]
    fields.update(
        kind=MachineKind(fields["kind"]),
        shape=Shape(**fields["shape"]),
        accelerator=Accelerator(fields["accelerator"]),
        nics=tuple(Nic(**nic) for nic in fields["nics"]),
        identity=base64.b64decode(fields["identity"]),
        process=ProcessName(**fields["process"]),
        disk=None if disk is None else (int(disk[0]), int(disk[1])),
        plugged=tuple(PluggedNic(**nic) for nic in fields.get("plugged", ())),
    )
    return Record(**fields)

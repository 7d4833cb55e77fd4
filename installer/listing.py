"""`vic ls`: the instances of this machine."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from installer.checks import require_root
from installer.errors import InstallerError, NotRunningError
from installer.instance import DEFAULT_DATA_DIR
from installer.slots import data_dirs
from installer.status import ALL_WELL, Status, read_status

_HEADER = ("ID", "STATE", "ENDPOINT", "DATA DIRECTORY")


@dataclass(frozen=True)
class Listed:
    """A line of the list."""

    instance_id: str
    state: str
    """``running``, ``degraded`` where one of its processes is not well, ``stopped``, or
    ``unreadable`` where its record is damaged or its watcher does not answer."""
    endpoint: str
    data_dir: str


def list_instances() -> list[Listed]:
    """Return the instances that run, and the machine's default one where there is one.

    Others that are stopped are known by their data directories alone. One that can't be read is
    listed as such: `vic status` of its data directory says why. Raises PreconditionError for
    anyone but root.
    """
    require_root("ls")
    return list_at(data_dirs())


def list_at(data_directories: Iterable[Path]) -> list[Listed]:
    """Return the instances of data directories and the machine's default one, in their order."""
    listed = []
    for path in sorted({*data_directories, DEFAULT_DATA_DIR}):
        try:
            listed.append(_listed(read_status(path)))
        except NotRunningError:
            continue  # deleted meanwhile
        except InstallerError:
            listed.append(Listed("-", "unreadable", "-", str(path)))
    return listed


def to_text(instances: Iterable[Listed]) -> str:
    """Return the list for people, with a heading."""
    rows = [
        _HEADER,
        *((i.instance_id, i.state, i.endpoint, i.data_dir) for i in instances),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER) - 1)]
    return "\n".join(
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]))
        for row in rows
    )


def _listed(status: Status) -> Listed:
    state = "stopped"
    if status.running:
        state = "running" if status.exit_code == ALL_WELL else "degraded"
    return Listed(status.instance_id, state, status.endpoint, status.data_dir)

"""The record of an instance's processes, for those who come after a watcher that was killed."""

import json
from collections.abc import Mapping
from pathlib import Path

from installer.instance import write_file
from installer.processes import ProcessName

WATCHER = "watcher"


def save_processes(path: Path, processes: Mapping[str, ProcessName]) -> None:
    """Write who runs, by role or as `WATCHER`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fields = {name: [process.pid, process.start_ticks] for name, process in processes.items()}
    write_file(path, json.dumps(fields).encode() + b"\n", mode=0o600)


def load_processes(path: Path) -> dict[str, ProcessName]:
    """Return who was recorded and still runs; nobody where there is no readable record."""
    try:
        fields = json.loads(path.read_text())
        recorded = {str(name): ProcessName(int(a), int(b)) for name, (a, b) in fields.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}
    return {name: process for name, process in recorded.items() if process.is_alive()}

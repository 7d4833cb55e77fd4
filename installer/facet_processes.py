"""Which processes of a slot are facets in containers, and whether they are an instance's.

Docker starts them by itself when the machine comes up, before there is any claim to the slot; then
the files that they see tell whose they are.
"""

import os
from pathlib import Path

from installer.processes import ProcessName, processes_of_slot
from installer.roles import DATABASE_UID_OFFSET, SERVICES, VM_UID_OFFSET, first_uid

PROC = Path("/proc")


def facet_processes(slot: int) -> list[ProcessName]:
    """Return the processes of a slot that are no virtual machines."""
    return processes_of_slot(slot, end=VM_UID_OFFSET)


def kinds(processes: list[ProcessName], slot: int) -> list[str]:
    """Return what runs as some processes of a slot: facets' roles, and ``database``."""
    roles = {kind.uid_offset: str(kind.role) for kind in SERVICES}
    roles[DATABASE_UID_OFFSET] = "database"
    found = set()
    for process in processes:
        try:
            status = (PROC / str(process.pid) / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        uid = int(status.partition("\nUid:")[2].split()[0])
        found.add(roles.get(uid - first_uid(slot), f"process {process.pid}"))
    return sorted(found)


def in_containers_of(data_dir: Path, processes: list[ProcessName]) -> list[ProcessName]:
    """Return those of some processes that are in containers of an instance's facets."""
    return [one for one in processes if is_in_container_of(data_dir, one.pid)]


def is_in_container_of(data_dir: Path, pid: int) -> bool:
    """Tell whether a process has a root of its own in which it sees an instance's data.

    As docker-compose.yml has it: facets see the data directory at its own path, PostgreSQL sees its
    part alone, at ``/data``. One that has ended is in none. Nor is one whose root is the host's: a
    service of any instance, which may have mounts of its own (see :mod:`installer.view`), and sees
    what everybody sees.
    """
    root = PROC / str(pid) / "root"
    try:
        if _same(root, Path("/")):
            return False
    except OSError:
        return False
    shown = (
        (root / data_dir.relative_to("/"), data_dir),
        (root / "data", data_dir / "database" / "data"),
    )
    return any(_sees(inside, outside) for inside, outside in shown)


def _sees(inside: Path, outside: Path) -> bool:
    try:
        return _same(inside, outside)
    except OSError:
        return False


def _same(one: Path, other: Path) -> bool:
    return os.path.samestat(one.stat(), other.stat())

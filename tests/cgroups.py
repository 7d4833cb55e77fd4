"""The control groups of an instance."""

from contextlib import suppress
from pathlib import Path

_TOP = Path("/sys/fs/cgroup")


def groups_of(instance_id: str) -> list[Path]:
    """Return an instance's group in each hierarchy.

    They are at the top; further down, others' groups come and go while one looks.
    """
    name = f"vic-{instance_id}"
    return [*_TOP.glob(name), *_TOP.glob(f"*/{name}")]


def processes_in(group: Path) -> set[int]:
    """Return the processes in a group; none where it goes meanwhile."""
    with suppress(OSError):  # it isn't there any more, or is going as it is read: ENODEV
        return {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    return set()

"""Holds the workload's processes while somebody reads what must not change meanwhile."""

from __future__ import annotations

import select
import time
from pathlib import Path

# The kernel stops a process at its next return to it; one in a long read of a disk takes its time.
_FREEZE_SECONDS = 10.0


class Freezer:
    """The freezer of a cgroup, for as long as at least one asks for it.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst, cgroup.freeze and cgroup.events.
    """

    def __init__(self, cgroup: Path) -> None:
        self._cgroup = cgroup
        self._holders: set[str] = set()

    def hold(self, holder: str) -> None:
        """Begin to freeze. Raises OSError."""
        (self._cgroup / "cgroup.freeze").write_text("1")
        self._holders.add(holder)

    def release(self, holder: str) -> None:
        """Let the processes go on, unless somebody else holds them. Idempotent."""
        if holder not in self._holders:
            return
        self._holders.discard(holder)
        if not self._holders:
            (self._cgroup / "cgroup.freeze").write_text("0")

    def wait(self) -> None:
        """Return when all processes are held. Raises TimeoutError, OSError."""
        deadline = time.monotonic() + _FREEZE_SECONDS
        with open(self._cgroup / "cgroup.events", "rb", buffering=0) as events:
            changes = select.poll()
            changes.register(events, select.POLLPRI)
            while b"frozen 1" not in events.read(4096):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("the container's processes could not be held")
                changes.poll(left * 1000)
                events.seek(0)

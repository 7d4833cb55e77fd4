"""Brings the disks to rest before the VM is powered off."""

from __future__ import annotations

import os
from typing import Protocol

from tether.supervisor.boot import log


class Flushable(Protocol):
    """What is on disks."""

    def flush(self) -> None:
        """Put everything on them and leave their file systems clean. Raises OSError."""


def bring_to_rest(*parts: Flushable) -> None:
    """Leave the parts' disks clean; where that can't be, with all that was written on them.

    The kernel refuses before it writes anything where a file is open for writing still: one under a
    loop device or for swapping, or one that it gives back itself after its process has ended.
    """
    failures: list[OSError] = []
    for _ in range(2):
        failures = [error for part in parts if (error := _flush(part)) is not None]
        if not failures:
            return
        # Also what is mounted from a file on one of the disks.
        os.sync()
    for error in failures:
        log(f"a disk can't be made clean: {error}")


def _flush(part: Flushable) -> OSError | None:
    try:
        part.flush()
    except OSError as error:
        return error
    return None

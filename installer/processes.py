"""Processes named so that a recycled process ID is never mistaken for them."""

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from installer.roles import UIDS_PER_SLOT, first_uid


@dataclass(frozen=True)
class ProcessName:
    """A process ID and the moment, in clock ticks since boot, at which that process began."""

    pid: int
    start_ticks: int

    def is_alive(self) -> bool:
        """Tell whether this very process still runs (a zombie does not)."""
        return start_ticks(self.pid) == self.start_ticks

    def open(self) -> int | None:
        """Return a pidfd of this very process, or None when it has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if not self.is_alive():
            os.close(descriptor)
            return None
        return descriptor

    def kill(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; tells whether it was there."""
        descriptor = self.open()
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until this very process has ended; tells whether it has, within `seconds`."""
        descriptor = self.open()
        if descriptor is None:
            return True
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        finally:
            os.close(descriptor)


def start_ticks(pid: int) -> int | None:
    """Return when a process began, in clock ticks since boot; None where there is none.

    Source: proc(5), field 22 of /proc/PID/stat. A zombie counts as ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def name_of(pid: int) -> ProcessName | None:
    """Return the lasting name of a running process, or None where there is none."""
    ticks = start_ticks(pid)
    return None if ticks is None else ProcessName(pid, ticks)


def stop_process(process: ProcessName, seconds: float) -> None:
    """Ask a process to end, and kill it after `seconds`. Returns when it has ended."""
    if process.kill(signal.SIGTERM) and not process.wait(seconds):
        process.kill(signal.SIGKILL)
        process.wait(10)


def processes_of_slot(slot: int, end: int = UIDS_PER_SLOT) -> list[ProcessName]:
    """Return the processes whose user ID is one of a slot's, of its first `end` ones."""
    wanted = range(first_uid(slot), first_uid(slot) + end)
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            owner = entry.stat().st_uid
            # A process that may not be dumped is shown as root's: then only its status tells.
            uid = owner if owner in wanted else _real_uid(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        name = name_of(pid) if uid in wanted else None
        if name is not None:
            found.append(name)
    return found


def _real_uid(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return -1

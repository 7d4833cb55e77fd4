"""What machines have taken of this host since they began, as its kernel counts it.

Source: proc(5) for /proc/PID/stat and statm; the kernel's scheduler/sched-stats for schedstat;
cgroup-v1/memory and cgroup-v2; ABI/testing/sysfs-class-net-statistics.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hostagent.cgroups import MachineGroups
from hostagent.records import Record

NANOSECONDS = 10**9


@dataclass(frozen=True)
class Counters:
    """Of one machine. See hostagent.proto, MachineCounters, for the fields."""

    machine_id: str
    launch_id: str
    read_ns: int
    cpu_ns: int
    wait_ns: int | None
    memory_bytes: int
    received_bytes: int
    sent_bytes: int


class CounterReader:
    """Reads the counters of machines, in the file systems where the kernel shows them."""

    def __init__(
        self,
        groups: MachineGroups,
        proc: Path = Path("/proc"),
        nics: Path = Path("/sys/class/net"),
    ) -> None:
        self._groups = groups
        self._proc = proc
        self._nics = nics

    def read(self, records: Iterable[Record]) -> Iterator[Counters]:
        """Yield the counters of machines; those that have ended are left out. Blocks."""
        for record in records:
            with suppress(FileNotFoundError, ProcessLookupError):
                found = self._read(record)
                if found is not None:
                    yield found

    def _read(self, record: Record) -> Counters | None:
        process = self._proc / str(record.process.pid)
        # What comes after the name, which may have spaces and parentheses; the third field is 0.
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        if int(fields[19]) != record.process.start_ticks:
            return None
        ticks = int(fields[11]) + int(fields[12])
        taps = [nic.tap_name for nic in record.nics]
        taps += [nic.tap_name for nic in record.plugged]
        return Counters(
            machine_id=record.machine_id,
            launch_id=record.launch_id,
            read_ns=time.monotonic_ns(),
            cpu_ns=ticks * NANOSECONDS // os.sysconf("SC_CLK_TCK"),
            wait_ns=_waited(process),
            memory_bytes=self._groups.memory(record.group) or _resident(process),
            # What a tap has sent its machine has received.
            received_bytes=sum(self._frames(tap, "tx_bytes") for tap in taps),
            sent_bytes=sum(self._frames(tap, "rx_bytes") for tap in taps),
        )

    def _frames(self, tap: str, counter: str) -> int:
        try:
            return int((self._nics / tap / "statistics" / counter).read_text())
        except OSError:
            return 0  # It is being plugged, or was unplugged.


def _waited(process: Path) -> int | None:
    """Return how long the threads of a process waited for a CPU, in nanoseconds.

    Those that have ended are not counted: those that run a guest's CPUs end with it.
    """
    waited, told = 0, False
    for thread in (process / "task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            waited += int((thread / "schedstat").read_text().split()[1])
            told = True
    return waited if told else None


def _resident(process: Path) -> int:
    return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

"""Who has reserved what of this host: one file a virtual container host, seen by all of them.

The files lie below /run, as what they speak of ends with the host's boot. One counts while its
owner's control group is there, which goes with its agent where no machine is left in it.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hostagent.allocation import Allocation, Capacity, check, cpu_weight, protected_memory
from hostagent.cgroups import Limits, MachineGroups
from hostagent.outputs import GrowthWatch
from portlayer.errors import NotImplementedYet, VicError

log = logging.getLogger("vic.hostagent.claims")

CLAIMS_DIR = Path("/run/vic/allocations")


class Claims:
    """One instance's allocation, kept in its own directory, and those of the others."""

    def __init__(
        self,
        instance_id: str,
        kept: Path,
        groups: MachineGroups,
        capacity: Capacity,
        memory_limit: int,
        directory: Path = CLAIMS_DIR,
    ) -> None:
        """``kept`` is the file that holds it across boots, ``memory_limit`` the group's bound."""
        self._instance_id = instance_id
        self._kept = kept
        self._groups = groups
        self._capacity = capacity
        self._memory_limit = memory_limit
        self._directory = directory
        self._watch: GrowthWatch | None = None
        self.own = Allocation()

    def open(self) -> None:
        """Take up what was kept, and follow what others claim. Raises OSError.

        Where others have claimed too much of it meanwhile, nothing is reserved, and a log says so.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            kept = _read(self._kept)
            if kept is None:
                log.error("%s can't be read: nothing is reserved", self._kept)
            else:
                self._take_up(kept)
        self._watch = GrowthWatch(self._directory, self._changed)
        # Also one that reserves nothing has its shares.
        self._publish(self.own)
        self._apply()

    def _take_up(self, kept: Allocation) -> None:
        with self._locked():
            try:
                check(kept, self.others(), self._capacity)
            except VicError as error:
                log.error("what was reserved before is not: %s", error.message)
                return
            self._publish(kept)
        self.own = kept

    def close(self) -> None:
        """Stop following; give the claim up where no machine is left that has it."""
        if self._watch is not None:
            self._watch.close()
        if not self._groups.exists(self._instance_id):
            with suppress(FileNotFoundError):
                claim = self._claim(self._instance_id)
                # A removal alone the others would not see.
                claim.write_text("{}")
                claim.unlink()

    def set(self, wanted: Allocation) -> None:
        """Give the instance another allocation, at once. Errors: HostAgentService.Allocate."""
        if (wanted.cpu_shares or wanted.cpu_millis) and not self._groups.weighs_cpus:
            raise NotImplementedYet(
                "CPU reservations and shares need the cpu controller of cgroups, which this "
                "machine has not",
                option="CPU shares",
            )
        if wanted.memory_shares and not self._groups.protects_memory:
            raise NotImplementedYet(
                "memory shares need cgroup version 2, which this machine's memory controller is "
                "not in",
                option="memory shares",
            )
        with self._locked():
            check(wanted, self.others(), self._capacity)
            temporary = self._kept.with_suffix(".new")
            temporary.write_text(json.dumps(wanted.fields()))
            os.replace(temporary, self._kept)
            self._publish(wanted)
        self.own = wanted
        self._apply()

    def others(self) -> list[Allocation]:
        """Return what the other virtual container hosts of this machine have been given."""
        found = []
        for path in self._directory.glob("*.json"):
            if path.stem == self._instance_id or not self._groups.exists(path.stem):
                continue
            with suppress(FileNotFoundError):
                found.append(_read(path) or Allocation())
        return found

    def _apply(self) -> None:
        others = self.others()
        strangers = self._groups.strangers_weight()
        weight = cpu_weight(self.own, others, strangers, self._capacity)
        protected = protected_memory(self.own, others, self._capacity)
        self._groups.bound(
            Limits(
                memory_bytes=self._memory_limit,
                cpu_weight=weight,
                memory_reserved_bytes=self.own.memory_bytes,
                memory_protected_bytes=protected or 0,
            )
        )

    def _changed(self, name: str) -> None:
        if name.endswith(".json") and name != self._claim(self._instance_id).name:
            self._apply()

    def _publish(self, allocation: Allocation) -> None:
        self._claim(self._instance_id).write_text(json.dumps(allocation.fields()))

    def _claim(self, instance_id: str) -> Path:
        return self._directory / f"{instance_id}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep others from claiming meanwhile what we find free."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _read(path: Path) -> Allocation | None:
    """Return what a file says; None where it says nothing sound. Raises FileNotFoundError."""
    try:
        fields = json.loads(path.read_text())
        return Allocation(**{name: int(value) for name, value in fields.items()})
    except FileNotFoundError:
        raise
    except (ValueError, TypeError, AttributeError):
        return None

"""Cgroups: one bounded group an instance, one group a machine in it. Version 2, 1, or both.

A hybrid host has some controllers in version 1 hierarchies and the others in version 2; each
controller is used where it is. The instance's group lies at the top of each hierarchy and bears the
instance's ID, so that what is in it is provably ours.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

CONTROLLERS = ("memory", "pids", "cpu")
DEFAULT_WEIGHT, DEFAULT_V1_SHARES = 100, 1024
PREFIX = "vic-"
"""Of the groups of instances."""


@dataclass(frozen=True)
class Limits:
    """What a group may use; None leaves it unbounded."""

    memory_bytes: int | None = None
    pids: int | None = None
    cpu_weight: int | None = None
    """Relative to 100."""
    memory_reserved_bytes: int | None = None
    """Never taken from it; version 1 has no such thing."""
    memory_protected_bytes: int | None = None
    """Taken from it only when there is nothing left to take from others; likewise."""


@dataclass
class Hierarchy:
    """A mounted cgroup file system, and which of our controllers are used in it."""

    root: Path
    version: int
    controllers: list[str] = field(default_factory=list)

    def settings(self, limits: Limits) -> Iterator[tuple[str, str]]:
        """Yield the file and the text for each limit. Source: the kernel's cgroup-v1, -v2 docs."""
        memory, pids, weight = limits.memory_bytes, limits.pids, limits.cpu_weight
        modern = self.version == 2
        if "memory" in self.controllers and memory is not None:
            yield ("memory.max" if modern else "memory.limit_in_bytes"), str(memory)
        if "memory" in self.controllers and modern:
            if limits.memory_reserved_bytes is not None:
                yield "memory.min", str(limits.memory_reserved_bytes)
            if limits.memory_protected_bytes is not None:
                yield "memory.low", str(limits.memory_protected_bytes)
        if "pids" in self.controllers and pids is not None:
            yield "pids.max", str(pids)
        if "cpu" in self.controllers and weight is not None:
            shares = weight * DEFAULT_V1_SHARES // DEFAULT_WEIGHT
            yield ("cpu.weight", str(weight)) if modern else ("cpu.shares", str(max(2, shares)))

    def weight(self, group: str) -> int:
        """Return a group's share of the CPUs relative to 100. Raises OSError, ValueError."""
        if self.version == 2:
            return int((self.root / group / "cpu.weight").read_text())
        shares = int((self.root / group / "cpu.shares").read_text())
        return shares * DEFAULT_WEIGHT // DEFAULT_V1_SHARES

    def memory(self, group: str) -> int:
        """Return the bytes that are charged to a group. Raises OSError."""
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        return int((self.root / group / name).read_text())


def mounted_hierarchies() -> list[Hierarchy]:
    """Return the hierarchies of this host in which our controllers are."""
    return find_hierarchies(Path("/proc/self/mountinfo").read_text())


def find_hierarchies(mountinfo: str) -> list[Hierarchy]:
    """Return the hierarchies in which our controllers are. Source: proc(5), /proc/PID/mountinfo."""
    unified: Hierarchy | None = None
    found: list[Hierarchy] = []
    taken: set[str] = set()
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        mount = Path(before.split(" ")[4])
        if kind == "cgroup2" and unified is None:
            unified = Hierarchy(mount, 2)
        elif kind == "cgroup":
            names = [name for name in CONTROLLERS if name in options.split(",")]
            if names and not taken.intersection(names):
                found.append(Hierarchy(mount, 1, names))
                taken.update(names)
    if unified is not None:
        with suppress(OSError):
            offered = (unified.root / "cgroup.controllers").read_text().split()
            unified.controllers = [name for name in CONTROLLERS if name in offered]
        if unified.controllers:
            found.append(unified)
    return found


class MachineGroups:
    """The groups of one instance's machines.

    Where a controller can't be used, :attr:`warnings` says so, and machines run without its bound.
    """

    def __init__(self, instance_id: str, hierarchies: list[Hierarchy]) -> None:
        self._name = f"{PREFIX}{instance_id}"
        self._hierarchies = hierarchies
        self.warnings: list[str] = []

    @property
    def bounds_memory(self) -> bool:
        """Whether the machines' memory is bounded."""
        return any("memory" in hierarchy.controllers for hierarchy in self._hierarchies)

    @property
    def weighs_cpus(self) -> bool:
        """Whether the CPUs can be divided by weights."""
        return any("cpu" in hierarchy.controllers for hierarchy in self._hierarchies)

    @property
    def protects_memory(self) -> bool:
        """Whether memory can be kept for somebody."""
        return any(h.version == 2 and "memory" in h.controllers for h in self._hierarchies)

    def prepare(self, limits: Limits) -> None:
        """Make the instance's group with its bounds. What fails becomes a warning."""
        usable: list[Hierarchy] = []
        for hierarchy in self._hierarchies:
            group = hierarchy.root / self._name
            try:
                self._enable(hierarchy.root, hierarchy)
                group.mkdir(exist_ok=True)
                self._enable(group, hierarchy)
                for name, text in hierarchy.settings(limits):
                    (group / name).write_text(text)
            except OSError as error:
                names = ", ".join(hierarchy.controllers)
                self.warnings.append(f"machines run without cgroup bounds on {names}: {error}")
            else:
                usable.append(hierarchy)
        self._hierarchies = usable
        present = {name for hierarchy in usable for name in hierarchy.controllers}
        if not self.warnings and present != set(CONTROLLERS):
            names = ", ".join(name for name in CONTROLLERS if name not in present)
            self.warnings.append(f"machines run without cgroup bounds on {names}: not on this host")

    def bound(self, limits: Limits) -> None:
        """Set the bounds of the instance's group. Raises OSError."""
        for hierarchy in self._hierarchies:
            for name, text in hierarchy.settings(limits):
                (hierarchy.root / self._name / name).write_text(text)

    def exists(self, instance_id: str) -> bool:
        """Tell whether an instance, ours or another one, has a group on this host."""
        name = f"{PREFIX}{instance_id}"
        return any((hierarchy.root / name).is_dir() for hierarchy in self._hierarchies)

    def strangers_weight(self) -> int:
        """Return what all that is no instance's weighs for the CPUs, relative to 100.

        The root group's own processes, each of which weighs what a group does, count as one.
        """
        weight = DEFAULT_WEIGHT
        for hierarchy in self._hierarchies:
            if "cpu" not in hierarchy.controllers:
                continue
            for entry in os.scandir(hierarchy.root):
                if entry.is_dir() and not entry.name.startswith(PREFIX):
                    with suppress(OSError, ValueError):
                        weight += hierarchy.weight(entry.name)
        return weight

    def create(self, machine: str) -> None:
        """Make a machine's group. Raises OSError; nothing is left then."""
        try:
            for hierarchy in self._hierarchies:
                (hierarchy.root / self._name / machine).mkdir(exist_ok=True)
        except OSError:
            self.remove(machine)
            raise

    def limit(self, machine: str, limits: Limits) -> None:
        """Set the bounds of a machine's group. Raises OSError."""
        for hierarchy in self._hierarchies:
            for name, text in hierarchy.settings(limits):
                (hierarchy.root / self._name / machine / name).write_text(text)

    def add(self, machine: str, pid: int) -> None:
        """Move a process into a machine's group. Raises OSError."""
        for hierarchy in self._hierarchies:
            (hierarchy.root / self._name / machine / "cgroup.procs").write_text(str(pid))

    def remove(self, machine: str) -> None:
        """Remove a machine's group, whose processes have ended. Idempotent. Raises OSError."""
        for hierarchy in self._hierarchies:
            with suppress(FileNotFoundError):
                (hierarchy.root / self._name / machine).rmdir()

    def machines(self) -> set[str]:
        """Return the names of all groups that there are."""
        return {
            entry.name
            for hierarchy in self._hierarchies
            for entry in os.scandir(hierarchy.root / self._name)
            if entry.is_dir()
        }

    def pids(self, machine: str) -> set[int]:
        """Return the processes in a machine's group."""
        found: set[int] = set()
        for hierarchy in self._hierarchies:
            with suppress(FileNotFoundError):
                procs = hierarchy.root / self._name / machine / "cgroup.procs"
                found.update(int(line) for line in procs.read_text().split())
        return found

    def memory(self, machine: str) -> int | None:
        """Return the bytes of a machine's memory; None where it is in no group that counts it."""
        for hierarchy in self._hierarchies:
            if "memory" in hierarchy.controllers:
                with suppress(FileNotFoundError):
                    return hierarchy.memory(f"{self._name}/{machine}")
        return None

    def end(self) -> None:
        """Remove the instance's group where no machine is left in it."""
        for hierarchy in self._hierarchies:
            # Machines outlive the agent; then the group stays, for the next agent.
            with suppress(OSError):
                (hierarchy.root / self._name).rmdir()

    @staticmethod
    def _enable(group: Path, hierarchy: Hierarchy) -> None:
        if hierarchy.version == 2:
            wanted = " ".join(f"+{name}" for name in hierarchy.controllers)
            (group / "cgroup.subtree_control").write_text(wanted)

"""What an instance may have left on the host, and its removal.

`vic down` has every part take away its own things first; this is for what a killed part could not,
and for the proof that nothing is left. Everything of ours carries the slot's number or the
instance's ID in its name, so nobody else's things can be meant.
"""

import errno
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from installer.processes import ProcessName, processes_of_slot

# As the host agent has it.
ALLOCATIONS_DIR = Path("/run/vic/allocations")
NET_DIR = Path("/sys/class/net")
CGROUP_DIR = Path("/sys/fs/cgroup")
# As the network service and the host agent name them.
INTERFACES = r"v[tr]{slot}-[0-9a-f]+|vic{slot}(m|[bup][0-9a-z]+)"
TABLE = re.compile(r"vic_(?P<id>[0-9a-f]+)(_\w+)?")
KILL_SECONDS = 10.0
GROUP_TRIES = 100
GROUP_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Leftover:
    """Something of an instance that is still on the host."""

    description: str
    remove: Callable[[], None]


def leftovers(instance_id: str | None, slot: int | None) -> list[Leftover]:
    """Return what there is of an instance: processes, interfaces, nftables tables, cgroups, claims.

    In the order in which they can be removed. What carries the slot's number is an instance's only
    while it has that slot; without one, only what carries the ID is looked for, and the reverse.
    """
    found: list[Leftover] = []
    if slot is not None:
        found += [*_processes(slot), *_interfaces(slot)]
    found += _tables(instance_id, slot)
    if instance_id is not None:
        found += [*_cgroups(instance_id), *_claims(instance_id)]
    return found


def sweep(instance_id: str | None, slot: int | None) -> list[str]:
    """Remove all leftovers; returns what could not be removed."""
    for leftover in leftovers(instance_id, slot):
        try:
            leftover.remove()
        except (OSError, subprocess.CalledProcessError):
            continue  # the second look tells
    return [leftover.description for leftover in leftovers(instance_id, slot)]


def _processes(slot: int) -> Iterator[Leftover]:
    for process in processes_of_slot(slot):
        description = f"process {process.pid} ({_command(process.pid)})"
        yield Leftover(description, partial(_kill, process))


def _kill(process: ProcessName) -> None:
    process.kill(signal.SIGKILL)
    process.wait(KILL_SECONDS)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "ended"


def _interfaces(slot: int) -> Iterator[Leftover]:
    ours = re.compile(INTERFACES.format(slot=slot))
    # Taps ("vt…") before the bridges ("vic…") that they are ports of.
    for name in sorted(filter(ours.fullmatch, os.listdir(NET_DIR)), reverse=True):
        command = ["ip", "link", "delete", name]
        yield Leftover(f"network interface {name}", partial(_run, command))


def _tables(instance_id: str | None, slot: int | None) -> Iterator[Leftover]:
    """Find tables by the ID in their names, and by the slot of the interfaces in their rules."""
    for family, name in _list_tables():
        table = TABLE.fullmatch(name)
        if table is None:
            continue
        if table["id"] == instance_id or (slot is not None and _speaks_of(family, name, slot)):
            command = ["nft", "delete", "table", family, name]
            yield Leftover(f"nftables table {family} {name}", partial(_run, command))


def _list_tables() -> Iterator[tuple[str, str]]:
    listing = json.loads(_output(["nft", "-j", "list", "tables"]))
    for entry in listing["nftables"]:
        if "table" in entry:
            yield entry["table"]["family"], entry["table"]["name"]


def _speaks_of(family: str, name: str, slot: int) -> bool:
    try:
        rules = _output(["nft", "list", "table", family, name])
    except subprocess.CalledProcessError:
        return False  # gone meanwhile
    return re.search(rf"\b(vic{slot}[mbup]|v[tr]{slot}-)", rules) is not None


def _cgroups(instance_id: str) -> Iterator[Leftover]:
    for root, names, _ in os.walk(CGROUP_DIR):
        for name in [name for name in names if name == f"vic-{instance_id}"]:
            names.remove(name)
            path = Path(root) / name
            yield Leftover(f"cgroup {path}", partial(_remove_cgroup, path))


def _claims(instance_id: str) -> Iterator[Leftover]:
    claim = ALLOCATIONS_DIR / f"{instance_id}.json"
    if claim.exists():
        yield Leftover(f"claim {claim}", claim.unlink)


def _remove_cgroup(path: Path) -> None:
    for root, names, _ in os.walk(path, topdown=False):
        for name in names:
            _remove_group(Path(root) / name)
    _remove_group(path)


def _remove_group(path: Path) -> None:
    """Remove one group. The kernel calls it busy for a moment after its last process has ended.

    There is no event for that moment's end in version 1, so it is tried again for a while.
    """
    for _ in range(GROUP_TRIES):
        try:
            path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(GROUP_PAUSE_SECONDS)
        else:
            return
    path.rmdir()


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

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

from installer.instance import Instance
from installer.processes import ProcessName, processes_of_slot

# As the host agent has it.
ALLOCATIONS_DIR = Path("/run/vic/allocations")
NET_DIR = Path("/sys/class/net")
CGROUP_DIR = Path("/sys/fs/cgroup")
KILL_SECONDS = 10.0
GROUP_TRIES = 100
GROUP_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Leftover:
    """Something of an instance that is still on the host."""

    description: str
    remove: Callable[[], None]


def leftovers(instance: Instance, *, has_slot: bool) -> list[Leftover]:
    """Return what there is of an instance: processes, interfaces, nftables tables, cgroups, claims.

    In the order in which they can be removed. What is known by the slot's number alone is the
    instance's only while it has the slot.
    """
    by_slot = [*_processes(instance), *_interfaces(instance)] if has_slot else []
    return [*by_slot, *_tables(instance), *_cgroups(instance), *_claims(instance)]


def sweep(instance: Instance, *, has_slot: bool) -> list[str]:
    """Remove all leftovers; returns what could not be removed."""
    for leftover in leftovers(instance, has_slot=has_slot):
        try:
            leftover.remove()
        except (OSError, subprocess.CalledProcessError):
            continue  # the second look tells
    return [leftover.description for leftover in leftovers(instance, has_slot=has_slot)]


def _processes(instance: Instance) -> Iterator[Leftover]:
    for process in processes_of_slot(instance.slot):
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


def _interfaces(instance: Instance) -> Iterator[Leftover]:
    ours = re.compile(rf"v[tr]{instance.slot}-[0-9a-f]+|vic{instance.slot}(m|b[0-9a-z]+)")
    # Taps ("vt…") before the bridges ("vic…") that they are ports of.
    for name in sorted(filter(ours.fullmatch, os.listdir(NET_DIR)), reverse=True):
        command = ["ip", "link", "delete", name]
        yield Leftover(f"network interface {name}", partial(_run, command))


def _tables(instance: Instance) -> Iterator[Leftover]:
    listing = subprocess.run(
        ["nft", "-j", "list", "tables"], check=True, capture_output=True, text=True
    )
    ours = re.compile(rf"vic_{instance.id}(_\w+)?")
    for entry in json.loads(listing.stdout)["nftables"]:
        table = entry.get("table")
        if table is not None and ours.fullmatch(table["name"]):
            command = ["nft", "delete", "table", table["family"], table["name"]]
            description = f"nftables table {table['family']} {table['name']}"
            yield Leftover(description, partial(_run, command))


def _cgroups(instance: Instance) -> Iterator[Leftover]:
    for root, names, _ in os.walk(CGROUP_DIR):
        for name in [name for name in names if name == f"vic-{instance.id}"]:
            names.remove(name)
            path = Path(root) / name
            yield Leftover(f"cgroup {path}", partial(_remove_cgroup, path))


def _claims(instance: Instance) -> Iterator[Leftover]:
    claim = ALLOCATIONS_DIR / f"{instance.id}.json"
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

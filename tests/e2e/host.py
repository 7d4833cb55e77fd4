"""What there is on the host, looked at without our own code: to prove that nothing is left."""

import json
import os
import re
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

FIRST_UID = 1_900_000_000
LAST_UID = FIRST_UID + 256 * 65_536
# What other tests mount meanwhile: by this name, or below this directory, as debootstrap does.
TESTS_MOUNT = "vic-test"
TESTS_CACHE = "/var/cache/vic/tests/"


@dataclass(frozen=True)
class HostState:
    """Everything that a suite could leave behind."""

    processes: frozenset[str]
    """Of our users, or with our modules on their command line."""
    interfaces: frozenset[str]
    nft_tables: frozenset[str]
    nft_rules_elsewhere: frozenset[str]
    """Rules in others' tables, counters aside."""
    mounts: frozenset[str]
    cgroups: frozenset[str]
    loop_devices: frozenset[str]
    run_files: frozenset[str]

    def new_since(self, before: "HostState") -> dict[str, list[str]]:
        """Return what is here now and was not then, by kind."""
        found = {}
        for field in fields(self):
            added = getattr(self, field.name) - getattr(before, field.name)
            if added:
                found[field.name] = sorted(added)
        return found


def _other_instances() -> re.Pattern[str]:
    """Return what names the instances that run at present: a developer's own, say, on this host."""
    names = ["(?!)"]
    for path in Path("/run/vic/slots").glob("*"):
        slot = int(path.name)
        names += [f"vic{slot}[mbup]", f"v[tr]{slot}-", f"/slots/{slot}$", f"^slot {slot} "]
        try:
            record = json.loads(path.read_text() or "{}")
        except FileNotFoundError:
            continue  # given up since it was listed: what it had may go on being seen for a moment
        if "id" in record:
            names += [record["id"], re.escape(record["data_dir"])]
    return re.compile("|".join(names))


def look() -> HostState:
    """Return the present state, without what belongs to instances that run."""
    # Read on both sides: an instance may come or go meanwhile.
    earlier = _other_instances()
    state = _look()
    later = _other_instances()
    others = re.compile(f"{earlier.pattern}|{later.pattern}")
    return HostState(
        **{
            field.name: frozenset(
                name for name in getattr(state, field.name) if not others.search(name)
            )
            for field in fields(state)
        }
    )


def _look() -> HostState:
    return HostState(
        processes=frozenset(_processes()),
        interfaces=frozenset(
            name for name in os.listdir("/sys/class/net") if name.startswith(("vic", "vt", "vr"))
        ),
        nft_tables=frozenset(f"{family} {name}" for family, name in _tables()),
        nft_rules_elsewhere=frozenset(_rules_elsewhere()),
        mounts=frozenset(_mounts()),
        cgroups=frozenset(_cgroups()),
        loop_devices=frozenset(_output("losetup", "--noheadings", "--output", "NAME").split()),
        run_files=frozenset(str(path) for path in Path("/run/vic").rglob("*") if path.is_file()),
    )


def processes_of(uids: range) -> dict[int, list[str]]:
    """Return the command lines of the processes of some users, by process ID."""
    return {pid: command for pid, (_, command) in _processes_with_uid(uids).items()}


def _processes_with_uid(uids: range) -> dict[int, tuple[int, list[str]]]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "status").read_text()
                command = (entry / "cmdline").read_bytes().decode().split("\0")[:-1]
            except (FileNotFoundError, ProcessLookupError):
                continue
            uid = int(status.partition("Uid:")[2].split()[0])
            if uid in uids and command:
                found[int(entry.name)] = (uid, command)
    return found


def _processes() -> list[str]:
    ours = []
    for pid, (uid, command) in _processes_with_uid(range(LAST_UID)).items():
        if uid >= FIRST_UID:
            ours.append(f"slot {(uid - FIRST_UID) // 65_536} {pid} {' '.join(command)[:80]}")
        elif uid == 0 and "installer.watcher" in command:
            ours.append(f"root {pid} {' '.join(command)}")
        elif uid == 0 and command[-2:] == ["-m", "hostagent"]:
            try:
                environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            ours.append(f"root {pid} hostagent {' '.join(environment)}")
    return ours


def _tables() -> list[tuple[str, str]]:
    listed = json.loads(_output("nft", "-j", "list", "tables"))["nftables"]
    tables = [entry["table"] for entry in listed if "table" in entry]
    return [(table["family"], table["name"]) for table in tables]


def _rules_elsewhere() -> list[str]:
    lines: list[str] = []
    for family, name in _tables():
        if not name.startswith("vic_"):
            listing = _output("nft", "--stateless", "list", "table", family, name)
            lines.extend(f"{family} {name}: {line.strip()}" for line in listing.splitlines())
    return lines


def _mounts() -> list[str]:
    """Where file systems are mounted, but for those of other tests. Source: proc(5)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        about, _, what = line.partition(" - ")
        place, source = about.split()[4], what.split(" ")[1]
        if source != TESTS_MOUNT and not place.startswith(TESTS_CACHE):
            found.append(place)
    return found


def _cgroups() -> list[str]:
    return [root for root, _, _ in os.walk("/sys/fs/cgroup") if "/vic-" in root]


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

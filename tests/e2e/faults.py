"""A process of the suite that dies at a chosen step of what is done, and what is left of that.

strace kills it at its n-th system call of a kind: what is sent (each call of another service is
some ``sendmsg``), or written. What a suite holds is then counted by looking, without our own code.
"""

import json
import os
import select
import sqlite3
import subprocess
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from installer.instance import Instance
from tests.cgroups import groups_of, processes_in
from tests.e2e.facets import exec_info
from tests.e2e.host import processes_of
from tests.e2e.suite import Suite

# The reconciler comes round within a minute where nothing makes it come sooner.
SETTLED_SECONDS = 180.0

CONTAINER_ID_DIGITS = 64

Counts = dict[str, int]


@dataclass(frozen=True)
class Fault:
    """Where a process dies."""

    role: str
    number: int
    call: str = "sendmsg"

    def __str__(self) -> str:
        return f"{self.role} at {self.call} {self.number}"


@contextmanager
def striking(pid: int, fault: Fault) -> Iterator[None]:
    """Have a process killed at the n-th call of a kind that it makes from now on."""
    ended = os.pidfd_open(pid)
    tracer = subprocess.Popen(
        [
            *("strace", "--follow-forks", "--output=/dev/null"),
            f"--attach={pid}",
            f"--trace={fault.call}",
            f"--inject={fault.call}:signal=SIGKILL:when={fault.number}",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    # Its parent hears of its end when nobody traces it any more.
    letting_go = threading.Thread(target=_end_with, args=(tracer, ended))
    try:
        assert tracer.stderr is not None
        attached = tracer.stderr.readline()
        assert "attached" in attached, attached
        letting_go.start()
        yield
    finally:
        tracer.kill()
        tracer.wait()
        if letting_go.ident is not None:
            letting_go.join()
        assert tracer.stderr is not None
        tracer.stderr.close()
        os.close(ended)


def _end_with(tracer: "subprocess.Popen[str]", process: int) -> None:
    """End a tracer when its process has ended, or return when it ends itself."""
    own = os.pidfd_open(tracer.pid)
    try:
        ready, _, _ = select.select([process, own], [], [])
        if process in ready:
            tracer.kill()
    finally:
        os.close(own)


@contextmanager
def striking_again(watcher: int, first: int, fault: Fault) -> Iterator[list[int]]:
    """Have the successor of a process killed too, at the n-th call of a kind that it makes.

    Yields a list that gets the successor when that has died of it.
    """
    over = threading.Event()
    dead: list[int] = []

    def strike_successor() -> None:
        successor = _successor(watcher, first, fault.role, over)
        if successor is None:
            return
        ended = os.pidfd_open(successor)
        try:
            with striking(successor, fault):
                while not over.is_set():
                    if select.select([ended], [], [], 0.1)[0]:
                        dead.append(successor)
                        return
        finally:
            os.close(ended)

    thread = threading.Thread(target=strike_successor)
    thread.start()
    try:
        yield dead
    finally:
        over.set()
        thread.join()


def _successor(watcher: int, first: int, role: str, over: threading.Event) -> int | None:
    """Find who takes a process's place as soon as it is there; nothing tells of that."""
    module = "gateway" if role == "gateway" else f"services.{role}"
    while not over.is_set():
        for pid in Path(f"/proc/{watcher}/task/{watcher}/children").read_text().split():
            with suppress(OSError):
                if module in Path(f"/proc/{pid}/cmdline").read_text().split("\0") and (
                    int(pid) != first
                ):
                    return int(pid)
        time.sleep(0.01)
    return None


@dataclass(frozen=True)
class Verb:
    """Something that is done to a container, and what it is done to."""

    name: str
    prepare: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]


def verbs(image: str, name: str) -> list[Verb]:
    """Return create, start, stop and rm on a container of a name."""
    script = "trap 'exit 3' TERM; while :; do sleep 1 & wait; done"
    create = ("create", "--name", name, image, "sh", "-c", script)
    start = ("start", name)
    return [
        Verb("create", (), create),
        Verb("start", (create,), start),
        Verb("stop", (create, start), ("stop", "-t", "60", name)),
        Verb("rm", (create,), ("rm", name)),
        Verb("rm -f", (create, start), ("rm", "-f", name)),
    ]


class Execs(Protocol):
    """What must be known of a suite's exec, however many there are of it."""

    def containers(self) -> int:
        """Return how many containers are on record."""
        ...

    def clones(self) -> tuple[int, int]:
        """Return how many clones wait, and how many are to."""
        ...


@dataclass(frozen=True)
class OneExec:
    """The exec of a suite, and its SQLite file."""

    instance: Instance

    def containers(self) -> int:
        """Return how many containers are on record."""
        return _rows(self.instance.data_dir / "exec" / "exec.db", "containers")

    def clones(self) -> tuple[int, int]:
        """Return how many clones wait, and how many are to."""
        info = exec_info(self.instance)
        return info.ready_clones_waiting, info.start_mode.ready_clones


def strike(
    suite: Suite, verb: Verb, fault: Fault, name: str, again: Fault | None = None
) -> list[int]:
    """Do a verb while a process dies, and ``again`` the one that takes its place.

    Returns the process IDs of those that did. The suite serves again then.
    """
    for command in verb.prepare:
        suite.ok(*command)
    before = suite.pid(fault.role)
    with ExitStack() as stack:
        successors: list[int] = []
        if again is not None:
            watcher = suite.status()["watcher"]
            successors = stack.enter_context(striking_again(watcher, before, again))
        with striking(before, fault):
            done = suite.docker(*verb.command)
            assert "Traceback" not in done.stderr, done.stderr
        suite.settle()
    suite.settle()
    died = [*([before] if suite.pid(fault.role) != before else ()), *successors]
    if done.returncode == 0 and verb.name == "create":
        # What was said to be there is there.
        suite.ok("inspect", name)
    return died


def remove(suite: Suite, name: str) -> None:
    """Find the container in a state that it can stay in, if it is there, and remove it.

    It may be in another until the next comparison, or be removed by that.
    """
    deadline = time.monotonic() + SETTLED_SECONDS
    while name in suite.ok("ps", "--all", "--format", "{{.Names}}").split():
        looked = suite.docker("inspect", "--format", "{{.State.Status}}", name)
        if looked.stdout.strip() in ("created", "running", "exited", "dead"):
            done = suite.docker("rm", "-f", name)
            assert done.returncode == 0 or "No such container" in done.stderr, done.stderr
        assert time.monotonic() < deadline, f"{name} stays {looked.stdout}{looked.stderr}"


def held(suite: Suite, instance: Instance, execs: Execs | None = None) -> Counts:
    """Count what a suite holds for containers; ``execs`` are its own exec where nobody is named.

    Not what clones have that wait for a start; of those that exec knows nothing of, all counts.
    """
    execs = execs or OneExec(instance)
    data, slot = suite.data_dir, instance.slot
    records = {record["machine_id"]: record for record in _records(data)}
    named = {name for name in records if len(name) == CONTAINER_ID_DIGITS}
    machines = _machines(instance, records)
    clones = {name: record for name, record in records.items() if record["kind"] == "ready"}
    taps = {nic["tap_name"] for clone in clones.values() for nic in clone["nics"]}
    return {
        "machines": len(machines),
        "taps": sum(
            name.startswith(f"vt{slot}-") and name not in taps
            for name in os.listdir("/sys/class/net")
        ),
        "rules": _rules(instance, taps),
        "disks": len(os.listdir(data / "storage" / "containers")),
        "machine records": len(named),
        "cgroups": len(set(_cgroups(instance, machines))),
        "containers": execs.containers(),
        "leases": _rows(data / "network" / "network.db", "endpoints", without=clones),
        "published ports": _rows(data / "network" / "network.db", "published_ports"),
        "streams": _rows(data / "interaction" / "interaction.db", "containers"),
        "tethers": _rows(data / "interaction" / "interaction.db", "tethers"),
        "clones of nobody": len(clones) - execs.clones()[0],
    }


def machines(instance: Instance) -> int:
    """Count the VMs of containers."""
    records = {record["machine_id"]: record for record in _records(instance.data_dir)}
    return len(_machines(instance, records))


def _machines(instance: Instance, records: Mapping[str, dict[str, Any]]) -> set[int]:
    """Return QEMU's processes, but for those of records that are no container's."""
    first = 1_900_000_000 + instance.slot * 65_536
    running = processes_of(range(first + 1000, first + 65_536))
    found = {pid for pid, command in running.items() if "qemu" in command[0]}
    return found - {
        record["process"]["pid"]
        for name, record in records.items()
        if len(name) != CONTAINER_ID_DIGITS
    }


def nothing_held(suite: Suite, instance: Instance, execs: Execs | None = None) -> Counts:
    """Return the same counts once the suite holds nothing for containers; nothing tells of that.

    What earlier ones had may take a while to go. Of rules there are always some.
    """
    execs = execs or OneExec(instance)
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        (waiting, wanted), found = execs.clones(), held(suite, instance, execs)
        if waiting == wanted and not any(found[kind] for kind in found.keys() - {"rules"}):
            return found
        assert time.monotonic() < deadline, f"{found}, {waiting=} {wanted=}\n{suite.logs()}"
        time.sleep(0.2)


def await_held(
    suite: Suite, instance: Instance, wanted: Counts, execs: Execs | None = None
) -> None:
    """Return when a suite holds what it is to, of each kind named; nothing tells of that."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while wanted.items() - (found := held(suite, instance, execs)).items():
        assert time.monotonic() < deadline, f"{found}, not {wanted}\n{suite.logs()}"
        time.sleep(0.2)


def _records(data: Path) -> Iterator[dict[str, Any]]:
    """Read the host agent's records of machines that run."""
    for path in (data / "hostagent" / "machines").glob("*.json"):
        with suppress(FileNotFoundError):  # it has ended since it was listed
            yield json.loads(path.read_text())


def _rules(instance: Instance, without: Collection[str]) -> int:
    """Count rules, sets and elements of an instance, but for those elements that name some taps."""
    listing = subprocess.run(["nft", "-j", "list", "ruleset"], check=True, capture_output=True)
    count = 0
    for entry in json.loads(listing.stdout)["nftables"]:
        (found,) = entry.values()
        if not found.get("table", "").startswith(f"vic_{instance.id}"):
            continue
        elements = map(json.dumps, found.get("elem", ()) if "rule" not in entry else ())
        count += 1 + sum(not any(f'"{tap}"' in one for tap in without) for one in elements)
    return count


def _cgroups(instance: Instance, machines: Set[int]) -> Iterator[str]:
    """Names of groups with one of these machines in them."""
    for top in groups_of(instance.id):
        for group in top.glob("vm-*"):
            if not machines.isdisjoint(processes_in(group)):
                yield group.name


def _rows(database: Path, table: str, without: Collection[str] = ()) -> int:
    """Count a table's rows, but for those of some containers."""
    condition = f" WHERE container_id NOT IN ({', '.join('?' * len(without))})" if without else ""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        query = f"SELECT count(*) FROM {table}{condition}"
        (count,) = connection.execute(query, list(without)).fetchone()
    connection.close()
    return int(count)

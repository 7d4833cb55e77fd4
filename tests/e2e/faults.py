"""A process of the suite that dies at a chosen step of what is done, and what is left of that.

strace kills it at its n-th system call of a kind: what is sent (each call of another service is
some ``sendmsg``), or written. What a suite holds is then counted by looking, without our own code.
"""

import os
import re
import select
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from installer.instance import Instance
from tests.e2e.host import processes_of
from tests.e2e.suite import Suite

# The reconciler comes round within a minute where nothing makes it come sooner.
SETTLED_SECONDS = 180.0

Counts = dict[str, int]
# On QEMU's command line: neither parents, nor clones that wait for a start.
_CONTAINERS = re.compile("guest=[0-9a-f]{64}")


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


def strike(suite: Suite, verb: Verb, fault: Fault, name: str) -> bool:
    """Do a verb while a process dies; tell whether it did. The suite serves again then."""
    for command in verb.prepare:
        suite.ok(*command)
    before = suite.pid(fault.role)
    with striking(before, fault):
        done = suite.docker(*verb.command)
        assert "Traceback" not in done.stderr, done.stderr
    suite.settle()
    died = suite.pid(fault.role) != before
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


def held(suite: Suite, instance: Instance) -> Counts:
    """Count what a suite holds for containers."""
    data, slot = suite.data_dir, instance.slot
    uids = range(1_900_000_000 + slot * 65_536 + 1000, 1_900_000_000 + (slot + 1) * 65_536)
    qemus = [c for c in processes_of(uids).values() if _CONTAINERS.search(" ".join(c))]
    nft = subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True)
    tables = re.findall(rf"table \w+ vic_{instance.id}\w* {{.*?\n}}", nft.stdout, re.S)
    return {
        "machines": len(qemus),
        "taps": sum(name.startswith(f"vt{slot}-") for name in os.listdir("/sys/class/net")),
        "nft lines": sum(table.count("\n") for table in tables),
        "disks": len(os.listdir(data / "storage" / "containers")),
        "machine records": sum(
            len(record.stem) == 64 for record in (data / "hostagent" / "machines").glob("*.json")
        ),
        "cgroups": len(set(_cgroups(instance))),
        "containers": _rows(data / "exec" / "exec.db", "containers"),
        "leases": _rows(data / "network" / "network.db", "endpoints"),
        "published ports": _rows(data / "network" / "network.db", "published_ports"),
        "streams": _rows(data / "interaction" / "interaction.db", "containers"),
    }


def await_held(suite: Suite, instance: Instance, wanted: Counts) -> None:
    """Return when a suite holds what it is to; nothing tells of that."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while (found := held(suite, instance)) != wanted:
        assert time.monotonic() < deadline, f"{found}, not {wanted}\n{suite.logs()}"
        time.sleep(0.2)


def _cgroups(instance: Instance) -> Iterator[str]:
    """Names of groups with a container's machine in them."""
    # At the top of each hierarchy; further down, others' groups come and go while one looks.
    top, name = Path("/sys/fs/cgroup"), f"vic-{instance.id}/*/cgroup.procs"
    for root in (*top.glob(name), *top.glob(f"*/{name}")):
        for pid in root.read_text().split():
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and _CONTAINERS.search(command.read_bytes().decode()):
                yield root.parent.name


def _rows(database: Path, table: str) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(count)

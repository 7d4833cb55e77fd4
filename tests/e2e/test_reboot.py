"""The host goes down without warning and comes up again: policies are applied, nothing is stale.

The host itself can't go down in a test. All of an instance ends by SIGKILL at once, and what a boot
takes away is taken away: interfaces, nftables tables, cgroups, all below /run. What names the boot
in what was kept is made to name another one.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.instance import Instance, load_instance
from installer.sweep import leftovers
from tests.cgroups import groups_of, processes_in
from tests.e2e.faults import await_held, held
from tests.e2e.host import processes_of
from tests.e2e.suite import Suite
from tests.e2e.test_restarts import events, until
from tests.images import Registry, busybox_image
from tests.ports import free_port

SCRIPT = "echo up; exec sleep 100000"


@pytest.fixture
def suite() -> Iterator[Suite]:
    # Clones that wait have taps, which would be counted.
    suite = Suite().up("--ready-clones=0")
    try:
        yield suite
    finally:
        suite.remove()


def test_a_reboot_applies_the_policies_and_leaves_nothing_stale(
    suite: Suite, registry: Registry
) -> None:
    instance = load_instance(suite.data_dir)
    assert instance is not None
    image = registry.push(busybox_image(), "library/busybox")
    suite.ok("pull", image)
    suite.ok("network", "create", "own")
    nothing = held(suite, instance)
    port = free_port()
    for name, *options in (
        ("always", "--restart=always", f"--publish=127.0.0.1:{port}:80", "--network=own"),
        ("unless", "--restart=unless-stopped"),
        ("failing", "--restart=on-failure"),
        ("plain", "--volume=kept:/kept"),
        ("removed", "--rm"),
        ("stopped", "--restart=unless-stopped"),
    ):
        suite.ok("run", "-d", "--name", name, *options, image, "sh", "-c", SCRIPT)
        suite.await_output(name, "up")
    suite.docker("run", "--name", "ended", image, "sh", "-c", "exit 3")
    suite.ok("pause", "failing")
    suite.ok("stop", "-t", "0", "stopped")
    running = held(suite, instance)
    before = {name: address(suite, name) for name in ("always", "unless", "failing", "plain")}

    lose_power(suite, instance)
    suite.up()
    assert load_instance(suite.data_dir) == instance
    for name in ("always", "unless", "failing"):
        with events(suite, name) as happening:
            until(happening, "start", 2)
        told = suite.inspect(name)
        assert (told["State"]["Status"], told["RestartCount"]) == ("running", 0)
        assert address(suite, name) == before[name]
        assert lines(suite, name, 2) == ["up", "up"]
        assert suite.ok("exec", name, "echo", "on it goes") == "on it goes"
    for name, end in (("plain", "die"), ("removed", "destroy")):
        with events(suite, name) as happening:
            until(happening, end)
    plain = suite.inspect("plain")["State"]
    # Docker's own: dockerd has it of all that it finds dead.
    assert (plain["Status"], plain["ExitCode"], plain["Pid"]) == ("exited", 255, 0)
    assert plain["FinishedAt"] > plain["StartedAt"]
    assert suite.ok("logs", "plain") == "up"
    assert suite.inspect("ended")["State"]["ExitCode"] == 3
    assert suite.inspect("stopped")["State"]["Status"] == "exited"
    assert suite.docker("inspect", "removed").returncode != 0
    assert sorted(suite.ok("ps", "--format", "{{.Names}}").split()) == [
        "always",
        "failing",
        "unless",
    ]
    # One container less, and one that runs less.
    wanted = {
        **running,
        "machines": 3,
        "machine records": 3,
        "taps": 6,
        "cgroups": 3,
        **{kind: running[kind] - 1 for kind in ("disks", "containers", "streams")},
        # Its management address and that of its network.
        "leases": running["leases"] - 2,
    }
    # How many rules that makes is network's own affair; there are as many as before in the end.
    del wanted["rules"]
    await_held(suite, instance, wanted)
    # The volume is free again, and the container starts as any that ended.
    suite.ok("start", "plain")
    suite.ok("run", "--rm", "--network=own", image, "ping", "-c", "1", "-w", "30", "always")
    suite.ok("rm", "-f", *suite.ok("ps", "-aq").split())
    await_held(suite, instance, nothing)


def lose_power(suite: Suite, instance: Instance) -> None:
    """End all of an instance at once, and take away what no boot keeps."""
    watcher = suite.status()["watcher"]
    services = [process["pid"] for process in suite.status()["processes"]]
    uids = range(
        1_900_000_000 + instance.slot * 65_536, 1_900_000_000 + (instance.slot + 1) * 65_536
    )
    for pid in (watcher, *services, *processes_of(uids), *members(instance)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for leftover in leftovers(instance.id, instance.slot):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            leftover.remove()
    assert not leftovers(instance.id, instance.slot)
    for path in (instance.processes_file, Path(f"/run/vic/slots/{instance.slot}")):
        path.unlink(missing_ok=True)
    another = str(uuid.uuid4())
    with contextlib.closing(sqlite3.connect(suite.data_dir / "exec" / "exec.db")) as database:
        database.execute("UPDATE facts SET value = ? WHERE name = 'suite'", (another,))
        database.commit()
    records = list((suite.data_dir / "hostagent" / "machines").glob("*.json"))
    assert records
    for record in records:
        fields = json.loads(record.read_text())
        fields["process"]["boot_id"] = another
        record.write_text(json.dumps(fields))


def members(instance: Instance) -> set[int]:
    """Return the processes in an instance's cgroups."""
    groups = [Path(path) for top in groups_of(instance.id) for path, _, _ in os.walk(top)]
    return {pid for group in groups for pid in processes_in(group)}


def lines(suite: Suite, name: str, count: int) -> list[str]:
    """Return the first lines of a log, when there are so many."""
    following = suite.popen("logs", "--follow", name, stdout=subprocess.PIPE)
    assert following.stdout is not None
    try:
        return [next(following.stdout).decode().strip() for _ in range(count)]
    finally:
        following.kill()
        following.wait()
        following.stdout.close()


def address(suite: Suite, name: str) -> str:
    (network,) = suite.inspect(name)["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])

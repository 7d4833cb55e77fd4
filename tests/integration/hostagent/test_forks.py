"""Forks of a template: a container's each, and their own."""

import asyncio
import os
import secrets
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from vic.hostagent.v1 import hostagent_pb2 as pb

from portlayer.errors import FailedPrecondition, NotFound
from services.exec.drivers.qemu.qmp import QmpError, connect
from tests.integration.hostagent.suite import Suite
from tests.integration.hostagent.test_ready import (  # noqa: F401 — fixtures
    parent_id,
    shared,
    suite,
    taps,
    use,
    warm,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def nameless(suite: Suite, parent: str, kind: pb.MachineKind) -> pb.Machine:  # noqa: F811
    name = f"{pb.MachineKind.Name(kind).lower().removeprefix('machine_kind_')}-"
    return pb.Machine(
        machine_id=name + secrets.token_hex(4),
        launch_id="1",
        kind=kind,
        shape=suite.shape(),
        parent_id=parent,
    )


async def template(suite: Suite, parent: str) -> pb.RunningMachine:  # noqa: F811
    made = await suite.launch(nameless(suite, parent, pb.MACHINE_KIND_TEMPLATE))
    await warm(suite, made)
    return made


async def fork(suite: Suite, parent: str, of: pb.RunningMachine) -> pb.RunningMachine:  # noqa: F811
    machine = nameless(suite, parent, pb.MACHINE_KIND_READY)
    request = pb.LaunchRequest(machine=machine, template_id=of.machine_id)
    return (await suite.stub.Launch(request)).machine


async def test_forks_become_containers_with_disks_of_their_own_and_outlive_all_others(
    suite: Suite,  # noqa: F811
    parent_id: str,  # noqa: F811
) -> None:
    origin = await template(suite, parent_id)
    first, second = [await fork(suite, parent_id, origin) for _ in range(2)]
    waiting = await fork(suite, parent_id, origin)
    assert first.tether.state == pb.TETHER_STATE_WARM
    assert len({one.uid for one in (origin, first, second, waiting)}) == 4
    assert len(taps(suite, "vr")) == 8
    disk = suite.machine("disk", kind=pb.MACHINE_KIND_CLONE, parent_id=parent_id)
    stay = suite.machine("record-stay", kind=pb.MACHINE_KIND_CLONE, parent_id=parent_id)
    running = await use(suite, stay, second)
    await use(suite, disk, first)
    exited = await suite.event(disk.machine_id, "exited")
    # It is the agent's own child, so its exit code is known.
    assert exited.exited.exit_code == 0
    assert "disk " in await suite.console(disk.machine_id)
    await suite.configured(stay.machine_id)
    record = suite.data_dir / "hostagent" / "exits" / stay.machine_id
    while not record.stat().st_size:
        await suite.stub.List(pb.ListRequest())
    assert record.read_text() == "code 9\n"
    # The template and what waits end with the agent; a container's does not.
    await suite.stop(signal.SIGKILL)
    await suite.start()
    assert suite.processes() == [running.pid]
    await suite.configured(stay.machine_id)
    await suite.stub.Kill(pb.KillRequest(machine_id=stay.machine_id))
    assert taps(suite, "v") == []


async def test_a_fork_is_confined_as_any_machine_is(suite: Suite, parent_id: str) -> None:  # noqa: F811
    origin = await template(suite, parent_id)
    ordinary = await suite.launch(nameless(suite, parent_id, pb.MACHINE_KIND_READY))
    made = await fork(suite, parent_id, origin)
    theirs, ours = _status(ordinary.pid), _status(made.pid)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Groups"):
        assert ours[name] == theirs[name], name
    assert ours["Uid"].split() == ours["Gid"].split() == [str(made.uid)] * 4
    assert int(ours["Seccomp_filters"]) > int(theirs["Seccomp_filters"]) - 1
    assert _group(made.pid).endswith(f"vm-{made.uid}")
    for kind in ("net", "ipc", "mnt"):
        assert os.readlink(f"/proc/{made.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    for kind in ("net", "ipc"):
        namespace = os.readlink(f"/proc/{made.pid}/ns/{kind}")
        assert namespace != os.readlink(f"/proc/{origin.pid}/ns/{kind}")
    # Nothing that is open leads to the template's: but for the parent's memory, which is sealed.
    common = _files(made.pid) & _files(origin.pid)
    assert {name.split(":")[0] for name in common} <= {"/memfd", "/dev/null", "/dev/net/tun"}


# All devices of the host, by calls that QEMU lets through (fsopen, fsconfig, fsmount), and then
# the ID of root.
ATTACK = """python3 -c '
import ctypes, os, sys
call = ctypes.CDLL(None).syscall
devices = call(430, b"devtmpfs", 0)
call(431, devices, 6, None, None, 0)
mounted = call(432, devices, 0, 0)
seen = os.listdir(os.open(".", os.O_RDONLY, dir_fd=mounted)) if mounted >= 0 else []
print("devices:", len(seen), file=sys.stderr)
try:
    os.setuid(0)
except OSError as error:
    print("root:", error.strerror, file=sys.stderr)
print("user:", os.getuid(), "over", file=sys.stderr)
'"""


async def test_a_template_that_is_told_to_run_a_program_has_no_power_over_the_host(
    suite: Suite,  # noqa: F811
    parent_id: str,  # noqa: F811
) -> None:
    """exec speaks to its monitor, and may have been taken over."""
    made = await suite.launch(nameless(suite, parent_id, pb.MACHINE_KIND_TEMPLATE))
    users = Path(f"/proc/{made.pid}/uid_map").read_text().split()
    assert users == [str(suite.first_vm_uid), str(suite.first_vm_uid), "64536"]
    async with connect(made.qmp_path) as qmp:
        with suppress(QmpError):
            await qmp.execute("migrate-incoming", {"uri": f"exec:{ATTACK}"})
    async with asyncio.timeout(60):
        while "over" not in (said := await suite.console(made.machine_id)):
            await suite.stub.List(pb.ListRequest())
    assert "devices: 0\n" in said
    assert "root: Invalid argument\n" in said
    assert f"user: {made.uid} over" in said


async def test_many_forks_at_once_and_a_template_that_goes(suite: Suite, parent_id: str) -> None:  # noqa: F811
    origin = await template(suite, parent_id)
    made = await asyncio.gather(*(fork(suite, parent_id, origin) for _ in range(8)))
    assert len({one.pid for one in made}) == 8
    await suite.stub.Kill(pb.KillRequest(machine_id=origin.machine_id))
    with pytest.raises(NotFound):
        await fork(suite, parent_id, origin)
    record = suite.machine("record", kind=pb.MACHINE_KIND_CLONE, parent_id=parent_id)
    await use(suite, record, made[0])
    exited = await suite.event(record.machine_id, "exited")
    assert exited.exited.exit_record == b"code 7\n"


async def test_what_cannot_be_forked_is_refused(suite: Suite, parent_id: str) -> None:  # noqa: F811
    cold = await suite.launch(nameless(suite, parent_id, pb.MACHINE_KIND_TEMPLATE))
    with pytest.raises(FailedPrecondition, match="warmed"):
        await fork(suite, parent_id, cold)
    ready = await suite.launch(nameless(suite, parent_id, pb.MACHINE_KIND_READY))
    with pytest.raises(FailedPrecondition, match="no template"):
        await fork(suite, parent_id, ready)
    with pytest.raises(NotFound):
        await fork(suite, parent_id, pb.RunningMachine(machine_id="template-0"))


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _group(pid: int) -> str:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line for line in lines if "vm-" in line)


def _files(pid: int) -> set[str]:
    links = (os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd"))
    return {link for link in links if not link.startswith("anon_inode:")}

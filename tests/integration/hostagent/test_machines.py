"""Machines: launched, confined, watched, and gone without a trace."""

import asyncio
import hashlib
import os
import stat
from pathlib import Path

import pytest
from vic.hostagent.v1 import hostagent_pb2 as pb
from vic.hostagent.v1 import hostagent_pb2_grpc

from portlayer.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    domain_errors,
)
from portlayer.identity import Role
from services.exec.drivers.qemu.qmp import connect
from tests.cgroups import groups_of, processes_in
from tests.integration.hostagent.suite import BOOT_SECONDS, Suite, status


async def test_a_machine_runs_its_task_and_its_exit_is_told_with_its_record(suite: Suite) -> None:
    machine = suite.machine("record", identity=b"who I am")
    running = await suite.launch(machine)
    assert running.identity == b"who I am"
    assert running.accelerator == pb.ACCELERATOR_TCG
    launched = await suite.event(machine.machine_id, "launched")
    exited = await suite.event(machine.machine_id, "exited")
    assert launched.launched.pid == running.pid
    assert exited.sequence > launched.sequence
    assert exited.launch_id == machine.launch_id
    assert exited.exited.cause == pb.EXIT_CAUSE_ENDED
    assert exited.exited.exit_code == 0
    assert exited.exited.exit_record == b"code 7\n"
    assert b"guest: task record" in exited.exited.console_tail
    assert "guest: task record" in await suite.console(machine.machine_id)
    with pytest.raises(NotFound):
        await suite.stub.Get(pb.GetRequest(machine_id=machine.machine_id))


async def test_a_machines_process_has_nothing_but_its_own(suite: Suite) -> None:
    machine = suite.machine("stay", nics=[])
    running = await suite.launch(machine)
    await suite.configured(machine.machine_id)
    pid = running.pid
    fields = status(pid)
    assert fields["Uid"].split() == [str(running.uid)] * 4
    assert fields["Gid"].split() == [str(running.uid)] * 4
    assert fields["Groups"] == ""
    assert running.uid >= suite.first_vm_uid
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert all(int(fields[f"Cap{name}"], 16) == 0 for name in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
    assert os.getsid(pid) == pid
    for namespace in ("mnt", "net", "ipc"):
        own, ours = (os.readlink(f"/proc/{p}/ns/{namespace}") for p in (pid, "self"))
        assert own != ours, namespace
    interfaces = Path(f"/proc/{pid}/net/dev").read_text()
    assert {line.split(":")[0].strip() for line in interfaces.splitlines()[2:]} == {
        "lo",
        "idle0",
        "idle1",
    }
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert "Max core file size        0 " in limits
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
    assert Path(f"/proc/{pid}/environ").read_bytes() == b"LC_ALL=C\0"
    # Its view of the file system: nothing of the host but programs, and none of it writable.
    root = Path(f"/proc/{pid}/root")
    assert set(os.listdir(root)) <= {
        "usr",
        "lib",
        "lib64",
        "lib32",
        "bin",
        "sbin",
        "etc",
        "proc",
        "dev",
    }
    assert os.listdir(root / "etc") == ["ld.so.cache"]
    mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    writable = [line.split()[4] for line in mounts if not line.split()[5].startswith("ro")]
    assert writable == ["/proc"]
    # No path to anything: every file it holds came as a descriptor, and belongs to this machine.
    for link in os.scandir(f"/proc/{pid}/fd"):
        target = os.readlink(link.path)
        if "/storage/" in target and "/containers/" in target:
            assert machine.machine_id in target
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    assert str(suite.data_dir).encode() not in arguments


async def test_every_machine_has_a_cgroup_with_bounds(suite: Suite) -> None:
    info = await suite.stub.Info(pb.InfoRequest())
    if info.warnings:
        pytest.skip(f"no cgroups here: {info.warnings}")
    machine = suite.machine("stay")
    running = await suite.launch(machine)
    groups = [group / f"vm-{running.uid}" for group in groups_of(suite.instance_id)]
    assert groups
    assert all(group.is_dir() for group in groups)
    limits = [
        int((group / name).read_text())
        for group in groups
        for name in ("memory.limit_in_bytes", "memory.max")
        if (group / name).exists()
    ]
    assert len(limits) == 1
    assert 256 << 20 < limits[0] < 1 << 30
    for group in groups:
        assert running.pid in processes_in(group)
    assert 0 < info.memory_limit_bytes < info.host_memory_bytes


async def test_only_execs_user_may_speak_qmp(suite: Suite) -> None:
    machine = suite.machine("stay")
    running = await suite.launch(machine)
    socket = Path(running.qmp_path).stat()
    assert socket.st_uid == suite.first_vm_uid - 1000 + 2
    assert stat.S_IMODE(socket.st_mode) == 0o600
    for _ in range(2):
        async with connect(running.qmp_path) as qmp:
            assert (await qmp.execute("query-status"))["running"]
            nodes = await qmp.execute("query-named-block-nodes", {"flat": True})
    disks = {node["node-name"]: node["ro"] for node in nodes if node["drv"] == "vmdk"}
    assert disks == {"disk": False, "layer1": True, "layer0": True}


async def test_a_machines_taps_live_as_long_as_it_does(suite: Suite) -> None:
    nics = [pb.Nic(tap_name=suite.tap(), mac_address=f"02:42:0a:00:00:0{n}") for n in (1, 2)]
    machine = suite.machine("stay", nics=nics)
    await suite.launch(machine)
    for nic in nics:
        interface = Path("/sys/class/net") / nic.tap_name
        assert interface.exists()
        assert not int((interface / "flags").read_text(), 16) & 1
        assert not (interface / "master").exists()
    with pytest.raises(Exception, match="already"):
        await suite.launch(suite.machine("stay", nics=nics[:1]))
    await suite.stub.Kill(pb.KillRequest(machine_id=machine.machine_id))
    assert not any((Path("/sys/class/net") / nic.tap_name).exists() for nic in nics)


async def test_a_launch_can_be_repeated_but_not_changed_or_run_twice(suite: Suite) -> None:
    machine = suite.machine("stay")
    first = await suite.launch(machine)
    assert await suite.launch(machine) == first
    other = pb.Machine()
    other.CopyFrom(machine)
    other.launch_id = "another"
    with pytest.raises(AlreadyExists):
        await suite.launch(other)
    with pytest.raises(FailedPrecondition, match="in use"):
        await suite.launch(suite.machine("stay", disk_chain=machine.disk_chain))
    await suite.stub.Kill(pb.KillRequest(machine_id=machine.machine_id))
    await suite.stub.Kill(pb.KillRequest(machine_id=machine.machine_id))
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.cause == pb.EXIT_CAUSE_KILLED
    assert exited.exited.signal == 9
    with pytest.raises(FailedPrecondition, match="has ended"):
        await suite.launch(machine)
    assert (await suite.launch(other)).launch_id == "another"
    with pytest.raises(NotFound):
        await suite.stub.Kill(pb.KillRequest(machine_id="never-seen"))


async def test_many_machines_at_once_share_layers_and_nothing_else(suite: Suite) -> None:
    machines = [suite.machine("stay") for _ in range(6)]
    running = await asyncio.gather(*(suite.launch(machine) for machine in machines))
    assert len({machine.uid for machine in running}) == 6
    assert len({machine.qmp_path for machine in running}) == 6
    listed = (await suite.stub.List(pb.ListRequest())).machines
    assert {machine.pid for machine in listed} == {machine.pid for machine in running}
    kills = (suite.stub.Kill(pb.KillRequest(machine_id=m.machine_id)) for m in machines)
    await asyncio.gather(*kills)
    assert suite.processes() == []


async def test_the_guest_reads_its_chain_and_writes_to_its_own_disk_only(suite: Suite) -> None:
    machine = suite.machine("disk")
    layers = [Path(path).read_bytes() for path in machine.disk_chain[1:]]
    await suite.launch(machine)
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.exit_code == 0
    # 64 KiB of "A" from the base, then zeros.
    expected = hashlib.md5(b"A" * 65536 + bytes(63 * 65536)).hexdigest()
    assert f"guest: disk {expected}" in await suite.console(machine.machine_id)
    assert [Path(path).read_bytes() for path in machine.disk_chain[1:]] == layers
    assert b"written by" in Path(machine.disk_chain[0]).read_bytes()


async def test_what_cannot_be_launched_leaves_nothing(suite: Suite) -> None:
    machine = suite.machine("stay")
    broken = suite.data_dir / "storage" / "containers" / "broken.vmdk"
    broken.write_bytes(b"KDMV" + bytes(4096))
    machine.disk_chain[0] = str(broken)
    running = await suite.launch(machine)
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.exit_code == 1
    assert b"qemu-system" in exited.exited.console_tail
    assert not Path(running.qmp_path).exists()
    machine.launch_id = "again"
    machine.disk_chain[0] = "/etc/shadow"
    with pytest.raises(InvalidArgument, match="store"):
        await suite.launch(machine)
    machine.disk_chain[0] = machine.disk_chain[1]
    with pytest.raises(InvalidArgument):
        await suite.launch(machine)


async def test_a_guest_that_floods_its_exit_port_is_ended(suite: Suite) -> None:
    machine = suite.machine("flood")
    await suite.launch(machine)
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.cause == pb.EXIT_CAUSE_VIOLATION
    assert len(exited.exited.exit_record) <= 64 * 1024


async def test_a_guest_that_powers_off_and_stays_is_ended(suite: Suite) -> None:
    machine = suite.machine("linger")
    await suite.launch(machine)
    exited = await suite.event(machine.machine_id, "exited")
    assert exited.exited.cause == pb.EXIT_CAUSE_KILLED
    assert exited.exited.exit_record == b"code 7\n" * 2


async def test_a_guest_that_lies_on_its_port_fills_no_journal(suite: Suite) -> None:
    machine = suite.machine("liar")
    await suite.launch(machine)
    failed = 0
    async with asyncio.timeout(BOOT_SECONDS):
        async for response in suite.stub.Watch(pb.WatchRequest()):
            failed += response.event.reported.state == pb.TETHER_STATE_FAILED
            if failed == 6:
                break
    await suite.stub.Kill(pb.KillRequest(machine_id=machine.machine_id))
    last = (await suite.event(machine.machine_id, "exited")).sequence
    events = []
    async for response in suite.stub.Watch(pb.WatchRequest()):
        events.append(response.event)
        if response.event.sequence == last:
            break
    assert len([event for event in events if event.WhichOneof("kind") == "reported"]) == 8


async def test_events_are_kept_until_they_are_acknowledged(suite: Suite) -> None:
    machine = suite.machine("stay")
    await suite.launch(machine)
    await suite.stub.Kill(pb.KillRequest(machine_id=machine.machine_id))
    exited = await suite.event(machine.machine_id, "exited")
    again = await suite.event(machine.machine_id, "exited")
    assert again == exited
    await suite.stub.Acknowledge(pb.AcknowledgeRequest(through_sequence=exited.sequence))
    async for response in suite.stub.Watch(pb.WatchRequest(after_sequence=exited.sequence)):
        assert response.started.sequence == exited.sequence
        break
    with pytest.raises(OutOfRange), domain_errors():
        async for _ in suite.stub.Watch(pb.WatchRequest(after_sequence=exited.sequence - 1)):
            pass


async def test_nobody_but_exec_may_launch(suite: Suite) -> None:
    channel = suite.open_channel(Role.GATEWAY)
    stub = hostagent_pb2_grpc.HostAgentServiceStub(channel)
    with pytest.raises(PermissionDenied):
        await stub.Launch(pb.LaunchRequest(machine=suite.machine("stay")))
    await channel.close()


async def test_a_launch_that_its_caller_gave_up_can_be_repeated(suite: Suite) -> None:
    machine = suite.machine("stay")
    with pytest.raises(DeadlineExceeded):
        await suite.stub.Launch(pb.LaunchRequest(machine=machine), timeout=0.005)
    # The same call again finds it, or makes it; there is one.
    running = await suite.launch(machine)
    assert (await suite.stub.List(pb.ListRequest())).machines == [running]
    assert suite.processes() == [running.pid]

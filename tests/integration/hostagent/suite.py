"""A host agent of a throw-away instance, and how tests drive it as exec would."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
from vic.hostagent.v1 import hostagent_pb2 as pb
from vic.hostagent.v1 import hostagent_pb2_grpc

from installer.pki import Authority
from installer.slots import claim_slot
from installer.teardown import clear_slot
from portlayer.client import open_channel
from portlayer.identity import Credentials, Role, peer_uri, server_name
from tests.cgroups import groups_of

ROOT = Path(__file__).resolve().parents[3]
DISK_BYTES = 1 << 30
BOOT_SECONDS = 240.0


@dataclass
class Suite:
    """An instance with nothing but a host agent."""

    data_dir: Path
    instance_id: str
    slot: int
    bootstrap: str
    environment: dict[str, str] = field(default_factory=dict)
    agent: asyncio.subprocess.Process | None = None
    channel: grpc.aio.Channel | None = None

    @property
    def stub(self) -> "hostagent_pb2_grpc.HostAgentServiceAsyncStub":
        """The service, called as exec."""
        assert self.channel is not None
        return hostagent_pb2_grpc.HostAgentServiceStub(self.channel)

    @property
    def first_vm_uid(self) -> int:
        """First of the user IDs that machines get."""
        return 1_900_000_000 + self.slot * 65536 + 1000

    async def start(self) -> None:
        """Start the agent and wait until it answers."""
        log = (self.data_dir / "agent.log").open("ab")
        self.agent = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hostagent",
            cwd=ROOT,
            env={**os.environ, "VIC_DATA_DIR": str(self.data_dir), **self.environment},
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self.channel = self.open_channel(Role.EXEC)
        async with asyncio.timeout(BOOT_SECONDS):
            await self.stub.List(pb.ListRequest(), wait_for_ready=True)

    def open_channel(self, role: Role) -> grpc.aio.Channel:
        """Return a channel to the agent with a role's certificate."""
        return open_channel(
            f"unix:{self.data_dir}/run/hostagent.sock",
            Role.HOSTAGENT,
            self.instance_id,
            Credentials.load(self.data_dir / "pki" / role.value),
        )

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the agent and wait until it is gone."""
        assert self.agent is not None
        if self.channel is not None:
            await self.channel.close()
        if self.agent.returncode is None:
            self.agent.send_signal(number)
        async with asyncio.timeout(BOOT_SECONDS):
            await self.agent.wait()

    def shape(self, **changes: int) -> pb.Shape:
        """Return the shape that tests use."""
        fields = {"memory_mib": 256, "vcpus": 1, "disk_size_bytes": DISK_BYTES, **changes}
        return pb.Shape(bootstrap_digest=self.bootstrap, **fields)

    def machine(self, task: str, **changes: object) -> pb.Machine:
        """Return a machine that boots cold and does a task (see guest.py)."""
        machine_id = secrets.token_hex(32)
        fields: dict[str, object] = {
            "machine_id": machine_id,
            "launch_id": secrets.token_hex(8),
            "kind": pb.MACHINE_KIND_COLD,
            "shape": self.shape(),
            "guest": self.guest(task),
            "nics": [pb.Nic(tap_name=self.tap(), mac_address="02:42:0a:00:00:05")],
            **changes,
        }
        if "disk_chain" not in fields:
            fields["disk_chain"] = self.chain(str(fields["machine_id"]))
        return pb.Machine(**fields)  # type: ignore[arg-type]

    def guest(self, task: str) -> pb.GuestConfig:
        """Return a configuration whose host name is a task."""
        return pb.GuestConfig(
            hostname=task,
            management=pb.GuestManagement(
                mac_address="02:42:0a:00:00:05",
                address="100.112.0.5/20",
                endpoint="100.112.0.1:7443",
                server_name=f"interaction.{self.instance_id}.vic",
            ),
        )

    def tap(self) -> str:
        """Return a new name for a tap."""
        return f"vt{self.slot}-{secrets.token_hex(3)}"

    def chain(self, machine_id: str) -> list[str]:
        """Make a disk for a machine on top of the two layers that all share."""
        layers = self.data_dir / "storage" / "images"
        base, top = layers / "base.vmdk", layers / "top.vmdk"
        if not top.exists():
            img("create", "-q", "-f", "vmdk", str(base), str(DISK_BYTES))
            subprocess.run(
                ["qemu-io", "-c", "write -P 65 0 64k", str(base)], check=True, capture_output=True
            )
            img("create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", str(top))
            base.chmod(0o444)
            top.chmod(0o444)
        directory = self.data_dir / "storage" / "containers" / machine_id
        directory.mkdir(exist_ok=True)
        own = directory / "disk.vmdk"
        backing = "../../images/top.vmdk"
        img("create", "-q", "-f", "vmdk", "-b", backing, "-F", "vmdk", str(own), cwd=directory)
        return [str(own), str(top), str(base)]

    async def launch(self, machine: pb.Machine) -> pb.RunningMachine:
        """Launch a machine."""
        return (await self.stub.Launch(pb.LaunchRequest(machine=machine))).machine

    async def event(self, machine_id: str, kind: str, seconds: float = BOOT_SECONDS) -> pb.Event:
        """Return the first event of a kind of a machine, waiting for it."""
        async with asyncio.timeout(seconds):
            async for response in self.stub.Watch(pb.WatchRequest()):
                event = response.event
                if event.machine_id == machine_id and event.WhichOneof("kind") == kind:
                    return event
        raise AssertionError("the stream ended")

    async def configured(self, machine_id: str) -> None:
        """Wait until a machine's guest has begun its task."""
        async with asyncio.timeout(BOOT_SECONDS):
            async for response in self.stub.Watch(pb.WatchRequest()):
                event = response.event
                if event.machine_id != machine_id:
                    continue
                if event.reported.state == pb.TETHER_STATE_CONFIGURED:
                    return
                assert event.WhichOneof("kind") != "exited", event

    async def console(self, machine_id: str) -> str:
        """Return what a machine printed."""
        response = await self.stub.GetConsole(pb.GetConsoleRequest(machine_id=machine_id))
        return response.data.decode("utf-8", "replace")

    async def kill_all(self) -> None:
        """Kill every machine."""
        for machine in (await self.stub.List(pb.ListRequest())).machines:
            await self.stub.Kill(pb.KillRequest(machine_id=machine.machine_id))

    def left_over(self) -> list[str]:
        """Return what is left on the host of this instance: nothing, when all has ended."""
        found = [f"process {pid}" for pid in self.processes()]
        found += [str(path) for path in groups_of(self.instance_id)]
        state = self.data_dir / "hostagent"
        for name in ("machines", "exits", "qmp"):
            found += [str(path) for path in (state / name).iterdir()]
        found += [
            n
            for n in os.listdir("/sys/class/net")
            if n.startswith((f"vt{self.slot}-", f"vr{self.slot}-"))
        ]
        mounts = Path("/proc/self/mountinfo").read_text()
        found += [line for line in mounts.splitlines() if str(self.data_dir) in line]
        return found

    def processes(self) -> list[int]:
        """Return the processes that run as one of our machines' users."""
        found = []
        for entry in os.scandir("/proc"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if entry.name.isdigit() and status(int(entry.name))["State"][0] != "Z":
                    uid = int(status(int(entry.name))["Uid"].split()[0])
                    if self.first_vm_uid <= uid < self.first_vm_uid + 60_000:
                        found.append(int(entry.name))
        return found


def status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def img(*arguments: str, cwd: Path | None = None) -> None:
    """Run qemu-img."""
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, cwd=cwd)


async def gone(pid: int, seconds: float = BOOT_SECONDS) -> None:
    """Wait until a process has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pidfd, ended.set)
        async with asyncio.timeout(seconds):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)


def refusal(uid: int, *command: str) -> str:
    """Run a busybox command as another user; returns what it says on its standard error."""
    return subprocess.run(
        ["/bin/busybox", *command],
        capture_output=True,
        text=True,
        check=False,
        user=uid,
        group=uid,
        extra_groups=[],
    ).stderr.strip()


@asynccontextmanager
async def new_suite(bootstrap: Path, **environment: str) -> AsyncIterator[Suite]:
    """Make an instance, start its agent, and clear everything away in the end."""
    data_dir = Path(tempfile.mkdtemp(prefix="vic-"))
    os.chmod(data_dir, 0o711)
    instance_id = secrets.token_hex(4)
    claim = claim_slot(
        instance_id, data_dir, 200 + secrets.randbelow(50), partial(clear_slot, say=print)
    )
    try:
        suite = Suite(data_dir, instance_id, claim.slot, bootstrap.name, environment)
        for name in ("run", "pki", "hostagent", "storage/images", "storage/containers"):
            (data_dir / name).mkdir(parents=True)
        (data_dir / "storage").chmod(0o700)
        (data_dir / "bootstrap").mkdir()
        (data_dir / "bootstrap" / bootstrap.name).symlink_to(bootstrap)
        authority = Authority.create(instance_id)
        authority.write(data_dir / "pki")
        for role in (Role.HOSTAGENT, Role.EXEC, Role.GATEWAY):
            uri = peer_uri(role, instance_id)
            issued = authority.issue(role, uri=uri, dns_names=[server_name(role, instance_id)])
            issued.write(data_dir / "pki" / role.value, owner=(0, 0))
        record = {"instance_id": instance_id, "slot": claim.slot}
        (data_dir / "instance.json").write_text(json.dumps(record))
        await suite.start()
        try:
            yield suite
        finally:
            if suite.agent is not None and suite.agent.returncode is not None:
                await suite.start()
            await suite.kill_all()
            await suite.stop()
        assert suite.left_over() == []
    except BaseException:
        sys.stderr.write((data_dir / "agent.log").read_text()[-8000:])
        raise
    finally:
        claim.path.unlink(missing_ok=True)
        claim.drop()
        shutil.rmtree(data_dir)

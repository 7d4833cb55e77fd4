"""A fake of the host agent, and clones that are kept ready over it; without QEMU."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from vic.exec.v1 import container_pb2
from vic.hostagent.v1 import hostagent_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2

from portlayer.errors import (
    FailedPrecondition,
    Internal,
    NotFound,
    VicError,
)
from services.exec.drivers import MachineSpec
from services.exec.drivers.qemu import launching as launching_module
from services.exec.drivers.qemu import parents as parents_module
from services.exec.drivers.qemu import ready as module
from services.exec.drivers.qemu import warming
from services.exec.drivers.qemu.dialling import Dialling
from services.exec.drivers.qemu.hostmemory import HostMemory
from services.exec.drivers.qemu.parents import Parents
from services.exec.drivers.qemu.qmp import QmpError
from services.exec.drivers.qemu.ready import ReadyClones

DISK_BYTES = 2**33
SHAPE = hostagent_pb2.Shape(
    memory_mib=512, vcpus=1, bootstrap_digest="0123456789ab", disk_size_bytes=DISK_BYTES
)
PLENTY = "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n"
# Enough for what there is, not for more.
TIGHT = "MemTotal:       16000000 kB\nMemAvailable:    1700000 kB\n"
LITTLE = "MemTotal:       16000000 kB\nMemAvailable:     400000 kB\n"


@dataclass
class FakeAgent:
    """Machines in memory. ``failing`` makes launches fail that use a ready clone, or don't.

    Another ``key`` is another QEMU: no clone is made of a parent that has the old one.
    """

    machines: dict[str, hostagent_pb2.Machine] = field(default_factory=dict)
    launches: list[hostagent_pb2.LaunchRequest] = field(default_factory=list)
    launch_seconds: set[float] = field(default_factory=set)
    killed: list[str] = field(default_factory=list)
    failing: dict[bool, VicError] = field(default_factory=dict)
    tether: hostagent_pb2.TetherState = hostagent_pb2.TETHER_STATE_UNSPECIFIED
    unforkable: bool = False
    no_template: VicError | None = None
    answers_launches: asyncio.Event | None = None
    accelerator: hostagent_pb2.Accelerator = hostagent_pb2.ACCELERATOR_KVM
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    key: str = "key"
    parents: dict[str, str] = field(default_factory=lambda: {"parent-1": "key"})
    refused: int = 0
    warnings: list[str] = field(default_factory=list)

    async def Info(self, request: Any) -> hostagent_pb2.InfoResponse:
        return hostagent_pb2.InfoResponse(accelerator=self.accelerator, warnings=self.warnings)

    async def GetShape(self, request: Any) -> hostagent_pb2.GetShapeResponse:
        return hostagent_pb2.GetShapeResponse(shape_key=self.key)

    async def ListParents(self, request: Any) -> hostagent_pb2.ListParentsResponse:
        sealed = hostagent_pb2.PARENT_STATE_SEALED
        parents = [
            hostagent_pb2.Parent(
                parent_id=name, shape_key=key, state=sealed, current=key == self.key
            )
            for name, key in self.parents.items()
        ]
        return hostagent_pb2.ListParentsResponse(parents=parents)

    async def CreateParent(self, request: hostagent_pb2.CreateParentRequest) -> None: ...

    async def SealParent(self, request: hostagent_pb2.SealParentRequest) -> None:
        self.parents[request.parent_id] = self.key
        del self.machines[request.parent_id]

    async def RemoveParent(self, request: hostagent_pb2.RemoveParentRequest) -> None:
        self.parents.pop(request.parent_id, None)

    async def List(self, request: Any) -> hostagent_pb2.ListResponse:
        running = [hostagent_pb2.RunningMachine(machine_id=name) for name in self.machines]
        return hostagent_pb2.ListResponse(machines=running)

    async def Launch(
        self, request: hostagent_pb2.LaunchRequest, timeout: float
    ) -> hostagent_pb2.LaunchResponse:
        self.launch_seconds.add(timeout)
        self.launches.append(request)
        self._check_parent(request.machine)
        if request.template_id and self.unforkable:
            raise Internal("it can't be forked")
        template = request.machine.kind == hostagent_pb2.MACHINE_KIND_TEMPLATE
        if template and self.no_template is not None:
            raise self.no_template
        if (error := self.failing.pop(bool(request.ready_id), None)) is not None:
            raise error
        if request.ready_id:
            del self.machines[request.ready_id]
        machine = request.machine
        running = hostagent_pb2.RunningMachine(
            machine_id=machine.machine_id,
            launch_id=machine.launch_id,
            kind=machine.kind,
            parent_id=machine.parent_id,
            qmp_path=machine.machine_id,
            incoming_uri="" if request.ready_id else "fd:9",
        )
        await self._change(lambda: self.machines.update({machine.machine_id: machine}))
        if self.answers_launches is not None:
            await self.answers_launches.wait()
        return hostagent_pb2.LaunchResponse(machine=running)

    def _check_parent(self, machine: hostagent_pb2.Machine) -> None:
        """As the agent does."""
        if machine.kind in (hostagent_pb2.MACHINE_KIND_COLD, hostagent_pb2.MACHINE_KIND_PARENT):
            return
        if machine.parent_id not in self.parents:
            self.refused += 1
            raise NotFound(f"there is no parent {machine.parent_id}")
        if self.parents[machine.parent_id] != self.key:
            self.refused += 1
            raise FailedPrecondition("the parent has another shape")

    async def Get(self, request: hostagent_pb2.GetRequest) -> hostagent_pb2.GetResponse:
        if request.machine_id not in self.machines:
            raise NotFound("no such machine")
        running = hostagent_pb2.RunningMachine(
            machine_id=request.machine_id, launch_id=self.machines[request.machine_id].launch_id
        )
        running.tether.state = self.tether
        return hostagent_pb2.GetResponse(machine=running)

    async def Kill(self, request: hostagent_pb2.KillRequest) -> None:
        if request.machine_id not in self.machines:
            raise NotFound("no such machine")
        self.killed.append(request.machine_id)
        await self._change(lambda: self.machines.pop(request.machine_id))

    async def _change(self, change: Callable[[], Any]) -> None:
        async with self.changed:
            change()
            self.changed.notify_all()


@dataclass
class Qemu:
    """What is said to QEMUs. ``failing`` names a command that fails once."""

    said: list[tuple[str, str]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)

    async def command(self, path: str, name: str, within: float = 0.0) -> None:
        self.said.append((path, name))
        if name in self.failing:
            self.failing.discard(name)
            raise QmpError(f"{name} failed")

    async def load(self, machine: hostagent_pb2.RunningMachine) -> None:
        await self.command(machine.qmp_path, "load")

    async def warm(self, agent: Any, machine_id: str, state: int) -> None:
        assert state == hostagent_pb2.TETHER_STATE_WARM
        await self.command(machine_id, "warm")

    async def boot(self, agent: Any, machine_id: str, state: int) -> None:
        assert state == hostagent_pb2.TETHER_STATE_READY

    async def save(self, path: str) -> bytes:
        return b"state"


@pytest.fixture
def qemu(monkeypatch: pytest.MonkeyPatch) -> Qemu:
    fake = Qemu()
    for target in (warming, launching_module):
        monkeypatch.setattr(target, "command", fake.command)
        monkeypatch.setattr(target, "load_clone", fake.load)
    monkeypatch.setattr(warming, "tether_reports", fake.warm)
    monkeypatch.setattr(parents_module, "tether_reports", fake.boot)
    monkeypatch.setattr(parents_module, "_save", fake.save)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.0)
    return fake


@dataclass
class Pool:
    """Ready clones that are being kept."""

    agent: FakeAgent
    clones: ReadyClones
    meminfo: Path

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 — a turn of the loop is the event
                await asyncio.sleep(0)

    async def full(self) -> None:
        await self.until(lambda: self.clones.waiting == 2)


def machine(container_id: str = "c", boot_id: str = "boot") -> MachineSpec:
    """Return what a container's start asks the driver for."""
    return MachineSpec(
        container_id=container_id,
        boot_id=boot_id,
        spec=container_pb2.ContainerSpec(),
        disk=disk_pb2.Disk(chain=["/own", "/base"], virtual_size_bytes=DISK_BYTES),
        endpoints=[network_pb2.Endpoint(management=True, tap_name="vt1-000001")],
        tether_endpoint="100.112.0.1:7443",
        tether_server_name="interaction.test.vic",
    )


@asynccontextmanager
async def kept(
    directory: Path, accelerator: hostagent_pb2.Accelerator, dialling: Dialling | None = None
) -> AsyncIterator[Pool]:
    meminfo = directory / "meminfo"
    meminfo.write_text(PLENTY)
    agent = FakeAgent({"ready-old": hostagent_pb2.Machine(), "c": hostagent_pb2.Machine()})
    agent.accelerator = accelerator
    parents = Parents(cast("Any", agent))
    clones = ReadyClones(cast("Any", agent), parents, HostMemory(meminfo), dialling)
    clones.want(2)
    keeping = asyncio.create_task(clones.keep(SHAPE))
    yield Pool(agent, clones, meminfo)
    keeping.cancel()
    await asyncio.wait([keeping])
    await clones.close()
    # Nothing is left but what is somebody else's.
    assert list(agent.machines) == ["c"]


@pytest.fixture
async def pool(qemu: Qemu, tmp_path: Path) -> AsyncIterator[Pool]:
    async with kept(tmp_path, hostagent_pb2.ACCELERATOR_KVM) as made:
        yield made


@pytest.fixture
async def emulated(qemu: Qemu, tmp_path: Path) -> AsyncIterator[Pool]:
    async with kept(tmp_path, hostagent_pb2.ACCELERATOR_TCG) as made:
        yield made

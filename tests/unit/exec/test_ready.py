"""Clones kept ready, over a fake of the host agent and without QEMU."""

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

from hostagent import launching, launchpad
from hostagent.forking import forker, server
from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Reason,
    Unavailable,
    VicError,
)
from services.exec.drivers import MachineSpec, StartKind
from services.exec.drivers.qemu import launching as launching_module
from services.exec.drivers.qemu import ready as module
from services.exec.drivers.qemu import warming
from services.exec.drivers.qemu.dialling import Dialling
from services.exec.drivers.qemu.driver import QemuHypervisor
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
    """Machines in memory. ``failing`` makes launches fail that use a ready clone, or don't."""

    machines: dict[str, hostagent_pb2.Machine] = field(default_factory=dict)
    launches: list[hostagent_pb2.LaunchRequest] = field(default_factory=list)
    launch_seconds: set[float] = field(default_factory=set)
    killed: list[str] = field(default_factory=list)
    failing: dict[bool, VicError] = field(default_factory=dict)
    tether: hostagent_pb2.TetherState = hostagent_pb2.TETHER_STATE_UNSPECIFIED
    unforkable: bool = False
    answers_launches: asyncio.Event | None = None
    accelerator: hostagent_pb2.Accelerator = hostagent_pb2.ACCELERATOR_KVM
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def Info(self, request: Any) -> hostagent_pb2.InfoResponse:
        return hostagent_pb2.InfoResponse(accelerator=self.accelerator)

    async def GetShape(self, request: Any) -> hostagent_pb2.GetShapeResponse:
        return hostagent_pb2.GetShapeResponse(shape_key="key")

    async def ListParents(self, request: Any) -> hostagent_pb2.ListParentsResponse:
        sealed = hostagent_pb2.PARENT_STATE_SEALED
        parent = hostagent_pb2.Parent(
            parent_id="parent-1", shape_key="key", state=sealed, current=True
        )
        return hostagent_pb2.ListParentsResponse(parents=[parent])

    async def RemoveParent(self, request: Any) -> None: ...

    async def List(self, request: Any) -> hostagent_pb2.ListResponse:
        running = [hostagent_pb2.RunningMachine(machine_id=name) for name in self.machines]
        return hostagent_pb2.ListResponse(machines=running)

    async def Launch(
        self, request: hostagent_pb2.LaunchRequest, timeout: float
    ) -> hostagent_pb2.LaunchResponse:
        self.launch_seconds.add(timeout)
        self.launches.append(request)
        if request.template_id and self.unforkable:
            raise Internal("it can't be forked")
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


@pytest.fixture
def qemu(monkeypatch: pytest.MonkeyPatch) -> Qemu:
    fake = Qemu()
    for target in (warming, launching_module):
        monkeypatch.setattr(target, "command", fake.command)
        monkeypatch.setattr(target, "load_clone", fake.load)
    monkeypatch.setattr(warming, "tether_reports", fake.warm)
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


async def test_clones_are_made_warmed_and_held(pool: Pool, qemu: Qemu) -> None:
    await pool.full()
    assert pool.agent.killed == ["ready-old"]
    first = await pool.clones.take(SHAPE)
    assert first is not None
    said = [name for path, name in qemu.said if path == first.machine_id]
    assert said == ["load", "cont", "warm", "stop"]
    launched = pool.agent.machines[first.machine_id]
    assert launched.kind == hostagent_pb2.MACHINE_KIND_READY
    assert launched.parent_id == "parent-1"
    assert not launched.nics
    assert not launched.disk_chain
    pool.clones.give_back(first)


async def test_what_is_taken_is_replaced_and_handed_out_once(pool: Pool) -> None:
    await pool.full()
    clones = [await pool.clones.take(SHAPE), await pool.clones.take(SHAPE)]
    taken = {clone.machine_id for clone in clones if clone}
    assert len(taken) == 2
    assert await pool.clones.take(SHAPE) is None
    await pool.full()
    again = await pool.clones.take(SHAPE)
    assert again is not None
    assert again.machine_id not in taken
    for machine_id in (*taken, again.machine_id):
        pool.clones.give_up(machine_id)
    assert pool.clones.failed == 3


async def test_another_shape_gets_none(pool: Pool) -> None:
    await pool.full()
    other = hostagent_pb2.Shape()
    other.CopyFrom(SHAPE)
    other.vcpus = 2
    assert await pool.clones.take(other) is None


async def test_no_clone_is_begun_while_a_start_is_under_way(pool: Pool) -> None:
    await pool.full()
    pool.clones.hold_back("boot")
    taken = await pool.clones.take(SHAPE)
    assert taken is not None
    launches = len(pool.agent.launches)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(pool.agent.launches) == launches
    pool.clones.let_go("boot")
    await pool.full()
    pool.clones.give_up(taken.machine_id)


async def test_a_start_is_left_alone_while_another_clone_waits(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.full()
    monkeypatch.setattr(module, "QUIET_SECONDS", 3600.0)
    launches = len(pool.agent.launches)

    async def start(boot_id: str) -> None:
        pool.clones.hold_back(boot_id)
        taken = await pool.clones.take(SHAPE)
        assert taken is not None
        pool.clones.give_up(taken.machine_id)
        pool.clones.let_go(boot_id)

    await start("first")
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(pool.agent.launches) == launches
    # With none left the next start would have to wait longer than this one is disturbed.
    await start("second")
    await pool.until(lambda: pool.clones.waiting == 1)
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.0)
    pool.clones.hold_back("third")
    pool.clones.let_go("third")
    await pool.full()


async def test_one_that_ended_by_itself_is_replaced(pool: Pool) -> None:
    await pool.full()
    ended = next(name for name in pool.agent.machines if name.startswith("ready-"))
    del pool.agent.machines[ended]
    pool.clones.ended(ended)
    await pool.full()
    assert ended not in pool.agent.machines


async def test_another_number_holds_at_once(pool: Pool) -> None:
    await pool.full()
    pool.clones.want(0)
    await pool.until(lambda: list(pool.agent.machines) == ["c"])
    pool.clones.want(1)
    await pool.until(lambda: pool.clones.waiting == 1)
    pool.clones.want(None)
    await pool.full()
    pool.clones.want(1)
    await pool.until(lambda: len(pool.agent.machines) == 2)
    assert pool.clones.waiting == 1


@pytest.mark.parametrize(("mib", "count"), [(1000, 0), (2048, 1), (4096, 2), (64 * 1024, 2)])
def test_the_number_that_suits_a_host(tmp_path: Path, mib: int, count: int) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {mib * 1024} kB\nMemAvailable: 0 kB\n")
    assert HostMemory(meminfo).automatic() == count


def test_more_than_the_memory_holds_is_refused_with_the_figures(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 2097152 kB\nMemAvailable: 0 kB\n")
    memory = HostMemory(meminfo)
    memory.check(12)
    with pytest.raises(InvalidArgument) as caught:
        memory.check(13)
    assert caught.value.message == (
        "13 ready clones take 1664 MiB: the host has 2048 MiB, 512 MiB of them for itself; "
        "12 at most"
    )


async def test_they_are_given_up_when_memory_is_short(pool: Pool) -> None:
    await pool.full()
    pool.meminfo.write_text(LITTLE)
    pool.clones.let_go("any")
    await pool.until(lambda: list(pool.agent.machines) == ["c"])
    assert pool.clones.waiting == 0
    launches = len(pool.agent.launches)
    pool.meminfo.write_text(TIGHT)
    pool.clones.let_go("any")
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(pool.agent.launches) == launches
    pool.meminfo.write_text(PLENTY)
    pool.clones.let_go("any")
    await pool.full()


@pytest.mark.parametrize("step", ["load", "cont", "warm", "stop"])
async def test_one_that_does_not_get_ready_is_ended_and_tried_again(
    pool: Pool, qemu: Qemu, step: str
) -> None:
    qemu.failing.add(step)
    await pool.full()
    await pool.until(lambda: len(pool.agent.killed) == 2)
    assert len(pool.agent.machines) == 3


async def test_none_are_kept_where_none_are_wanted(qemu: Qemu, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(PLENTY)
    agent = FakeAgent({"ready-old": hostagent_pb2.Machine()})
    memory = HostMemory(tmp_path / "meminfo")
    clones = ReadyClones(cast("Any", agent), Parents(cast("Any", agent)), memory)
    clones.want(0)
    keeping = asyncio.create_task(clones.keep(SHAPE))
    async with asyncio.timeout(60), agent.changed:
        await agent.changed.wait_for(lambda: not agent.machines)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert agent.launches == []


# Forks of a template


@pytest.fixture
async def emulated(qemu: Qemu, tmp_path: Path) -> AsyncIterator[Pool]:
    async with kept(tmp_path, hostagent_pb2.ACCELERATOR_TCG) as made:
        yield made


def forks(agent: FakeAgent) -> list[str]:
    return [request.template_id for request in agent.launches if request.template_id]


async def test_under_emulation_one_clone_warms_up_and_the_others_are_its_forks(
    emulated: Pool, qemu: Qemu
) -> None:
    await emulated.full()
    (template,) = (
        name
        for name, machine in emulated.agent.machines.items()
        if machine.kind == hostagent_pb2.MACHINE_KIND_TEMPLATE
    )
    assert forks(emulated.agent) == [template, template]
    assert {path for path, _ in qemu.said} == {template}
    assert [name for _, name in qemu.said] == ["load", "cont", "warm", "stop"]


async def test_a_start_for_which_none_waits_takes_a_fork(emulated: Pool) -> None:
    await emulated.full()
    emulated.clones.hold_back("boot")
    taken = [await emulated.clones.take(SHAPE) for _ in range(5)]
    names = {clone.machine_id for clone in taken if clone}
    assert len(names) == 5
    assert len(forks(emulated.agent)) == 5
    for name in names:
        emulated.clones.give_up(name)


async def test_a_template_that_cannot_be_forked_is_replaced_and_in_the_end_done_without(
    emulated: Pool,
) -> None:
    await emulated.full()
    first = forks(emulated.agent)[0]
    emulated.agent.unforkable = True
    # Each that fails is ended, and another warmed up; after the third, clones warm up themselves.
    for _ in range(4):
        clone = await emulated.clones.take(SHAPE)
        assert clone is not None
        emulated.clones.give_up(clone.machine_id)
        await emulated.full()
    assert first in emulated.agent.killed
    assert len(set(forks(emulated.agent))) == 3
    kinds = [machine.kind for machine in emulated.agent.machines.values()]
    assert hostagent_pb2.MACHINE_KIND_TEMPLATE not in kinds
    assert kinds.count(hostagent_pb2.MACHINE_KIND_READY) == 2


async def test_a_fork_that_nobody_waits_for_any_more_is_ended(emulated: Pool) -> None:
    await emulated.full()
    for _ in range(2):
        clone = await emulated.clones.take(SHAPE)
        assert clone is not None
        emulated.clones.give_up(clone.machine_id)
    emulated.clones.hold_back("boot")
    emulated.agent.answers_launches = asyncio.Event()
    launches = len(emulated.agent.launches)
    taking = asyncio.create_task(emulated.clones.take(SHAPE))
    await emulated.until(lambda: len(emulated.agent.launches) > launches)
    forked = emulated.agent.launches[-1].machine.machine_id
    await emulated.until(lambda: forked in emulated.agent.machines)
    taking.cancel()
    await asyncio.wait([taking])
    emulated.agent.answers_launches.set()
    assert forked in emulated.agent.killed


async def test_a_template_that_ended_by_itself_is_replaced(emulated: Pool) -> None:
    await emulated.full()
    template = forks(emulated.agent)[0]
    del emulated.agent.machines[template]
    emulated.clones.ended(template)
    taken = await emulated.clones.take(SHAPE)
    assert taken is not None
    emulated.clones.give_up(taken.machine_id)
    await emulated.full()
    assert forks(emulated.agent)[-1] != template


# The driver, which takes them


@pytest.fixture
async def hypervisor(qemu: Qemu, tmp_path: Path) -> AsyncIterator[tuple[QemuHypervisor, FakeAgent]]:
    (tmp_path / "meminfo").write_text(PLENTY)
    agent = FakeAgent()
    made = QemuHypervisor(
        cast("Any", agent),
        bootstrap_digest=SHAPE.bootstrap_digest,
        default_disk_bytes=DISK_BYTES,
        memory=HostMemory(tmp_path / "meminfo"),
    )
    made.keep_ready(1)
    await made.open()
    async with asyncio.timeout(60):
        while not made._ready.waiting:  # noqa: ASYNC110 — as above
            await asyncio.sleep(0)
    yield made, agent
    await made.close()


def machine(container_id: str = "c") -> MachineSpec:
    return MachineSpec(
        container_id=container_id,
        boot_id="boot",
        spec=container_pb2.ContainerSpec(),
        disk=disk_pb2.Disk(chain=["/own", "/base"], virtual_size_bytes=DISK_BYTES),
        endpoints=[network_pb2.Endpoint(management=True, tap_name="vt1-000001")],
        tether_endpoint="100.112.0.1:7443",
        tether_server_name="interaction.test.vic",
    )


async def test_a_start_takes_a_ready_clone(
    hypervisor: tuple[QemuHypervisor, FakeAgent], qemu: Qemu
) -> None:
    made, agent = hypervisor
    assert (await made.create(machine())).kind is StartKind.READY_CLONE
    assert agent.launches[-1].ready_id.startswith("ready-")
    assert agent.launches[-1].machine.kind == hostagent_pb2.MACHINE_KIND_CLONE
    del qemu.said[:]
    await made.load("c", "boot")
    assert qemu.said == []
    await made.run("c", "boot")
    assert qemu.said == [("c", "cont")]
    assert {state.container_id for state in await made.inventory()} == {"c"}


async def test_a_ready_clone_that_cannot_be_used_is_counted_and_another_way_taken(
    hypervisor: tuple[QemuHypervisor, FakeAgent],
) -> None:
    made, agent = hypervisor
    agent.failing[True] = FailedPrecondition("another shape")
    assert (await made.create(machine())).kind is StartKind.INSTANT_CLONE
    assert made._ready.failed == 1
    assert agent.launches[-1].ready_id == ""


async def test_a_machine_that_is_there_costs_no_ready_clone(
    hypervisor: tuple[QemuHypervisor, FakeAgent],
) -> None:
    made, agent = hypervisor
    agent.failing[True] = AlreadyExists("it runs")
    with pytest.raises(AlreadyExists):
        await made.create(machine())
    assert (made._ready.failed, made._ready.waiting) == (0, 1)


async def test_a_ready_clone_that_does_not_go_on_is_not_the_end_of_a_start(
    hypervisor: tuple[QemuHypervisor, FakeAgent], qemu: Qemu
) -> None:
    made, _ = hypervisor
    await made.create(machine())
    qemu.failing.add("cont")
    with pytest.raises(Unavailable) as caught:
        await made.run("c", "boot")
    assert caught.value.metadata["start"] == "READY_CLONE"
    assert made._ready.failed == 1


async def test_a_ready_clone_whose_tether_is_silent_is_not_the_end_of_a_start(
    hypervisor: tuple[QemuHypervisor, FakeAgent],
) -> None:
    made, agent = hypervisor
    await made.create(machine())
    await made.run("c", "boot")
    with pytest.raises(Unavailable) as caught:
        await made.check_awake("c", "boot")
    assert caught.value.metadata["start"] == "READY_CLONE"
    assert made._ready.failed == 1
    agent.tether = hostagent_pb2.TETHER_STATE_CONFIGURED
    await made.check_awake("c", "boot")
    await made.destroy("c", "boot")
    # One that has ended is no concern of this.
    await made.check_awake("c", "boot")
    assert made._ready.failed == 1


async def test_a_parent_is_given_up_after_two_failures_in_a_row(
    hypervisor: tuple[QemuHypervisor, FakeAgent], qemu: Qemu
) -> None:
    made, agent = hypervisor
    removed: list[str] = []

    async def remove(request: hostagent_pb2.RemoveParentRequest) -> None:
        removed.append(request.parent_id)

    agent.RemoveParent = remove  # type: ignore[method-assign]
    assert await made._ready.take(SHAPE) is not None
    made._ready.hold_back("until the end")

    async def load(*, fails: bool) -> None:
        await made.create(machine())
        if not fails:
            await made.load("c", "boot")
            return
        qemu.failing.add("load")
        with pytest.raises(Unavailable):
            await made.load("c", "boot")

    for fails in (True, False, True):
        await load(fails=fails)
    assert removed == []
    await load(fails=True)
    assert removed == ["parent-1"]


async def test_a_parent_is_not_given_up_for_a_host_that_is_slow(
    hypervisor: tuple[QemuHypervisor, FakeAgent], qemu: Qemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, agent = hypervisor
    agent.RemoveParent = None  # type: ignore[method-assign, assignment]
    assert await made._ready.take(SHAPE) is not None
    made._ready.hold_back("until the end")

    async def load(_: hostagent_pb2.RunningMachine) -> None:
        raise TimeoutError

    monkeypatch.setattr(launching_module, "load_clone", load)
    for _ in range(3):
        await made.create(machine())
        with pytest.raises(Unavailable) as caught:
            await made.load("c", "boot")
        assert caught.value.reason is Reason.CLONE_FAILED


async def test_a_launch_outlasts_all_that_the_agent_may_wait_for(
    hypervisor: tuple[QemuHypervisor, FakeAgent],
) -> None:
    # Or its container is asked for another way while the agent is still at work on the first.
    made, agent = hypervisor
    await made.create(machine())
    prepared_and_ordered = launchpad.PREPARE_SECONDS + launchpad.ORDER_SECONDS
    forked = server.REST_SECONDS + forker.SEIZE_SECONDS + 2 * forker.FORK_SECONDS
    longest = max(prepared_and_ordered, forked, launching.ATTACH_SECONDS)
    assert min(agent.launch_seconds) > longest

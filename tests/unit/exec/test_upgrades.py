"""QEMU is upgraded beneath a service that runs: what was made with the old one is of no use."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from vic.hostagent.v1 import hostagent_pb2

from portlayer.errors import FailedPrecondition
from services.exec.drivers import StartKind
from services.exec.drivers.qemu import ready as module
from services.exec.drivers.qemu.driver import QemuHypervisor
from services.exec.drivers.qemu.hostmemory import HostMemory
from tests.unit.exec.conftest import Facet
from tests.unit.exec.ready_pool import (
    DISK_BYTES,
    PLENTY,
    SHAPE,
    FakeAgent,
    Pool,
    Qemu,
    kept,
    machine,
)


class Driver:
    """The driver over a fake of the agent."""

    def __init__(self, agent: FakeAgent, meminfo: Path) -> None:
        self.agent = agent
        self.hypervisor = QemuHypervisor(
            cast("Any", agent),
            bootstrap_digest=SHAPE.bootstrap_digest,
            default_disk_bytes=DISK_BYTES,
            memory=HostMemory(meminfo),
        )

    async def until_waiting(self, count: int) -> None:
        async with asyncio.timeout(60):
            while self.hypervisor._ready.waiting != count:  # noqa: ASYNC110 — a turn of the loop
                await asyncio.sleep(0)

    async def start(self, name: str) -> StartKind:
        created = await self.hypervisor.create(machine(name, name))
        await self.hypervisor.load(name, name)
        await self.hypervisor.run(name, name)
        self.hypervisor.settled(name)
        return created.kind

    def built(self) -> int:
        kinds = [request.machine.kind for request in self.agent.launches]
        return kinds.count(hostagent_pb2.MACHINE_KIND_PARENT)


@pytest.fixture(params=[hostagent_pb2.ACCELERATOR_KVM, hostagent_pb2.ACCELERATOR_TCG])
async def driver(
    qemu: Qemu, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Driver]:
    (tmp_path / "meminfo").write_text(PLENTY)
    made = Driver(FakeAgent(accelerator=request.param), tmp_path / "meminfo")
    made.hypervisor.keep_ready(2)
    await made.hypervisor.open()
    await made.until_waiting(2)
    yield made
    await made.hypervisor.close()


async def test_one_start_waits_for_the_new_parent_and_the_next_one_finds_a_clone(
    driver: Driver,
) -> None:
    driver.agent.key = "newer"
    assert await driver.start("first") is StartKind.INSTANT_CLONE
    await driver.until_waiting(2)
    for name in ("second", "third"):
        assert await driver.start(name) is StartKind.READY_CLONE
        await driver.until_waiting(2)
    assert driver.built() == 1
    assert driver.hypervisor._ready.failed == 1
    # Nothing of the old parent is left, nor is it itself.
    assert "parent-1" not in driver.agent.parents
    assert "parent-1" not in {machine.parent_id for machine in driver.agent.machines.values()}


async def test_starts_at_that_moment_share_the_new_parent(driver: Driver) -> None:
    driver.agent.key = "newer"
    kinds = await asyncio.gather(*(driver.start(f"c{number}") for number in range(5)))
    assert StartKind.COLD_BOOT not in kinds
    assert driver.built() == 1


async def test_a_start_waits_where_no_clones_are_kept(driver: Driver) -> None:
    driver.hypervisor.keep_ready(0)
    await driver.until_waiting(0)
    driver.agent.key = "newer"
    kinds = [await driver.start(name) for name in ("first", "second")]
    assert kinds == [StartKind.INSTANT_CLONE, StartKind.INSTANT_CLONE]
    assert driver.built() == 1


async def test_a_start_that_is_refused_for_its_own_fault_costs_no_other_clone(
    driver: Driver,
) -> None:
    driver.hypervisor._ready.hold_back("until the end")
    first, second = (clone.machine_id for clone in driver.hypervisor._ready._waiting)
    driver.agent.failing[True] = FailedPrecondition("the disk is in use by machine x")
    await driver.start("first")
    assert [clone.machine_id for clone in driver.hypervisor._ready._waiting] == [second]
    assert first != second


async def test_what_the_agent_warns_of_is_told(driver: Driver, facet: Facet) -> None:
    driver.agent.warnings = ["VMs that run on with the QEMU that was here before an upgrade: 1"]
    warnings = (await driver.hypervisor.info()).warnings
    assert list(warnings) == driver.agent.warnings
    facet.hypervisor.warnings = ("one",)
    assert (await facet.vch.info()).warnings == ["one"]


@pytest.mark.parametrize(
    "accelerator", [hostagent_pb2.ACCELERATOR_KVM, hostagent_pb2.ACCELERATOR_TCG]
)
async def test_what_waits_is_replaced_before_a_start_meets_it(
    qemu: Qemu,
    tmp_path: Path,
    accelerator: hostagent_pb2.Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    async with kept(tmp_path, accelerator) as pool:
        await pool.full()
        pool.agent.key = "newer"
        await pool.until(lambda: "parent-1" not in parents_of(pool))
        await pool.full()
        assert pool.agent.refused == 0
        assert pool.clones.failed == 0


async def test_templates_of_other_classes_go_too(
    qemu: Qemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    other = hostagent_pb2.Shape()
    other.CopyFrom(SHAPE)
    other.memory_mib = 1024
    kind = hostagent_pb2.MACHINE_KIND_TEMPLATE
    async with kept(tmp_path, hostagent_pb2.ACCELERATOR_TCG) as pool:
        await pool.full()
        assert await pool.clones.take(other) is None
        machines = pool.agent.machines
        await pool.until(lambda: [one.kind for one in machines.values()].count(kind) == 2)
        pool.agent.key = "newer"
        await pool.until(lambda: "parent-1" not in parents_of(pool))
        await pool.full()
        assert pool.agent.refused == 0


async def test_a_qemu_that_does_not_run_under_kvm_any_more_gets_a_template(
    qemu: Qemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    kind = hostagent_pb2.MACHINE_KIND_TEMPLATE
    async with kept(tmp_path, hostagent_pb2.ACCELERATOR_KVM) as pool:
        await pool.full()
        machines = pool.agent.machines
        assert kind not in {machine.kind for machine in machines.values()}
        pool.agent.key = "newer"
        pool.agent.accelerator = hostagent_pb2.ACCELERATOR_TCG
        await pool.until(lambda: kind in {machine.kind for machine in machines.values()})
        await pool.full()


async def test_an_agent_that_cannot_be_asked_costs_nothing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.full()
    asked = asyncio.Event()

    async def away(request: Any) -> hostagent_pb2.ListParentsResponse:
        asked.set()
        raise FailedPrecondition("QEMU can't be run")

    monkeypatch.setattr(pool.agent, "ListParents", away)
    await pool.clones.weed()
    assert asked.is_set()
    assert pool.clones.waiting == 2


def parents_of(pool: Pool) -> set[str]:
    return {machine.parent_id for machine in pool.agent.machines.values()}

"""How the driver brings machines up: of a ready clone, a parent, or by a boot."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from vic.hostagent.v1 import hostagent_pb2

from hostagent import launching, launchpad
from hostagent.forking import forker, server
from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    Reason,
    Unavailable,
)
from services.exec.drivers import StartKind
from services.exec.drivers.qemu import launching as launching_module
from services.exec.drivers.qemu.driver import QemuHypervisor
from services.exec.drivers.qemu.hostmemory import HostMemory
from services.exec.drivers.qemu.qmp import QmpError
from tests.unit.exec.ready_pool import DISK_BYTES, PLENTY, SHAPE, FakeAgent, Qemu, machine

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


async def test_a_machine_that_is_ended_while_it_begins_is_nobodys_fault(
    hypervisor: tuple[QemuHypervisor, FakeAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, agent = hypervisor
    agent.RemoveParent = None  # type: ignore[method-assign, assignment]
    assert await made._ready.take(SHAPE) is not None
    made._ready.hold_back("until the end")

    async def ended(*_: object) -> None:
        await made.destroy("c", "boot")
        raise QmpError("connection lost")

    monkeypatch.setattr(launching_module, "load_clone", ended)
    monkeypatch.setattr(launching_module, "command", ended)
    for _ in range(3):
        await made.create(machine())
        with pytest.raises(Unavailable) as loading:
            await made.load("c", "boot")
        with pytest.raises(Unavailable) as running:
            await made.run("c", "boot")
        await made.create(machine())
        with pytest.raises(Unavailable) as going_on:
            await made.run("c", "boot")
        reasons = {caught.value.reason for caught in (loading, running, going_on)}
        assert reasons == {Reason.HYPERVISOR_FAILED}


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

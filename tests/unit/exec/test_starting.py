"""How a start gets its VM, and that none is left where it fails."""

import asyncio

import pytest
from vic.exec.v1 import container_pb2

from portlayer.errors import (
    FailedPrecondition,
    Reason,
    Unavailable,
)
from services.exec import starting
from services.exec.drivers import MachineExited, StartKind
from services.exec.states import State
from tests.unit.exec.conftest import Facet, turns
from tests.unit.exec.specs import SPEC, kinds, spec


async def test_start_of_a_running_container_is_already_done(facet: Facet) -> None:
    container_id = await facet.run()
    with pytest.raises(FailedPrecondition) as caught:
        await facet.lifecycle.start(container_id)
    assert caught.value.reason is Reason.ALREADY_DONE


@pytest.mark.parametrize("call", ["Bind", "Launch"])
async def test_a_failed_start_leaves_no_vm(facet: Facet, call: str) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.failing[call] = FailedPrecondition(
        'exec: "x": executable file not found in $PATH', Reason.LAUNCH_FAILED, exit_code="127"
    )
    with pytest.raises(ExceptionGroup):
        await facet.lifecycle.start(record.id)
    assert not facet.hypervisor.machines
    assert not facet.peers.bound
    record = await facet.containers.resolve(record.id)
    assert (record.state, record.exit_code) == (State.CREATED, 127)
    assert "executable file not found" in record.error
    await facet.lifecycle.start(record.id)


async def test_a_start_outlasts_a_restart_of_interaction(facet: Facet) -> None:
    facet.peers.failing["Launch"] = Unavailable("socket closed")
    container_id = await facet.run()
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING


async def test_a_clone_that_fails_is_booted(facet: Facet) -> None:
    facet.hypervisor.failing["load"] = Unavailable("no", Reason.CLONE_FAILED)
    container_id = await facet.run()
    record = await facet.containers.resolve(container_id)
    assert record.start_kind == container_pb2.START_KIND_COLD_BOOT
    assert facet.hypervisor.kinds == [False, True]


async def test_a_ready_clone_that_fails_is_replaced_by_another_start(facet: Facet) -> None:
    facet.hypervisor.failing["run"] = Unavailable(
        "it does not go on", Reason.CLONE_FAILED, start=StartKind.READY_CLONE.name
    )
    record = await facet.containers.resolve(await facet.run())
    assert record.start_kind == container_pb2.START_KIND_INSTANT_CLONE
    assert facet.hypervisor.kinds == [False, False]
    assert facet.hypervisor.machines == {record.id: record.boot_id}
    # The pool is told that either start is over, one way or the other.
    assert len(set(facet.hypervisor.settlements)) == 2


@pytest.mark.parametrize("silent", [True, False])
async def test_a_ready_clone_that_stays_silent_is_not_waited_for_long(
    facet: Facet, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setattr(starting, "READY_SECONDS", 0.01)
    facet.hypervisor.ready = 1
    facet.peers.answer_launch.clear()
    checked = asyncio.Event()
    error = Unavailable("silent", Reason.CLONE_FAILED, start=StartKind.READY_CLONE.name)

    async def check_awake(container_id: str, boot_id: str) -> None:
        checked.set()
        facet.peers.answer_launch.set()
        if silent:
            raise error

    monkeypatch.setattr(facet.hypervisor, "check_awake", check_awake)
    record = await facet.containers.resolve(await facet.run())
    assert checked.is_set()
    assert facet.hypervisor.kinds == ([False, False] if silent else [False])
    kind = StartKind.INSTANT_CLONE if silent else StartKind.READY_CLONE
    assert record.start_kind == kind.value
    assert facet.hypervisor.machines == {record.id: record.boot_id}


async def test_a_start_among_which_all_ready_clones_fail_is_a_boot_in_the_end(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(container_id: str, boot_id: str) -> None:
        if not facet.hypervisor.specs[boot_id].cold:
            raise Unavailable("torn", Reason.CLONE_FAILED, start=StartKind.READY_CLONE.name)

    monkeypatch.setattr(facet.hypervisor, "run", run)
    record = await facet.containers.resolve(await facet.run())
    assert record.start_kind == container_pb2.START_KIND_COLD_BOOT
    assert facet.hypervisor.kinds == [False, False, True]
    assert facet.hypervisor.machines == {record.id: record.boot_id}


async def test_a_second_ready_clone_is_given_the_time_of_any_vm(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a host so busy that two in a row are silent, a boot would take twenty times as long.
    monkeypatch.setattr(starting, "READY_SECONDS", 0.0)
    facet.hypervisor.ready = 2
    facet.peers.answer_launch.clear()
    checked: list[str] = []

    async def check_awake(container_id: str, boot_id: str) -> None:
        checked.append(boot_id)
        raise Unavailable("silent", Reason.CLONE_FAILED, start=StartKind.READY_CLONE.name)

    monkeypatch.setattr(facet.hypervisor, "check_awake", check_awake)
    running = asyncio.create_task(facet.run())
    async with asyncio.timeout(60):
        while not checked or checked == list(facet.peers.boots.values()):
            await turns()
    await turns()
    facet.peers.answer_launch.set()
    record = await facet.containers.resolve(await running)
    assert record.start_kind == container_pb2.START_KIND_READY_CLONE
    assert len(checked) == 1


async def test_a_vm_that_ends_while_it_starts_ends_the_start(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.answer_launch.clear()
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await facet.peers.launched.wait()
    exited = MachineExited(record.id, facet.peers.boots[record.id], b"", "signal 9")
    ending = asyncio.create_task(facet.exits.machine_exited(exited))
    async with asyncio.timeout(60):
        with pytest.raises(ExceptionGroup) as caught:
            await starting
        await ending
    assert "the VM ended while it started" in str(caught.value.exceptions)
    assert (await facet.containers.resolve(record.id)).state is State.CREATED
    assert await kinds(facet) == ["create"]


async def test_why_a_start_failed_outlives_a_failing_undo(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.failing["Bind"] = Unavailable("no tap")
    facet.hypervisor.failing["destroy"] = Unavailable("the agent is away")
    with pytest.raises(ExceptionGroup):
        await facet.lifecycle.start(record.id)
    assert (await facet.containers.resolve(record.id)).error == "no tap"
    # The VM that is left must not keep the next start from its own.
    started = await facet.lifecycle.start(record.id)
    assert facet.hypervisor.machines == {record.id: started.boot_id}


async def test_why_a_start_failed_outlives_a_failing_removal(facet: Facet) -> None:
    record = await facet.creator.create("", spec(auto_remove=True))
    facet.peers.failing["Bind"] = Unavailable("no tap")
    facet.peers.failing["Remove"] = Unavailable("storage is away")
    with pytest.raises(ExceptionGroup) as caught:
        await facet.lifecycle.start(record.id)
    assert "no tap" in str(caught.value.exceptions)
    assert await facet.reconciler.reconcile()
    assert facet.leftovers() == []


async def test_a_clone_that_failed_is_booted_under_another_boot(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.hypervisor.failing["load"] = Unavailable("no", Reason.CLONE_FAILED)
    started = await facet.lifecycle.start(record.id)
    assert len(facet.hypervisor.launched) == 2
    assert facet.hypervisor.machines == {record.id: started.boot_id}


async def test_what_a_guest_says_of_its_kernel_is_bounded(facet: Facet) -> None:
    facet.peers.kernel_release = "6" * 100_000
    container_id = await facet.run()
    assert len((await facet.containers.resolve(container_id)).kernel_release) == 64


async def test_of_a_hundred_starts_few_are_at_work_at_a_time(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work = most = 0
    load, full = facet.hypervisor.load, asyncio.Event()

    async def counted(container_id: str, boot_id: str) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        if at_work == 8:
            full.set()
        await full.wait()
        await load(container_id, boot_id)
        at_work -= 1

    monkeypatch.setattr(facet.hypervisor, "load", counted)
    made = [(await facet.creator.create("", SPEC)).id for _ in range(40)]
    async with asyncio.timeout(60):
        await asyncio.gather(*map(facet.lifecycle.start, made))
    assert set(facet.hypervisor.machines) == set(made)
    # The fake has two CPUs.
    assert most == 8

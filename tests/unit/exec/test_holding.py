"""Files of containers that don't run: utility VMs, who uses them, and what they give way to."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from vic.exec.v1 import container_pb2, exec_pb2

from portlayer.errors import (
    FailedPrecondition,
    Reason,
    ResourceExhausted,
    Unavailable,
    VicError,
    leaf_error,
)
from services.exec import holding
from services.exec.drivers import MachineExited, StartKind
from services.exec.record import Record
from services.exec.states import State
from services.exec.utility_vms import is_utility
from tests.unit.exec.conftest import Facet, turns

NONE = exec_pb2.VOLUME_REACH_UNSPECIFIED
READ = exec_pb2.VOLUME_REACH_READ
WRITE = exec_pb2.VOLUME_REACH_WRITE
VOLUME = container_pb2.Mount(kind=container_pb2.MOUNT_KIND_VOLUME, source="data", target="/data")
TMPFS = container_pb2.Mount(kind=container_pb2.MOUNT_KIND_TMPFS, target="/tmp")


async def made(facet: Facet, **fields: Any) -> str:
    spec = container_pb2.ContainerSpec(image="busybox", **fields)
    return (await facet.creator.create("", spec)).id


def held(facet: Facet, container_id: str, reach: Any = NONE, *, image: bool = False) -> Any:
    return facet.lifecycle.holding.held(container_id, reach, image=image)


async def test_a_container_that_runs_has_its_own_vm(facet: Facet) -> None:
    container_id = await facet.run()
    boot_id = facet.hypervisor.machines[container_id]
    async with held(facet, container_id, WRITE, image=True) as hold:
        assert (hold.boot_id, hold.utility, hold.image_lun) == (boot_id, False, 255)
    assert facet.hypervisor.machines == {container_id: boot_id}


async def test_one_that_does_not_gets_a_bare_vm_and_stays_as_it_is(facet: Facet) -> None:
    container_id = await made(
        facet,
        mounts=[VOLUME, TMPFS],
        read_only_root=True,
        resources=container_pb2.Resources(memory_bytes=2**32),
    )
    async with held(facet, container_id, READ, image=True) as hold:
        assert hold.utility
        assert hold.root_read_only
        assert hold.image_lun == 255
        spec = facet.hypervisor.specs[hold.boot_id]
        # Nothing of it runs there: no size of its own, no networks, no tmpfs.
        assert spec.spec.resources == container_pb2.Resources()
        assert [endpoint.management for endpoint in spec.endpoints] == [True]
        assert [mount.target for mount in spec.spec.mounts] == ["/data"]
        assert facet.peers.volumes.read_only
        assert facet.peers.bound == set()
        record = await facet.containers.resolve(container_id)
        assert (record.state, record.boot_id) == (State.CREATED, "")
    # Kept a while for whoever comes next, which is the content after its description.
    assert is_utility(facet.hypervisor.machines[container_id])


async def test_all_who_come_share_one_and_it_goes_when_nobody_has_for_a_while(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "IDLE_SECONDS", 0.0)
    container_id = await made(facet)
    async with AsyncExitStack() as stack:
        holds = [await stack.enter_async_context(held(facet, container_id)) for _ in range(10)]
        assert len({hold.boot_id for hold in holds}) == 1
        boot_id = holds[0].boot_id
        gone = facet.exits.gone(boot_id)
    async with asyncio.timeout(60):
        await gone.wait()
        async with facet.turns.turn(container_id):
            assert facet.hypervisor.machines == {}
    # Its guest has flushed the disk, and interaction knows that it is gone.
    assert facet.peers.powered_off == [container_id]
    assert facet.peers.retired == [boot_id]
    assert boot_id in facet.hypervisor.settlements


async def test_volumes_are_written_only_by_who_asks_for_that(facet: Facet) -> None:
    container_id = await made(facet, mounts=[VOLUME])
    async with held(facet, container_id) as bare:
        assert facet.peers.volumes.attached == {}
    async with held(facet, container_id, READ) as reading:
        assert facet.peers.volumes.read_only
        assert reading.boot_id != bare.boot_id
    async with held(facet, container_id, WRITE) as writing:
        assert not facet.peers.volumes.read_only
        assert facet.peers.volumes.attached == {container_id: writing.boot_id}
    async with held(facet, container_id, READ) as again:
        assert again.boot_id == writing.boot_id
    await facet.lifecycle.remove(container_id, container_id, force=False)
    assert facet.leftovers() == []


async def test_who_would_write_volumes_that_are_being_read_is_told_so(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "GRACE_SECONDS", 0.01)
    container_id = await made(facet, mounts=[VOLUME])
    async with held(facet, container_id, READ):
        with pytest.raises(FailedPrecondition, match="are being read") as refused:
            async with held(facet, container_id, WRITE):
                raise AssertionError
        assert refused.value.reason is Reason.FILES_TAKEN


async def test_a_start_waits_for_those_at_work_and_takes_the_disk(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    container_id = await made(facet)
    async with held(facet, container_id) as hold:
        begun = asyncio.Event()

        async def give_way(of: str, seconds: float) -> bool:
            assert (of, seconds) == (container_id, holding.GRACE_SECONDS)
            begun.set()
            return await given_way(of, seconds)

        given_way = facet.lifecycle.holding.give_way
        monkeypatch.setattr(facet.lifecycle.holding, "give_way", give_way)
        starting = asyncio.create_task(facet.lifecycle.start(container_id))
        await begun.wait()
        await turns()
        assert not starting.done()
        assert facet.hypervisor.machines[container_id] == hold.boot_id
    record = await starting
    assert record.state is State.RUNNING
    assert facet.hypervisor.machines == {container_id: record.boot_id}


async def test_a_start_does_not_wait_for_ever(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.exec.lifecycle.GRACE_SECONDS", 0.01)
    container_id = await made(facet)
    async with held(facet, container_id) as hold:
        assert (await facet.lifecycle.start(container_id)).state is State.RUNNING
        assert (await hold.lost).reason is Reason.FILES_TAKEN


async def test_a_removal_does_not_wait(facet: Facet) -> None:
    container_id = await made(facet)
    async with held(facet, container_id) as hold:
        await facet.lifecycle.remove(container_id, container_id, force=False)
        assert (await hold.lost).reason is Reason.FILES_TAKEN
    assert facet.leftovers() == []


async def test_another_container_gets_the_volumes_that_a_utility_vm_has(facet: Facet) -> None:
    first, second = await made(facet, mounts=[VOLUME]), await made(facet, mounts=[VOLUME])
    async with held(facet, first, READ):
        pass
    facet.peers.volumes.failing["Attach"] = FailedPrecondition(
        "attached", Reason.VOLUME_ATTACHED, container=first
    )
    assert (await facet.lifecycle.start(second)).state is State.RUNNING
    assert list(facet.hypervisor.machines) == [second]
    # By a power-off, so that the volume is at rest.
    assert facet.peers.powered_off == [first]


async def test_a_vm_that_ends_by_itself_is_told_and_replaced(facet: Facet) -> None:
    container_id = await made(facet)
    async with held(facet, container_id) as hold:
        boot_id = facet.hypervisor.machines.pop(container_id)
        exited = MachineExited(container_id, boot_id, b"", "killed")
        await facet.exits.machine_exited(exited)
        assert (await hold.lost).reason is Reason.HYPERVISOR_FAILED
    async with held(facet, container_id) as again:
        assert again.boot_id != boot_id
    record = await facet.containers.resolve(container_id)
    assert record.state is State.CREATED


@pytest.mark.parametrize("call", ["create", "load", "run", "Bind", "Admit", "show_image"])
async def test_one_that_can_not_be_made_leaves_nothing(facet: Facet, call: str) -> None:
    container_id = await made(facet, mounts=[VOLUME])
    failing = facet.peers.failing if call in ("Bind", "Admit") else facet.hypervisor.failing
    failing[call] = Unavailable("no", Reason.HYPERVISOR_FAILED)
    with pytest.raises((VicError, ExceptionGroup)) as refused:
        async with held(facet, container_id, WRITE, image=True):
            raise AssertionError
    assert isinstance(leaf_error(refused.value), Unavailable)
    await facet.lifecycle.remove(container_id, container_id, force=False)
    assert facet.leftovers() == []
    assert facet.peers.volumes.attached == {}


async def test_a_clone_that_fails_is_booted_instead(facet: Facet) -> None:
    container_id = await made(facet)
    facet.hypervisor.failing["load"] = Unavailable("torn", Reason.CLONE_FAILED)
    async with held(facet, container_id) as hold:
        assert facet.hypervisor.specs[hold.boot_id].cold
    assert facet.lifecycle.starts[StartKind.COLD_BOOT] == 0, "it is no start of a container"


async def test_one_that_nobody_uses_gives_way_to_another_containers(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "MOST", 2)
    monkeypatch.setattr(holding, "ROOM_SECONDS", 0.05)
    first, second, third = [await made(facet) for _ in range(3)]
    async with held(facet, first):
        async with held(facet, second):
            with pytest.raises(ResourceExhausted):
                async with held(facet, third):
                    raise AssertionError
        async with held(facet, third):
            assert set(facet.hypervisor.machines) == {first, third}


async def test_the_reconciler_leaves_one_in_use_and_ends_what_a_crash_left(facet: Facet) -> None:
    container_id = await made(facet, mounts=[VOLUME])
    async with held(facet, container_id, WRITE) as hold:
        assert await facet.reconciler.reconcile()
        assert facet.hypervisor.machines == {container_id: hold.boot_id}
        successor = facet.restarted()
        await successor.reconciler.reconcile()
        assert successor.hypervisor.machines == {}
        assert successor.peers.volumes.attached == {}
        assert (await successor.containers.resolve(container_id)).state is State.CREATED


async def test_a_lost_database_takes_none_for_its_container(facet: Facet) -> None:
    container_id = await made(facet)
    async with held(facet, container_id):
        successor = facet.restarted()
        await successor.containers.delete(container_id)
        for _ in range(2):
            await successor.reconciler.reconcile()
        record = await successor.containers.resolve(container_id)
        assert record.state is State.CREATED
        assert successor.hypervisor.machines == {}


@pytest.mark.parametrize("state", [State.PAUSED, State.REMOVING, State.DEAD])
async def test_files_that_can_not_be_reached_are_refused(facet: Facet, state: State) -> None:
    container_id = await made(facet)
    record = await facet.containers.resolve(container_id)
    await facet.containers.update(replace(record, state=state))
    with pytest.raises(FailedPrecondition) as refused:
        async with held(facet, container_id):
            raise AssertionError
    assert refused.value.reason is Reason.WRONG_STATE


async def test_a_boot_that_has_ended_is_not_answered_any_more(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    container_id = await facet.run()
    boot_id = facet.hypervisor.machines[container_id]
    holding_it = facet.lifecycle.holding.held(
        container_id, NONE, image=False, ended_boot_id=boot_id
    )
    asked = asyncio.Event()

    async def ended(record: Record) -> None:
        asked.set()
        await known_to_have_ended(record)

    known_to_have_ended = facet.exits.ended
    monkeypatch.setattr(facet.exits, "ended", ended)
    reaching = asyncio.create_task(holding_it.__aenter__())
    await asked.wait()
    await turns()
    assert not reaching.done()
    # The news of its end comes here.
    await facet.peers.end(container_id, 0)
    hold = await reaching
    assert hold.utility
    assert hold.boot_id != boot_id
    await holding_it.__aexit__(None, None, None)


def database_away_once(facet: Facet, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Have the next turn fail; return what is set then."""
    turn, failed = facet.turns.turn, asyncio.Event()

    def away(container_id: str) -> Any:
        monkeypatch.setattr(facet.turns, "turn", turn)
        failed.set()
        raise Unavailable("the database can't be reached")

    monkeypatch.setattr(facet.turns, "turn", away)
    return failed


async def test_an_unused_one_is_ended_when_the_database_is_back(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "IDLE_SECONDS", 0.0)
    container_id = await made(facet)
    async with held(facet, container_id) as hold:
        gone = facet.exits.gone(hold.boot_id)
        failed = database_away_once(facet, monkeypatch)
    async with asyncio.timeout(60):
        await failed.wait()
        await gone.wait()
        async with facet.turns.turn(container_id):
            assert facet.hypervisor.machines == {}


async def test_one_that_ended_while_the_database_was_away_is_replaced(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    container_id = await made(facet)
    async with held(facet, container_id) as hold:
        boot_id = facet.hypervisor.machines.pop(container_id)
        failed = database_away_once(facet, monkeypatch)
        await facet.exits.machine_exited(MachineExited(container_id, boot_id, b"", "killed"))
        await failed.wait()
        assert hold.lost.done()
    async with held(facet, container_id) as again:
        assert again.boot_id != boot_id
        assert not again.lost.done()


async def test_one_that_ends_while_the_service_does_keeps_no_other(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await made(facet), await made(facet)
    async with held(facet, first), held(facet, second):
        pass
    destroy = facet.hypervisor.destroy

    async def end_the_other(container_id: str, boot_id: str = "", *, wait: bool = True) -> None:
        monkeypatch.setattr(facet.hypervisor, "destroy", destroy)
        other = second if container_id == first else first
        async with facet.turns.turn(other):
            await facet.lifecycle.holding.give_way(other, 0)
        await destroy(container_id, boot_id, wait=wait)

    monkeypatch.setattr(facet.hypervisor, "destroy", end_the_other)
    await facet.lifecycle.holding.close()
    assert facet.hypervisor.machines == {}

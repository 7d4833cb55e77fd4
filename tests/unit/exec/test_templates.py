"""Templates, and the clones that are forks of them."""

import asyncio
from functools import partial
from pathlib import Path

from vic.hostagent.v1 import hostagent_pb2

from portlayer.errors import Internal, Reason
from tests.unit.exec.ready_pool import LITTLE, SHAPE, TIGHT, FakeAgent, Pool, Qemu, kept


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


async def test_where_no_template_can_be_launched_clones_warm_up_themselves(
    qemu: Qemu, tmp_path: Path
) -> None:
    async with kept(tmp_path, hostagent_pb2.ACCELERATOR_TCG) as pool:
        pool.agent.no_template = Internal("no user namespaces", Reason.LAUNCH_FAILED)
        await pool.full()
        assert forks(pool.agent) == []
        kinds = [machine.kind for machine in pool.agent.machines.values()]
        assert kinds.count(hostagent_pb2.MACHINE_KIND_READY) == 2


async def test_a_template_that_could_not_be_launched_thrice_is_not_tried_again(
    qemu: Qemu, tmp_path: Path
) -> None:
    async with kept(tmp_path, hostagent_pb2.ACCELERATOR_TCG) as pool:
        pool.agent.no_template = Internal("no user namespaces", Reason.LAUNCH_FAILED)
        await pool.full()
        for _ in range(3):
            clone = await pool.clones.take(SHAPE)
            assert clone is not None
            pool.clones.give_up(clone.machine_id)
            await pool.full()
        kinds = [request.machine.kind for request in pool.agent.launches]
        assert kinds.count(hostagent_pb2.MACHINE_KIND_TEMPLATE) == 3


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


# Templates of other classes


def of_class(memory_mib: int) -> hostagent_pb2.Shape:
    shape = hostagent_pb2.Shape()
    shape.CopyFrom(SHAPE)
    shape.memory_mib = memory_mib
    return shape


def templates(agent: FakeAgent) -> list[int]:
    """Memory of the classes that there is a template of."""
    kind = hostagent_pb2.MACHINE_KIND_TEMPLATE
    return [one.shape.memory_mib for one in agent.machines.values() if one.kind == kind]


def has_template(agent: FakeAgent, memory_mib: int) -> bool:
    return memory_mib in templates(agent)


async def start_of(pool: Pool, memory_mib: int) -> bool:
    """Take a clone of a class, as a start does, and end it; tell whether it was a fork."""
    clone = await pool.clones.take(of_class(memory_mib))
    if clone is not None:
        assert pool.agent.machines[clone.machine_id].shape.memory_mib == memory_mib
        pool.clones.give_up(clone.machine_id)
    return clone is not None


async def test_the_second_start_of_a_class_is_a_fork_of_its_template(emulated: Pool) -> None:
    await emulated.full()
    assert not await start_of(emulated, 1024)
    await emulated.until(lambda: templates(emulated.agent) == [512, 1024])
    assert await start_of(emulated, 1024)
    assert await start_of(emulated, 512)
    # None waits of it.
    await emulated.full()
    assert emulated.clones.waiting == 2


async def test_the_template_that_was_used_longest_ago_goes_first(emulated: Pool) -> None:
    await emulated.full()
    for memory_mib in (256, 1024, 2048, 4096):
        assert not await start_of(emulated, memory_mib)
        await emulated.until(partial(has_template, emulated.agent, memory_mib))
    assert await start_of(emulated, 256)
    assert not await start_of(emulated, 8192)
    await emulated.until(lambda: 8192 in templates(emulated.agent))
    assert sorted(templates(emulated.agent)) == [256, 512, 2048, 4096, 8192]


async def test_no_template_of_another_class_is_made_where_memory_is_short(
    emulated: Pool,
) -> None:
    await emulated.full()
    emulated.meminfo.write_text(TIGHT)
    assert not await start_of(emulated, 1024)
    emulated.clones.want(2)
    for _ in range(100):
        await asyncio.sleep(0)
    assert templates(emulated.agent) == [512]


async def test_templates_of_other_classes_go_when_memory_is_short(emulated: Pool) -> None:
    await emulated.full()
    assert not await start_of(emulated, 1024)
    await emulated.until(lambda: templates(emulated.agent) == [512, 1024])
    emulated.meminfo.write_text(LITTLE)
    emulated.clones.want(2)
    await emulated.until(lambda: templates(emulated.agent) == [])

"""Restart policies where all went down: the suite, or its host."""

from dataclasses import replace

import pytest
from vic.exec.v1 import container_pb2, exec_pb2

from portlayer.errors import Unavailable
from services.exec.drivers import MachineExited
from services.exec.states import State
from tests.unit.exec.conftest import Facet
from tests.unit.exec.specs import spec
from tests.unit.exec.test_listing import NO_CONTEXT, servicer
from tests.unit.exec.test_restarts import ALWAYS, NO, UNLESS_STOPPED, on_failure, waits_for_restart


async def test_what_the_suite_stopped_is_started_with_it(facet: Facet) -> None:
    await facet.restarts.open("first")
    ran = [await facet.run(str(p.condition) * 2, restart_policy=p) for p in POLICIES]
    await facet.restarts.close()
    for container_id in ran:
        await facet.lifecycle.stop(container_id, 60, "")
    facet = facet.restarted()
    await facet.restarts.open("first")
    assert await states(facet, ran) == [
        State.RESTARTING,
        State.RESTARTING,
        State.RESTARTING,
        State.EXITED,
    ]


async def test_nothing_is_started_while_the_suite_ends(facet: Facet) -> None:
    await facet.restarts.open("first")
    runs = await facet.run("runs")
    made = await facet.creator.create("", spec(name="made"))
    waiting = await waits_for_restart(facet)
    await facet.restarts.close()
    service = servicer(facet)
    request = exec_pb2.CreateRequest(spec=spec(name="late"))
    with pytest.raises(Unavailable, match="the suite is going down"):
        await service.Create(request, NO_CONTEXT)
    for refused in (
        facet.lifecycle.start(made.id),
        facet.lifecycle.restart(runs, 60, ""),
    ):
        with pytest.raises(Unavailable, match="the suite is going down"):
            await refused
    await facet.lifecycle.start_again(waiting)
    assert await states(facet, [runs, made.id, waiting]) == [
        State.RUNNING,
        State.CREATED,
        State.RESTARTING,
    ]
    await facet.lifecycle.stop(runs, 60, "")
    # It can be up again without having ended: exec alone is started anew.
    facet = facet.restarted()
    await facet.restarts.open("first")
    await facet.lifecycle.start(made.id)


async def test_a_start_that_is_on_its_way_when_the_suite_ends_makes_no_machine(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await facet.creator.create("", spec(name="made"))
    give_way = facet.lifecycle.holding.give_way

    async def late(container_id: str, seconds: float) -> None:
        await give_way(container_id, seconds)
        await facet.restarts.close()

    monkeypatch.setattr(facet.lifecycle.holding, "give_way", late)
    with pytest.raises(Unavailable, match="the suite is going down"):
        await facet.lifecycle.start(made.id)
    assert await states(facet, [made.id]) == [State.CREATED]
    assert not facet.hypervisor.machines


async def test_after_a_reboot_what_was_stopped_by_hand_is_started_by_always_alone(
    facet: Facet,
) -> None:
    await facet.restarts.open("first")
    ran = [await facet.run(str(p.condition) * 2, restart_policy=p) for p in POLICIES]
    never = await facet.creator.create("", spec(restart_policy=ALWAYS))
    for container_id in ran:
        await facet.lifecycle.stop(container_id, 60, "")
    facet = facet.restarted()
    await facet.restarts.open("first")
    assert await states(facet, ran) == [State.EXITED] * 4
    await facet.restarts.open("second")
    assert await states(facet, ran) == [State.RESTARTING, *[State.EXITED] * 3]
    assert await states(facet, [never.id]) == [State.CREATED]


POLICIES = (ALWAYS, UNLESS_STOPPED, on_failure(), NO)


async def states(facet: Facet, ids: list[str]) -> list[State]:
    return [(await facet.containers.resolve(i)).state for i in ids]


@pytest.mark.parametrize(
    ("restart_policy", "state"),
    [
        (ALWAYS, State.RESTARTING),
        (UNLESS_STOPPED, State.RESTARTING),
        (on_failure(2), State.RESTARTING),
        (on_failure(1), State.EXITED),
        (NO, State.EXITED),
    ],
)
async def test_what_the_host_took_down_begins_anew(
    facet: Facet, restart_policy: container_pb2.RestartPolicy, state: State
) -> None:
    """As dockerd has it after a boot: 255, and no restart counts."""
    container = await facet.run(restart_policy=restart_policy)
    record = await facet.containers.resolve(container)
    await facet.containers.update(replace(record, restart_count=1))
    boot_id = facet.hypervisor.machines.pop(container)
    await facet.exits.machine_exited(
        MachineExited(container, boot_id, b"", "the host went down", host_restarted=True)
    )
    await facet.exits.drain()
    record = await facet.containers.resolve(container)
    assert (record.state, record.exit_code) == (state, 255)
    assert record.restart_count == (0 if state is State.RESTARTING else 1)
    assert record.finished_ns >= record.started_ns


async def test_an_end_before_the_host_went_down_keeps_its_code(facet: Facet) -> None:
    container = await facet.run()
    boot_id = facet.hypervisor.machines.pop(container)
    told = b'{"exit_code": 3, "finished_at_ns": 1700000000000000000}'
    await facet.exits.machine_exited(
        MachineExited(container, boot_id, told, "the host went down", host_restarted=True)
    )
    assert (await facet.containers.resolve(container)).exit_code == 3

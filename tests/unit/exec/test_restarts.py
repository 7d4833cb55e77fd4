"""Restart policies: who is started again, when, and what ends that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from vic.exec.v1 import container_pb2, exec_pb2

from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    Unavailable,
)
from services.exec import policy
from services.exec.drivers import MachineExited
from services.exec.policy import to_restart, wants_restart
from services.exec.record import Record
from services.exec.states import State
from services.exec.waiting import wait
from tests.unit.exec.conftest import Facet
from tests.unit.exec.specs import kinds, spec

NO = container_pb2.RestartPolicy(condition=container_pb2.RESTART_CONDITION_NO)
ALWAYS = container_pb2.RestartPolicy(condition=container_pb2.RESTART_CONDITION_ALWAYS)
UNLESS_STOPPED = container_pb2.RestartPolicy(
    condition=container_pb2.RESTART_CONDITION_UNLESS_STOPPED
)
S = 10**9


def on_failure(retries: int = 0) -> container_pb2.RestartPolicy:
    return container_pb2.RestartPolicy(
        condition=container_pb2.RESTART_CONDITION_ON_FAILURE, maximum_retries=retries
    )


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FIRST_DELAY_NS", 1_000_000)


@asynccontextmanager
async def keeping(facet: Facet) -> AsyncIterator[None]:
    """Have restart policies kept meanwhile."""
    running = asyncio.create_task(facet.restarts.run())
    try:
        async with asyncio.timeout(60):
            yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await facet.restarts.drain(60)


async def happened(facet: Facet, kind: exec_pb2.EventKind, times: int) -> None:
    """Return when something has happened so many times."""
    async for event in facet.events.follow(0):
        times -= event.kind == kind
        if not times:
            return


def record(policy: container_pb2.RestartPolicy, **fields: Any) -> Record:
    return Record("a", "a", spec(restart_policy=policy), 1, **fields)


@pytest.mark.parametrize(
    ("asked", "code", "count", "wanted"),
    [
        (NO, 1, 0, False),
        (container_pb2.RestartPolicy(), 1, 0, False),
        (ALWAYS, 0, 99, True),
        (UNLESS_STOPPED, 0, 99, True),
        (on_failure(), 0, 0, False),
        (on_failure(), 3, 99, True),
        (on_failure(2), 3, 1, True),
        (on_failure(2), 3, 2, False),
    ],
)
def test_what_a_policy_says_of_an_exit(
    asked: container_pb2.RestartPolicy, code: int, count: int, wanted: bool
) -> None:
    assert wants_restart(record(asked, restart_count=count), code) is wanted


def test_pauses_double_up_to_a_minute_and_begin_anew_after_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    waiting, pauses = record(ALWAYS), []
    for _ in range(12):
        waiting = to_restart(waiting, 7, 0)
        pauses.append((waiting.restart_at_ns - 7) / S)
    assert pauses[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert pauses[-2:] == [60, 60]
    assert to_restart(waiting, 7, 10 * S).restart_at_ns == 7 + S // 10


async def test_a_container_that_always_runs_is_started_again(facet: Facet) -> None:
    async with keeping(facet):
        container_id = await facet.run(restart_policy=ALWAYS)
        for turn in range(3):
            await facet.peers.end(container_id, 0)
            await happened(facet, exec_pb2.EVENT_KIND_START, turn + 2)
        now = await facet.containers.resolve(container_id)
        assert (now.state, now.restart_count) == (State.RUNNING, 3)
        assert await kinds(facet) == ["create", "start", *["die", "start"] * 3]
        assert list(facet.hypervisor.machines.values()) == [now.boot_id]


async def test_on_failure_gives_up_after_so_many(facet: Facet) -> None:
    async with keeping(facet):
        container_id = await facet.run(restart_policy=on_failure(2))
        for turn in range(3):
            await happened(facet, exec_pb2.EVENT_KIND_START, turn + 1)
            await facet.peers.end(container_id, 7)
        await facet.exits.drain()
    now = await facet.containers.resolve(container_id)
    assert (now.state, now.exit_code, now.restart_count) == (State.EXITED, 7, 2)
    await facet.lifecycle.start(container_id)
    assert (await facet.containers.resolve(container_id)).restart_count == 0


async def test_a_vm_killed_behind_our_back_obeys_the_policy(facet: Facet) -> None:
    async with keeping(facet):
        container_id = await facet.run(restart_policy=UNLESS_STOPPED)
        boot = facet.peers.boots[container_id]
        facet.hypervisor.machines.clear()
        await facet.exits.machine_exited(MachineExited(container_id, boot, b"", "signal 9"))
        await happened(facet, exec_pb2.EVENT_KIND_START, 2)
        assert (await facet.containers.resolve(container_id)).state is State.RUNNING


@pytest.mark.parametrize("verb", ["stop", "kill", "term"])
async def test_what_somebody_ends_stays_ended(facet: Facet, verb: str) -> None:
    async with keeping(facet):
        container_id = await facet.run(restart_policy=ALWAYS)
        if verb == "stop":
            await facet.lifecycle.stop(container_id, 60, "")
        else:
            await facet.lifecycle.signal(container_id, verb)
        await facet.exits.drain()
        assert (await facet.containers.resolve(container_id)).state is State.EXITED
        await facet.lifecycle.start(container_id)
        await facet.peers.end(container_id, 1)
        await happened(facet, exec_pb2.EVENT_KIND_START, 3)


@pytest.mark.parametrize(
    ("policy", "stop_signal", "ended"),
    [
        (ALWAYS, "", True),
        (on_failure(0), "", True),
        (ALWAYS, "HUP", True),
        (ALWAYS, "INT", False),
        (on_failure(0), "INT", False),
        # Of this one dockerd minds every signal.
        (UNLESS_STOPPED, "INT", True),
    ],
)
async def test_which_signals_end_the_policy(
    facet: Facet, policy: container_pb2.RestartPolicy, stop_signal: str, ended: bool
) -> None:
    facet.peers.exit_on = {1: 129}
    container_id = await facet.run(restart_policy=policy, stop_signal=stop_signal)
    await facet.lifecycle.signal(container_id, "HUP")
    await facet.exits.drain()
    state = State.EXITED if ended else State.RESTARTING
    assert (await facet.containers.resolve(container_id)).state is state


async def test_a_signal_that_is_not_obeyed_ends_the_policy_all_the_same(facet: Facet) -> None:
    container_id = await facet.run(restart_policy=ALWAYS)
    await facet.lifecycle.signal(container_id, "USR1")
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING
    await facet.peers.end(container_id, 1)
    assert (await facet.containers.resolve(container_id)).state is State.EXITED


async def test_a_signal_that_does_not_arrive_leaves_the_policy_as_it_was(facet: Facet) -> None:
    for earlier in (False, True):
        container_id = await facet.run(restart_policy=ALWAYS)
        if earlier:
            await facet.lifecycle.signal(container_id, "USR1")
        facet.peers.failing["Signal"] = Unavailable("no answer", Reason.TETHER_AWAY)
        with pytest.raises(Unavailable):
            await facet.lifecycle.signal(container_id, "USR1")
        assert (await facet.containers.resolve(container_id)).stopped_by_hand is earlier


async def waits_for_restart(
    facet: Facet, policy: container_pb2.RestartPolicy = ALWAYS, **fields: Any
) -> str:
    container_id = await facet.run(restart_policy=policy, **fields)
    await facet.peers.end(container_id, 5)
    await facet.exits.drain()
    assert (await facet.containers.resolve(container_id)).state is State.RESTARTING
    return container_id


@pytest.mark.parametrize("verb", ["stop", "KILL", "HUP"])
async def test_a_restarting_container_is_ended(facet: Facet, verb: str) -> None:
    container_id = await waits_for_restart(facet)
    waiting = wait(
        facet.containers, facet.events, container_id, exec_pb2.WAIT_CONDITION_NOT_RUNNING
    )
    await anext(waiting)
    if verb == "stop":
        await facet.lifecycle.stop(container_id, None, "")
    else:
        await facet.lifecycle.signal(container_id, verb)
    async with asyncio.timeout(60):
        assert (await anext(waiting)).result.exit_code == 5
    await facet.lifecycle.start_again(container_id)
    now = await facet.containers.resolve(container_id)
    assert (now.state, now.exit_code, now.stopped_by_hand) == (State.EXITED, 5, True)


async def test_what_a_restarting_container_refuses(facet: Facet) -> None:
    container_id = await waits_for_restart(facet, stop_signal="INT")
    await facet.lifecycle.signal(container_id, "HUP")
    assert (await facet.containers.resolve(container_id)).state is State.RESTARTING
    with pytest.raises(FailedPrecondition) as caught:
        await facet.lifecycle.start(container_id)
    assert caught.value.reason is Reason.ALREADY_DONE
    with pytest.raises(FailedPrecondition, match="is restarting"):
        await facet.lifecycle.pause(container_id)
    with pytest.raises(FailedPrecondition, match="container is restarting"):
        await facet.lifecycle.remove(container_id, container_id, force=False)
    await facet.lifecycle.remove(container_id, container_id, force=True)
    assert facet.leftovers() == []


@pytest.mark.parametrize(("policy", "ended"), [(ALWAYS, False), (UNLESS_STOPPED, True)])
async def test_any_signal_while_it_waits_for_its_restart_makes_that_one_the_last_unless_stopped(
    facet: Facet, policy: container_pb2.RestartPolicy, ended: bool
) -> None:
    container_id = await waits_for_restart(facet, policy, stop_signal="INT")
    await facet.lifecycle.signal(container_id, "HUP")
    assert facet.peers.signals == []
    await facet.lifecycle.start_again(container_id)
    running = await facet.containers.resolve(container_id)
    assert (running.state, running.stopped_by_hand) == (State.RUNNING, ended)
    await facet.peers.end(container_id, 5)
    await facet.exits.drain()
    state = State.EXITED if ended else State.RESTARTING
    assert (await facet.containers.resolve(container_id)).state is state


async def test_a_restart_by_hand_begins_the_policy_anew(facet: Facet) -> None:
    container_id = await waits_for_restart(facet)
    await facet.lifecycle.restart(container_id, None, "")
    now = await facet.containers.resolve(container_id)
    assert (now.state, now.restart_count, now.stopped_by_hand) == (State.RUNNING, 0, False)


async def test_exec_starts_again_what_waited_when_it_was_killed(facet: Facet) -> None:
    container_id = await waits_for_restart(facet)
    facet = facet.restarted()
    async with keeping(facet):
        await happened(facet, exec_pb2.EVENT_KIND_START, 2)
        assert (await facet.containers.resolve(container_id)).state is State.RUNNING


async def test_an_interrupted_restart_is_done_again(facet: Facet) -> None:
    container_id = await waits_for_restart(facet)
    waiting = await facet.containers.resolve(container_id)
    await facet.containers.update(replace(waiting, state=State.STARTING, boot_id="b"))
    facet.hypervisor.machines[container_id] = "b"
    facet = facet.restarted()
    assert await facet.reconciler.reconcile()
    assert not facet.hypervisor.machines
    async with keeping(facet):
        await happened(facet, exec_pb2.EVENT_KIND_START, 2)


async def test_a_restart_that_cannot_be_done_now_is_tried_again(facet: Facet) -> None:
    container_id = await waits_for_restart(facet)
    facet.peers.failing["Launch"] = Unavailable("no", Reason.TETHER_AWAY)
    async with keeping(facet):
        await happened(facet, exec_pb2.EVENT_KIND_START, 2)
    now = await facet.containers.resolve(container_id)
    assert (now.state, now.restart_count, now.error) == (State.RUNNING, 1, "")


async def test_a_restart_that_would_fail_again_is_given_up(facet: Facet) -> None:
    container_id = await waits_for_restart(facet)
    facet.peers.failing["Bind"] = NotFound("network x not found", Reason.NETWORK_NOT_FOUND)
    with pytest.raises(ExceptionGroup):
        await facet.lifecycle.start_again(container_id)
    now = await facet.containers.resolve(container_id)
    assert (now.state, now.error) == (State.EXITED, "network x not found")


async def test_a_policy_is_changed(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.update(container_id, ALWAYS)
    now = await facet.containers.resolve(container_id)
    assert now.spec.restart_policy == ALWAYS
    assert facet.peers.disks[container_id] == now.specification()
    async with keeping(facet):
        await facet.peers.end(container_id, 0)
        await happened(facet, exec_pb2.EVENT_KIND_START, 2)
    assert "update" in await kinds(facet)


async def test_policies_that_cannot_be_are_refused(facet: Facet) -> None:
    with pytest.raises(InvalidArgument, match="can only be used with 'on-failure'"):
        await facet.creator.create(
            "",
            spec(
                restart_policy=container_pb2.RestartPolicy(
                    condition=container_pb2.RESTART_CONDITION_ALWAYS, maximum_retries=1
                )
            ),
        )
    with pytest.raises(InvalidArgument, match="can't create 'AutoRemove' container"):
        await facet.creator.create("", spec(auto_remove=True, restart_policy=ALWAYS))
    container_id = await facet.run(auto_remove=True)
    with pytest.raises(FailedPrecondition, match="AutoRemove is enabled"):
        await facet.lifecycle.update(container_id, ALWAYS)

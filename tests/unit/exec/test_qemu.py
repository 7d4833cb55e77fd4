"""The qemu driver over a fake of the host agent."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from vic.hostagent.v1 import hostagent_pb2

from portlayer.errors import Unavailable, VicError
from services.exec.drivers import MachineExited
from services.exec.drivers.qemu import parents as parents_module
from services.exec.drivers.qemu.driver import QemuHypervisor
from services.exec.drivers.qemu.parents import Parents


@dataclass
class FakeAgent:
    """A host agent that tells what a test wrote."""

    events: list[hostagent_pb2.WatchResponse] = field(default_factory=list)
    parents: list[hostagent_pb2.Parent] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)

    shape_key: str = "key"
    created: int = 0
    refusal: VicError | None = None

    async def GetShape(self, request: Any) -> hostagent_pb2.GetShapeResponse:
        self.calls.append(("shape", self.shape_key))
        return hostagent_pb2.GetShapeResponse(shape_key=self.shape_key)

    async def ListParents(self, request: Any) -> hostagent_pb2.ListParentsResponse:
        return hostagent_pb2.ListParentsResponse(parents=self.parents)

    async def CreateParent(self, request: hostagent_pb2.CreateParentRequest) -> None:
        self.created += 1
        if self.refusal is not None:
            raise self.refusal

    async def Kill(self, request: hostagent_pb2.KillRequest) -> None:
        self.calls.append(("kill", request.machine_id))

    async def RemoveParent(self, request: hostagent_pb2.RemoveParentRequest) -> None:
        self.calls.append(("remove", request.parent_id))

    async def Watch(self, request: Any, **_: Any) -> AsyncIterator[hostagent_pb2.WatchResponse]:
        for event in self.events:
            yield event


def driver(agent: FakeAgent) -> QemuHypervisor:
    return QemuHypervisor(cast("Any", agent), bootstrap_digest="", default_disk_bytes=2**33)


def started(sequence: int) -> hostagent_pb2.WatchResponse:
    return hostagent_pb2.WatchResponse(started=hostagent_pb2.WatchStarted(sequence=sequence))


def exited(sequence: int, machine_id: str) -> hostagent_pb2.WatchResponse:
    event = hostagent_pb2.Event(sequence=sequence, machine_id=machine_id, launch_id="boot")
    event.exited.exit_record = b"record"
    return hostagent_pb2.WatchResponse(event=event)


def launched(sequence: int, machine_id: str) -> hostagent_pb2.WatchResponse:
    event = hostagent_pb2.Event(sequence=sequence, machine_id=machine_id)
    event.launched.pid = 1
    return hostagent_pb2.WatchResponse(event=event)


async def told(agent: FakeAgent, after: int) -> list[tuple[int, str | None]]:
    """Return what the driver tells, by sequence and container; None marks the history's end."""

    def name(how: MachineExited | None) -> str | None:
        return None if how is None else how.container_id

    async with asyncio.timeout(60):
        return [(sequence, name(how)) async for sequence, how in driver(agent).exits(after)]


async def test_the_end_of_the_history_is_told_once() -> None:
    agent = FakeAgent([started(9), exited(8, "a"), exited(9, "b"), exited(10, "c")])
    assert await told(agent, 7) == [(8, "a"), (9, "b"), (9, None), (10, "c")]


async def test_a_history_without_ends_is_over_at_once() -> None:
    assert await told(FakeAgent([started(7), exited(8, "a")]), 7) == [(7, None), (8, "a")]


async def test_events_that_are_no_ends_belong_to_the_history() -> None:
    agent = FakeAgent([started(9), exited(8, "parent-x"), launched(9, "a"), exited(10, "a")])
    assert await told(agent, 7) == [(9, None), (10, "a")]


def parent(name: str, state: hostagent_pb2.ParentState, key: str = "key") -> hostagent_pb2.Parent:
    return hostagent_pb2.Parent(parent_id=name, shape_key=key, state=state, current=True)


async def test_parents_that_a_killed_exec_left_in_the_making_are_ended() -> None:
    agent = FakeAgent(
        parents=[
            parent("parent-booting", hostagent_pb2.PARENT_STATE_BOOTING, "other"),
            parent("parent-created", hostagent_pb2.PARENT_STATE_CREATED),
            parent("parent-other", hostagent_pb2.PARENT_STATE_SEALED, "other"),
            parent("parent-sealed", hostagent_pb2.PARENT_STATE_SEALED),
        ]
    )
    parents = Parents(cast("Any", agent))
    assert await parents.ready(hostagent_pb2.Shape()) == "parent-sealed"
    assert agent.calls[1:] == [
        ("kill", "parent-booting"),
        ("remove", "parent-booting"),
        ("kill", "parent-created"),
        ("remove", "parent-created"),
    ]


async def test_a_parent_that_could_not_be_built_is_tried_again_soon_and_then_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(parents_module, "time", SimpleNamespace(monotonic=lambda: now))
    agent = FakeAgent(refusal=Unavailable("no room"))
    parents = Parents(cast("Any", agent))

    async def attempts() -> int:
        with pytest.raises(Unavailable):
            await parents.ready(hostagent_pb2.Shape())
        return agent.created

    counts = []
    for now in (0.0, 4.9, 5.0, 14.9, 15.0, 34.9, 35.0):  # noqa: B007 — read by the clock
        counts.append(await attempts())
    assert counts == [1, 1, 2, 2, 3, 3, 4]
    agent.refusal = None
    agent.parents = [parent("parent-a", hostagent_pb2.PARENT_STATE_SEALED)]
    now = 75.0
    assert await parents.ready(hostagent_pb2.Shape()) == "parent-a"


async def test_a_shapes_key_is_asked_for_once_and_after_a_refusal() -> None:
    agent = FakeAgent(
        parents=[
            parent("parent-a", hostagent_pb2.PARENT_STATE_SEALED),
            parent("parent-b", hostagent_pb2.PARENT_STATE_SEALED, "new"),
        ]
    )
    parents = Parents(cast("Any", agent))
    for _ in range(3):
        assert await parents.ready(hostagent_pb2.Shape()) == "parent-a"
    agent.shape_key = "new"
    parents.doubt()
    assert await parents.ready(hostagent_pb2.Shape()) == "parent-b"
    assert agent.calls == [("shape", "key"), ("shape", "new")]


async def test_a_parent_that_another_replica_has_discarded_is_looked_for_again() -> None:
    agent = FakeAgent(parents=[parent("parent-a", hostagent_pb2.PARENT_STATE_SEALED)])
    parents = Parents(cast("Any", agent))
    assert await parents.ready(hostagent_pb2.Shape()) == "parent-a"
    agent.parents = [parent("parent-b", hostagent_pb2.PARENT_STATE_SEALED)]
    parents.doubt()
    assert await parents.ready(hostagent_pb2.Shape()) == "parent-b"

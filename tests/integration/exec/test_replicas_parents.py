"""Parents of clones that two replicas of exec want: one builds them, and may be killed."""

import asyncio
from typing import Any, cast

import pytest
from vic.hostagent.v1 import hostagent_pb2

from portlayer.store import Store
from services.exec.drivers.qemu.parents import Parents
from tests.unit.exec.test_qemu import FakeAgent, parent


class Parenthood(FakeAgent):
    """A host agent whose parents are what is made of them."""

    async def CreateParent(self, request: hostagent_pb2.CreateParentRequest) -> None:
        await super().CreateParent(request)
        self.parents.append(parent(request.parent_id, hostagent_pb2.PARENT_STATE_CREATED))

    async def SealParent(self, request: hostagent_pb2.SealParentRequest) -> None:
        (made,) = (one for one in self.parents if one.parent_id == request.parent_id)
        made.state = hostagent_pb2.PARENT_STATE_SEALED


async def test_a_parent_that_one_builds_is_the_others_as_well(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, booting, booted = Parenthood(), asyncio.Event(), asyncio.Event()

    async def boot(*_: Any) -> bytes:
        booting.set()
        await booted.wait()
        return b"state"

    monkeypatch.setattr(Parents, "_boot_and_save", boot)
    builders = [Parents(cast(Any, agent), store.neighbours) for store in stores[:2]]
    async with asyncio.timeout(60):
        one = asyncio.create_task(builders[0].ready(hostagent_pb2.Shape()))
        await booting.wait()
        other = asyncio.create_task(builders[1].ready(hostagent_pb2.Shape()))
        await asyncio.wait({other}, timeout=0.2)
        booted.set()
        assert await one == await other
    assert agent.created == 1
    assert not {call for call, _ in agent.calls} & {"kill", "remove"}


async def test_a_parent_that_a_killed_one_was_building_is_ended_by_the_next(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, booting, dead = Parenthood(), asyncio.Event(), asyncio.Event()

    async def boot(*_: Any) -> bytes:
        if not booting.is_set():
            booting.set()
            await dead.wait()
        return b"state"

    monkeypatch.setattr(Parents, "_boot_and_save", boot)
    builders = [Parents(cast(Any, agent), store.neighbours) for store in stores[1:]]
    async with asyncio.timeout(60):
        late = asyncio.create_task(builders[1].ready(hostagent_pb2.Shape()))
        await booting.wait()
        left = agent.parents[0].parent_id
        await stores[2].neighbours.close()
        assert await builders[0].ready(hostagent_pb2.Shape()) != left
        assert agent.calls[-2:] == [("kill", left), ("remove", left)]
        late.cancel()
        await asyncio.wait({late})

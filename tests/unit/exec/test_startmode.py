"""How containers start, as the VCH or a label of the container has it."""

from typing import Any

import pytest
from vic.exec.v1 import exec_pb2

from portlayer.errors import InvalidArgument, Reason
from tests.unit.exec.conftest import Facet
from tests.unit.exec.specs import spec


async def configure(facet: Facet, **changes: Any) -> exec_pb2.StartMode:
    return (await facet.vch.configure(exec_pb2.ConfigureRequest(**changes))).start_mode


async def test_ready_clones_are_as_many_as_suit_the_host_until_told_otherwise(facet: Facet) -> None:
    await facet.modes.open()
    assert (await facet.vch.info()).start_mode == exec_pb2.StartMode(
        ready_clones=2, ready_clones_automatic=True
    )
    assert await configure(facet, ready_clones=5) == exec_pb2.StartMode(ready_clones=5)
    assert facet.hypervisor.wanted == 5
    # Limits alone leave it, and so does a restart.
    await configure(facet, containers=7)
    facet.hypervisor.wanted = 0
    after = facet.restarted()
    await after.modes.open()
    assert facet.hypervisor.wanted == 5
    assert (await after.admission.limits()).containers == 7
    assert (await configure(after, ready_clones=0)).ready_clones == 0
    assert (await configure(after, ready_clones=-1)).ready_clones_automatic


@pytest.mark.parametrize("count", [9, 65, -2])
async def test_what_the_host_cannot_hold_changes_nothing(facet: Facet, count: int) -> None:
    await configure(facet, ready_clones=3)
    before = await facet.vch.info()
    with pytest.raises(InvalidArgument) as caught:
        await configure(facet, ready_clones=count, containers=1, cold=True)
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert f"{count} ready clones" in caught.value.message
    assert before.start_mode == exec_pb2.StartMode(ready_clones=3)
    assert await facet.vch.info() == before


async def test_a_cold_vch_boots_all_and_keeps_none_ready(facet: Facet) -> None:
    assert await configure(facet, cold=True) == exec_pb2.StartMode(
        ready_clones_automatic=True, cold=True
    )
    await facet.run()
    assert facet.hypervisor.kinds == [True]
    assert (await facet.vch.info()).cold_boots == 1
    await configure(facet, cold=False)
    assert facet.hypervisor.wanted == 2
    await facet.run()
    await facet.run(labels={"vic.start": "cold"})
    assert facet.hypervisor.kinds == [True, False, True]


async def test_another_replica_takes_up_what_was_changed_with_its_next_start(facet: Facet) -> None:
    other = facet.restarted()
    await other.modes.open()
    await configure(facet, cold=True, ready_clones=5)
    await other.run()
    assert facet.hypervisor.kinds == [True]
    assert other.modes.mode == facet.modes.mode


async def test_a_label_that_says_nothing_of_the_kind_is_refused(facet: Facet) -> None:
    with pytest.raises(InvalidArgument, match=r"vic\.start=warm: the only start"):
        await facet.creator.create("", spec(labels={"vic.start": "warm"}))
    assert facet.leftovers() == []

"""Clones kept ready: how many, when, and what becomes of them."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from vic.hostagent.v1 import hostagent_pb2

from portlayer.errors import (
    InvalidArgument,
)
from services.exec.drivers.qemu import ready as module
from services.exec.drivers.qemu.hostmemory import HostMemory
from services.exec.drivers.qemu.parents import Parents
from services.exec.drivers.qemu.ready import ReadyClones
from tests.unit.exec.ready_pool import LITTLE, PLENTY, SHAPE, TIGHT, FakeAgent, Pool, Qemu


async def test_clones_are_made_warmed_and_held(pool: Pool, qemu: Qemu) -> None:
    await pool.full()
    assert pool.agent.killed == ["ready-old"]
    first = await pool.clones.take(SHAPE)
    assert first is not None
    said = [name for path, name in qemu.said if path == first.machine_id]
    assert said == ["load", "cont", "warm", "stop"]
    launched = pool.agent.machines[first.machine_id]
    assert launched.kind == hostagent_pb2.MACHINE_KIND_READY
    assert launched.parent_id == "parent-1"
    assert not launched.nics
    assert not launched.disk_chain
    pool.clones.give_back(first)


async def test_what_is_taken_is_replaced_and_handed_out_once(pool: Pool) -> None:
    await pool.full()
    clones = [await pool.clones.take(SHAPE), await pool.clones.take(SHAPE)]
    taken = {clone.machine_id for clone in clones if clone}
    assert len(taken) == 2
    assert await pool.clones.take(SHAPE) is None
    await pool.full()
    again = await pool.clones.take(SHAPE)
    assert again is not None
    assert again.machine_id not in taken
    for machine_id in (*taken, again.machine_id):
        pool.clones.give_up(machine_id)
    assert pool.clones.failed == 3


async def test_another_shape_gets_none(pool: Pool) -> None:
    await pool.full()
    other = hostagent_pb2.Shape()
    other.CopyFrom(SHAPE)
    other.vcpus = 2
    assert await pool.clones.take(other) is None


async def test_no_clone_is_begun_while_a_start_is_under_way(pool: Pool) -> None:
    await pool.full()
    pool.clones.hold_back("boot")
    taken = await pool.clones.take(SHAPE)
    assert taken is not None
    launches = len(pool.agent.launches)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(pool.agent.launches) == launches
    pool.clones.let_go("boot")
    await pool.full()
    pool.clones.give_up(taken.machine_id)


async def test_a_start_is_left_alone_while_another_clone_waits(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.full()
    monkeypatch.setattr(module, "QUIET_SECONDS", 3600.0)
    launches = len(pool.agent.launches)

    async def start(boot_id: str) -> None:
        pool.clones.hold_back(boot_id)
        taken = await pool.clones.take(SHAPE)
        assert taken is not None
        pool.clones.give_up(taken.machine_id)
        pool.clones.let_go(boot_id)

    await start("first")
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(pool.agent.launches) == launches
    # With none left the next start would have to wait longer than this one is disturbed.
    await start("second")
    await pool.until(lambda: pool.clones.waiting == 1)
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.0)
    pool.clones.hold_back("third")
    pool.clones.let_go("third")
    await pool.full()


async def test_one_that_ended_by_itself_is_replaced(pool: Pool) -> None:
    await pool.full()
    ended = next(name for name in pool.agent.machines if name.startswith("ready-"))
    del pool.agent.machines[ended]
    pool.clones.ended(ended)
    await pool.full()
    assert ended not in pool.agent.machines


async def test_another_number_holds_at_once(pool: Pool) -> None:
    await pool.full()
    pool.clones.want(0)
    await pool.until(lambda: list(pool.agent.machines) == ["c"])
    pool.clones.want(1)
    await pool.until(lambda: pool.clones.waiting == 1)
    pool.clones.want(None)
    await pool.full()
    pool.clones.want(1)
    await pool.until(lambda: len(pool.agent.machines) == 2)
    assert pool.clones.waiting == 1


@pytest.mark.parametrize(("mib", "count"), [(1000, 0), (2048, 1), (4096, 2), (64 * 1024, 2)])
def test_the_number_that_suits_a_host(tmp_path: Path, mib: int, count: int) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {mib * 1024} kB\nMemAvailable: 0 kB\n")
    assert HostMemory(meminfo).automatic() == count


def test_more_than_the_memory_holds_is_refused_with_the_figures(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 2097152 kB\nMemAvailable: 0 kB\n")
    memory = HostMemory(meminfo)
    memory.check(12)
    with pytest.raises(InvalidArgument) as caught:
        memory.check(13)
    assert caught.value.message == (
        "13 ready clones take 1664 MiB: the host has 2048 MiB, 512 MiB of them for itself; "
        "12 at most"
    )


async def test_they_are_given_up_when_memory_is_short(pool: Pool) -> None:
    await pool.full()
    pool.meminfo.write_text(LITTLE)
    pool.clones.let_go("any")
    await pool.until(lambda: list(pool.agent.machines) == ["c"])
    assert pool.clones.waiting == 0
    launches = len(pool.agent.launches)
    pool.meminfo.write_text(TIGHT)
    pool.clones.let_go("any")
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(pool.agent.launches) == launches
    pool.meminfo.write_text(PLENTY)
    pool.clones.let_go("any")
    await pool.full()


@pytest.mark.parametrize("step", ["load", "cont", "warm", "stop"])
async def test_one_that_does_not_get_ready_is_ended_and_tried_again(
    pool: Pool, qemu: Qemu, step: str
) -> None:
    qemu.failing.add(step)
    await pool.full()
    await pool.until(lambda: len(pool.agent.killed) == 2)
    assert len(pool.agent.machines) == 3


async def test_none_are_kept_where_none_are_wanted(qemu: Qemu, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(PLENTY)
    agent = FakeAgent({"ready-old": hostagent_pb2.Machine()})
    memory = HostMemory(tmp_path / "meminfo")
    clones = ReadyClones(cast("Any", agent), Parents(cast("Any", agent)), memory)
    clones.want(0)
    keeping = asyncio.create_task(clones.keep(SHAPE))
    async with asyncio.timeout(60), agent.changed:
        await agent.changed.wait_for(lambda: not agent.machines)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert agent.launches == []

"""Clones that wait connected: what they are given, and that all of it comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from vic.hostagent.v1 import hostagent_pb2
from vic.network.v1 import network_pb2

from portlayer.errors import NotFound, Reason, Unavailable, VicError
from services.exec.drivers.qemu import ready as module
from services.exec.drivers.qemu import template as template_module
from services.exec.drivers.qemu.dialling import Dialling
from tests.unit.exec.ready_pool import LITTLE, SHAPE, Pool, Qemu, kept

READY = hostagent_pb2.MACHINE_KIND_READY
TCG = hostagent_pb2.ACCELERATOR_TCG


@dataclass
class FakeNetwork:
    """Reservations in memory. ``away`` makes all calls fail, ``failing`` one by its name."""

    reserved: dict[str, int] = field(default_factory=dict)
    bound: list[str] = field(default_factory=list)
    failing: dict[str, VicError] = field(default_factory=dict)
    away: bool = False

    async def Reserve(self, request: network_pb2.ReserveRequest) -> network_pb2.ReserveResponse:
        self._fail("Reserve")
        number = len(self.reserved) + 2
        self.reserved[request.container_id] = number
        endpoint = network_pb2.Endpoint(
            mac_address=f"02:00:00:00:00:{number:02x}",
            ipv4_address=f"100.64.0.{number}",
            ipv4_prefix_length=20,
            tap_name=f"vt0-{number}",
            management=True,
        )
        return network_pb2.ReserveResponse(endpoints=[endpoint])

    async def Bind(self, request: network_pb2.BindRequest) -> None:
        self._fail("Bind")
        if request.container_id not in self.reserved:
            raise NotFound("no endpoints", Reason.ENDPOINT_NOT_FOUND)
        self.bound.append(request.container_id)

    async def Release(self, request: network_pb2.ReleaseRequest) -> None:
        self._fail("Release")
        self.reserved.pop(request.container_id, None)

    async def ListReservations(self, request: Any) -> network_pb2.ListReservationsResponse:
        self._fail("ListReservations")
        return network_pb2.ListReservationsResponse(container_ids=self.reserved)

    def _fail(self, call: str) -> None:
        if self.away:
            raise Unavailable("network is away")
        if call in self.failing:
            raise self.failing.pop(call)


class Interaction:
    """Where tethers dial."""

    server_name = "interaction.test.vic"

    async def endpoint(self) -> str:
        return "100.64.0.1:7443"


@dataclass
class Connected:
    """A pool whose clones wait connected, under emulation."""

    network: FakeNetwork
    qemu: Qemu
    stack: AsyncExitStack
    directory: Path

    async def pool(self) -> Pool:
        """Begin to keep clones."""
        dialling = Dialling(cast("Any", self.network), Interaction())
        return await self.stack.enter_async_context(kept(self.directory, TCG, dialling))


@pytest.fixture
async def connected(
    qemu: Qemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Connected]:
    monkeypatch.setattr(template_module, "command", qemu.command)
    network = FakeNetwork({"c": 1})
    async with AsyncExitStack() as stack:
        yield Connected(network, qemu, stack, tmp_path)
    if not network.away:
        # Nothing is left but what is a container's.
        assert list(network.reserved) == ["c"]


def clones(pool: Pool) -> dict[str, hostagent_pb2.Machine]:
    return {name: one for name, one in pool.agent.machines.items() if one.kind == READY}


async def test_forks_get_a_place_of_their_own_and_run(connected: Connected) -> None:
    pool = await connected.pool()
    await pool.full()
    there = clones(pool)
    assert set(connected.network.bound) == set(there) == set(connected.network.reserved) - {"c"}
    assert len({machine.management.address for machine in there.values()}) == 2
    for name, machine in there.items():
        assert machine.management.endpoint == "100.64.0.1:7443"
        assert [nic.mac_address for nic in machine.nics] == [machine.management.mac_address]
        assert [said for path, said in connected.qemu.said if path == name] == ["cont"]
    taken = await pool.clones.take(SHAPE)
    assert taken is not None
    assert taken.place is not None
    assert taken.place.endpoint.mac_address == there[taken.machine_id].management.mac_address
    pool.clones.give_back(taken)


async def test_what_an_exec_before_had_reserved_is_released_at_the_start(
    connected: Connected,
) -> None:
    # Of a clone that is there still, of one that is gone, and of one that never came to be.
    for name in ("ready-old", "ready-00112233445566aa", "ready-00112233445566bb"):
        connected.network.reserved[name] = 7
    pool = await connected.pool()
    await pool.full()
    assert set(connected.network.reserved) == {"c", *clones(pool)}


async def test_with_network_away_clones_wait_unconnected(connected: Connected) -> None:
    connected.network.away = True
    pool = await connected.pool()
    await pool.full()
    assert all(not machine.nics for machine in clones(pool).values())
    assert not [path for path, said in connected.qemu.said if path in clones(pool)]
    taken = await pool.clones.take(SHAPE)
    assert taken is not None
    assert taken.place is None
    pool.clones.give_up(taken.machine_id)


async def test_memory_that_is_short_takes_their_addresses_as_well(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    pool = await connected.pool()
    await pool.full()
    pool.meminfo.write_text(LITTLE)
    await pool.until(lambda: not clones(pool) and len(connected.network.reserved) == 1)


async def test_none_wanted_any_more_is_none_reserved(connected: Connected) -> None:
    pool = await connected.pool()
    await pool.full()
    pool.clones.want(0)
    await pool.until(lambda: list(connected.network.reserved) == ["c"])
    assert not clones(pool)


@pytest.mark.parametrize("call", ["Bind", "cont"])
async def test_one_that_cannot_be_connected_leaves_nothing_and_is_replaced(
    connected: Connected, call: str
) -> None:
    pool = await connected.pool()
    await pool.full()
    if call == "Bind":
        connected.network.failing["Bind"] = Unavailable("network is away")
    else:
        connected.qemu.failing.add("cont")
    taken = await pool.clones.take(SHAPE)
    assert taken is not None
    pool.clones.give_up(taken.machine_id)
    await pool.until(lambda: set(connected.network.reserved) == {"c", *clones(pool)})
    await pool.full()
    assert set(connected.network.reserved) == {"c", *clones(pool)}


async def test_one_that_ends_by_itself_gives_its_address_back(connected: Connected) -> None:
    pool = await connected.pool()
    await pool.full()
    name = next(iter(clones(pool)))
    del pool.agent.machines[name]
    pool.clones.ended(name)
    await pool.until(lambda: name not in connected.network.reserved)
    await pool.full()


async def test_a_network_that_hangs_keeps_no_clone_from_its_end(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await connected.pool()
    await pool.full()
    monkeypatch.setattr("services.exec.drivers.qemu.dialling.RELEASE_SECONDS", 0.0)

    async def hangs(request: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(connected.network, "Release", hangs)
    pool.clones.want(0)
    await pool.until(lambda: not clones(pool))
    connected.network.reserved = {"c": 1}

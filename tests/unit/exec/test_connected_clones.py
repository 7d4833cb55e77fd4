"""Starts that take a clone which was connected while it waited."""

import asyncio

import pytest
from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2

from portlayer.errors import FailedPrecondition, Reason, Unavailable
from services.exec.states import State
from tests.unit.exec.conftest import Facet

CLONE = "ready-00112233445566aa"


async def waits(facet: Facet) -> None:
    """Have a clone wait that is connected."""
    await facet.peers.Reserve(network_pb2.ReserveRequest(container_id=CLONE))
    facet.hypervisor.ready = 1
    facet.hypervisor.tethers = [CLONE]


async def test_its_address_and_its_tether_become_the_containers(facet: Facet) -> None:
    record = await facet.creator.create("", container_pb2.ContainerSpec(image="busybox"))
    await waits(facet)
    await facet.lifecycle.start(record.id)
    assert facet.peers.given == CLONE
    assert list(facet.peers.reservations) == [record.id]


async def test_its_guest_goes_on_while_its_networks_are_connected(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It mounts its disk meanwhile; its process runs when it can reach its networks."""
    record = await facet.creator.create("", container_pb2.ContainerSpec(image="busybox"))
    await waits(facet)
    runs, connect = asyncio.Event(), asyncio.Event()
    bind = facet.peers.Bind

    async def run(container_id: str, boot_id: str) -> None:
        runs.set()

    async def slow(request: network_pb2.BindRequest) -> network_pb2.BindResponse:
        await connect.wait()
        return await bind(request)

    monkeypatch.setattr(facet.hypervisor, "run", run)
    monkeypatch.setattr(facet.peers, "Bind", slow)
    start = asyncio.create_task(facet.lifecycle.start(record.id))
    async with asyncio.timeout(60):
        await runs.wait()
        assert not facet.peers.launched.is_set()
        connect.set()
        assert (await start).state is State.RUNNING


async def test_one_that_has_lost_its_address_is_replaced(facet: Facet) -> None:
    record = await facet.creator.create("", container_pb2.ContainerSpec(image="busybox"))
    await waits(facet)
    facet.peers.failing["Bind"] = FailedPrecondition("no tap", Reason.TAP_MISSING)
    started = await facet.lifecycle.start(record.id)
    assert started.state is State.RUNNING
    # Another VM, whose tether bears the container's name; what the clone had is given back.
    assert facet.peers.given == ""
    assert list(facet.peers.reservations) == [record.id]


async def test_a_start_that_fails_leaves_no_address(facet: Facet) -> None:
    record = await facet.creator.create("", container_pb2.ContainerSpec(image="busybox"))
    await waits(facet)
    facet.peers.failing["Bind"] = Unavailable("network is away")
    with pytest.raises(ExceptionGroup):
        await facet.lifecycle.start(record.id)
    assert list(facet.peers.reservations) == [record.id]

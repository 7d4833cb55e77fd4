"""A VCH's limits are kept before anything is made, and told with their figures."""

import asyncio
from typing import Any

import pytest
from vic.exec.v1 import container_pb2, exec_pb2

from portlayer.errors import InvalidArgument, Reason, ResourceExhausted
from services.exec.limits import MIB, Allocation, Limits
from services.exec.states import State
from tests.unit.exec.conftest import Facet
from tests.unit.exec.fake_facets import DISK_BYTES
from tests.unit.exec.specs import spec
from tests.unit.exec.test_listing import NO_CONTEXT, servicer


async def configure(facet: Facet, **limits: Any) -> exec_pb2.Limits:
    request = exec_pb2.ConfigureRequest(**limits)
    return (await servicer(facet).Configure(request, NO_CONTEXT)).limits


async def test_the_container_limit_is_kept_also_by_many_at_once(facet: Facet) -> None:
    await configure(facet, containers=3)
    results: list[Any] = await asyncio.gather(
        *(facet.creator.create("", spec()) for _ in range(8)), return_exceptions=True
    )
    refused = [r for r in results if isinstance(r, ResourceExhausted)]
    assert len(refused) == 5
    assert refused[0].reason is Reason.LIMIT_EXCEEDED
    assert "3 containers of 3" in refused[0].message
    assert len(facet.peers.disks) == 3
    await configure(facet, containers=4)
    await facet.creator.create("", spec())
    await configure(facet, containers=0)
    await facet.creator.create("", spec())


async def test_the_memory_limit_is_kept_also_by_many_at_once(facet: Facet) -> None:
    await configure(facet, memory_bytes=1100 * MIB)
    made = [await facet.creator.create("", spec()) for _ in range(5)]
    results: list[Any] = await asyncio.gather(
        *(facet.lifecycle.start(record.id) for record in made), return_exceptions=True
    )
    refused = [r for r in results if isinstance(r, ResourceExhausted)]
    assert len(refused) == 3
    assert "needs 512 MiB, and 1024 MiB of 1100 MiB are taken" in refused[0].message
    states = [record.state for record in await facet.containers.select()]
    assert sorted(state.word for state in states) == ["created"] * 3 + ["running"] * 2
    assert len(facet.hypervisor.machines) == 2
    info = await servicer(facet).Info(exec_pb2.InfoRequest(), NO_CONTEXT)
    assert (info.vm_memory_bytes, info.vm_cpus) == (1024 * MIB, 2)
    assert info.limits.memory_bytes == 1100 * MIB


async def test_what_ended_leaves_its_room(facet: Facet) -> None:
    await configure(facet, cpus=1)
    first = await facet.run()
    second = await facet.creator.create("", spec())
    with pytest.raises(ResourceExhausted, match="needs 1 CPUs, and 1 of 1 are taken"):
        await facet.lifecycle.start(second.id)
    await facet.peers.end(first, 0)
    await facet.exits.drain()
    await facet.lifecycle.start(second.id)
    assert (await facet.containers.resolve(second.id)).state is State.RUNNING


async def test_what_could_never_start_is_not_made(facet: Facet) -> None:
    await configure(facet, memory_bytes=1024 * MIB)
    with pytest.raises(ResourceExhausted, match="of 1024 MiB"):
        await facet.creator.create("", spec(resources={"memory_bytes": 2048 * MIB}))
    assert facet.leftovers() == []


async def test_limits_that_are_absent_stay(facet: Facet) -> None:
    await configure(facet, containers=3, cpus=4)
    assert await configure(facet, memory_bytes=2048 * MIB) == exec_pb2.Limits(
        containers=3, cpus=4, memory_bytes=2048 * MIB, memory_overcommit_percent=400
    )
    await configure(facet, cpus=0)
    # They are in the database, and nowhere else.
    limits = await facet.restarted().admission.limits()
    assert limits == Limits(containers=3, memory_bytes=2048 * MIB)


@pytest.mark.parametrize("memory", [1, 2**60])
async def test_a_memory_limit_that_cannot_be_is_refused(facet: Facet, memory: int) -> None:
    with pytest.raises(InvalidArgument, match="must be between"):
        await configure(facet, memory_bytes=memory)
    assert await facet.admission.limits() == Limits()


async def test_the_storage_limit_counts_disks_at_their_full_size(facet: Facet) -> None:
    await configure(facet, storage_bytes=2 * DISK_BYTES + 1)
    results: list[Any] = await asyncio.gather(
        *(facet.creator.create("", spec()) for _ in range(4)), return_exceptions=True
    )
    refused = [r for r in results if isinstance(r, ResourceExhausted)]
    assert len(refused) == 2
    assert "needs 8192 MiB, and 16384 MiB of 16384 MiB are taken" in refused[0].message
    info = await servicer(facet).Info(exec_pb2.InfoRequest(), NO_CONTEXT)
    assert (info.disk_bytes, info.limits.storage_bytes) == (2 * DISK_BYTES, 2 * DISK_BYTES + 1)


async def test_the_host_is_not_overcommitted_without_end(facet: Facet) -> None:
    # The pool of the fake has 16 GiB.
    await configure(facet, memory_overcommit_percent=10)
    made = [(await facet.creator.create("", spec())).id for _ in range(4)]
    for container_id in made[:3]:
        await facet.lifecycle.start(container_id)
    told = "16384 MiB overcommitted 0.1 times.* needs 512 MiB, and 1536 MiB of 1638 MiB are taken"
    with pytest.raises(ResourceExhausted, match=told):
        await facet.lifecycle.start(made[3])
    await configure(facet, memory_overcommit_percent=15)
    await facet.lifecycle.start(made[3])
    assert (await configure(facet, memory_overcommit_percent=0)).memory_overcommit_percent == 400


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"storage_bytes": 2**30}, "the storage limit must be 8192 MiB, a container's disk"),
        ({"memory_overcommit_percent": 9}, "must be between 0.1 and 100 times"),
        ({"memory_overcommit_percent": 10_001}, "must be between 0.1 and 100 times"),
    ],
)
async def test_limits_that_cannot_be_are_refused(
    facet: Facet, limits: dict[str, int], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await configure(facet, **limits)
    assert await facet.admission.limits() == Limits()


async def test_a_reservation_is_given_to_the_platform(facet: Facet) -> None:
    request = exec_pb2.ConfigureRequest(
        memory_reservation_bytes=1024 * MIB, cpu_reservation_millis=1500, cpu_shares=200
    )
    told = (await servicer(facet).Configure(request, NO_CONTEXT)).allocation
    assert (told.memory_reservation_bytes, told.cpu_reservation_millis) == (1024 * MIB, 1500)
    assert (told.cpu_shares, told.memory_shares) == (200, 100)
    # What is left out stays.
    await configure(facet, cpu_shares=0)
    assert facet.hypervisor.allocation == Allocation(1500, 1024 * MIB)
    info = await servicer(facet).Info(exec_pb2.InfoRequest(), NO_CONTEXT)
    assert info.allocation.memory_reservation_bytes == 1024 * MIB


async def test_a_reservation_is_not_above_the_limit(facet: Facet) -> None:
    await configure(facet, memory_bytes=2048 * MIB, cpus=1)
    with pytest.raises(InvalidArgument, match="3072 MiB, is above the memory limit of 2048 MiB"):
        await configure(facet, memory_reservation_bytes=3072 * MIB)
    with pytest.raises(InvalidArgument, match=r"reservation, 1\.5, is above the CPU limit of 1"):
        await configure(facet, cpu_reservation_millis=1500)
    await configure(facet, memory_reservation_bytes=2048 * MIB)
    with pytest.raises(InvalidArgument, match="above the memory limit of 1024 MiB"):
        await configure(facet, memory_bytes=1024 * MIB)
    assert facet.hypervisor.allocation == Allocation(memory_reservation_bytes=2048 * MIB)


async def test_what_cannot_be_reserved_changes_no_limit(facet: Facet) -> None:
    facet.hypervisor.failing["allocate"] = InvalidArgument("too much")
    with pytest.raises(InvalidArgument, match="too much"):
        await configure(facet, containers=3, memory_reservation_bytes=1024 * MIB)
    assert (await facet.admission.limits()).containers == 0
    # And the other way round.
    with pytest.raises(InvalidArgument, match="must be between"):
        await configure(facet, memory_bytes=1, memory_reservation_bytes=1)
    assert facet.hypervisor.allocation == Allocation()


async def test_what_others_reserved_is_not_given_to_our_vms(facet: Facet) -> None:
    facet.hypervisor.reserved_by_others = 2**34 - 256 * MIB
    first = await facet.creator.create("", spec())
    second = await facet.creator.create("", spec())
    await facet.lifecycle.start(first.id)
    await facet.lifecycle.start(second.id)
    third = await facet.creator.create("", spec())
    with pytest.raises(ResourceExhausted, match="16384 MiB less 16128 MiB that others have"):
        await facet.lifecycle.start(third.id)


async def test_a_vm_larger_than_the_host_is_not_made(facet: Facet) -> None:
    resources = container_pb2.Resources(memory_bytes=2**34 + MIB)
    with pytest.raises(ResourceExhausted, match=r"16384 MiB, does not .* VM needs 16385 MiB"):
        await facet.creator.create("", spec(resources=resources))
    assert not facet.peers.disks

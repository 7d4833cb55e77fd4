"""Update: limits of containers that run and that don't, and what is refused with the figures."""

from typing import Any

import pytest
from vic.exec.v1 import container_pb2, exec_pb2
from vic.exec.v1.container_pb2 import Resources
from vic.tether.v1.process_pb2 import BlockLimit

from portlayer.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Reason,
    ResourceExhausted,
    VicError,
)
from services.exec.limits import MIB, Limits
from services.exec.record import Record
from services.exec.resources import merge_resources
from tests.unit.exec.conftest import Facet
from tests.unit.exec.specs import spec
from tests.unit.exec.test_listing import NO_CONTEXT, servicer

NO_POLICY = container_pb2.RestartPolicy()


async def update(facet: Facet, container_id: str, **limits: Any) -> Record:
    return await facet.lifecycle.update(container_id, NO_POLICY, Resources(**limits))


async def test_limits_of_a_running_container_are_its_workloads(facet: Facet) -> None:
    container_id = await facet.run(resources=Resources(memory_bytes=100 * MIB, pids_limit=5))
    record = await update(facet, container_id, memory_bytes=200 * MIB, nano_cpus=500_000_000)
    limits = facet.peers.limits[container_id]
    assert (limits.memory_bytes, limits.nano_cpus, limits.pids) == (200 * MIB, 500_000_000, 5)
    assert record.spec.resources.memory_bytes == 200 * MIB
    assert facet.peers.disks[container_id] == record.specification()
    assert facet.hypervisor.shares == {}


async def test_shares_weigh_its_vm(facet: Facet) -> None:
    container_id = await facet.run()
    await update(facet, container_id, cpu_shares=512)
    assert facet.hypervisor.shares == {container_id: 512}
    assert facet.peers.limits[container_id].cpu_weight > 0


async def test_what_a_stopped_container_is_given_at_its_next_start(facet: Facet) -> None:
    container_id = (await facet.creator.create("", spec())).id
    await update(facet, container_id, memory_bytes=900 * MIB)
    assert facet.peers.limits == {}
    record = await facet.lifecycle.start(container_id)
    assert record.vm is not None
    assert record.vm.memory_bytes == 900 * MIB


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            {"memory_bytes": 600 * MIB},
            "its VM has 512 MiB, and a memory limit of 600 MiB takes one of 600 MiB; stop the "
            "container first: its next start takes a VM that fits",
        ),
        ({"nano_cpus": 2 * 10**9}, "its VM has 1 CPU, and such limits take one of 2 CPUs"),
    ],
)
async def test_beyond_what_its_vm_has(facet: Facet, limits: dict[str, int], words: str) -> None:
    container_id = await facet.run()
    before = await facet.containers.resolve(container_id)
    with pytest.raises(FailedPrecondition) as refusal:
        await update(facet, container_id, **limits)
    assert refusal.value.message.startswith(f"Cannot update container {container_id}: ")
    assert words in refusal.value.message
    assert await facet.containers.resolve(container_id) == before
    assert facet.peers.limits == {}


async def test_a_vm_is_as_large_as_it_was_made(facet: Facet) -> None:
    """A limit that was lowered can be raised again, and the VCH counts what the VM has."""
    container_id = await facet.run(resources=Resources(memory_bytes=1000 * MIB))
    await update(facet, container_id, memory_bytes=100 * MIB)
    info = await servicer(facet).Info(exec_pb2.InfoRequest(), NO_CONTEXT)
    assert info.vm_memory_bytes == 1000 * MIB
    await facet.admission.set_limits(Limits(memory_bytes=1200 * MIB))
    other = await facet.creator.create("", spec())
    with pytest.raises(ResourceExhausted, match="1000 MiB of 1200 MiB are taken"):
        await facet.lifecycle.start(other.id)
    await update(facet, container_id, memory_bytes=999 * MIB)


async def test_that_a_container_which_is_removed_at_its_end_is_not_restarted(facet: Facet) -> None:
    container_id = await facet.run(auto_remove=True)
    none = container_pb2.RestartPolicy(condition=container_pb2.RESTART_CONDITION_NO)
    await facet.lifecycle.update(container_id, none)
    always = container_pb2.RestartPolicy(condition=container_pb2.RESTART_CONDITION_ALWAYS)
    with pytest.raises(FailedPrecondition, match="AutoRemove is enabled"):
        await facet.lifecycle.update(container_id, always)


async def test_beyond_the_limits_of_the_vch(facet: Facet) -> None:
    container_id = (await facet.creator.create("", spec())).id
    await facet.admission.set_limits(Limits(memory_bytes=1024 * MIB))
    with pytest.raises(ResourceExhausted, match="needs 2048 MiB, and 0 MiB of 1024 MiB"):
        await update(facet, container_id, memory_bytes=2048 * MIB)
    assert not (await facet.containers.resolve(container_id)).spec.resources.memory_bytes


async def test_a_paused_vm_takes_no_orders(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.pause(container_id)
    with pytest.raises(FailedPrecondition, match="it is paused, and its VM takes no orders"):
        await update(facet, container_id, pids_limit=5)
    always = container_pb2.RestartPolicy(condition=container_pb2.RESTART_CONDITION_ALWAYS)
    await facet.lifecycle.update(container_id, always)


@pytest.mark.parametrize("call", ["UpdateLimits", "reweigh", "PutSpecification"])
async def test_what_fails_leaves_all_as_it_was(facet: Facet, call: str) -> None:
    container_id = await facet.run(resources=Resources(pids_limit=5))
    before = await facet.containers.resolve(container_id)
    failing = facet.hypervisor.failing if call == "reweigh" else facet.peers.failing
    failing[call] = Internal("no")
    with pytest.raises(VicError, match="no"):
        await update(facet, container_id, pids_limit=7, cpu_shares=512)
    assert await facet.containers.resolve(container_id) == before
    assert facet.peers.disks[container_id] == before.specification()
    assert facet.hypervisor.shares.get(container_id, 0) == 0
    if call != "UpdateLimits":
        assert facet.peers.limits[container_id].pids == 5


async def test_what_the_kernel_refuses_is_told_of_the_container(facet: Facet) -> None:
    container_id = await facet.run()
    refusal = InvalidArgument("unable to set memory limit to 1", Reason.INVALID_SPEC)
    facet.peers.failing["UpdateLimits"] = refusal
    with pytest.raises(InvalidArgument) as told:
        await update(facet, container_id, memory_bytes=8 * MIB)
    assert told.value.message == (
        f"Cannot update container {container_id}: unable to set memory limit to 1"
    )


@pytest.mark.parametrize(
    ("former", "changes", "words"),
    [
        ({"cpu_period_us": 1000}, {"nano_cpus": 1}, "cannot be updated as CPU Period has already"),
        ({"cpu_quota_us": 1000}, {"nano_cpus": 1}, "cannot be updated as CPU Quota has already"),
        ({"nano_cpus": 1}, {"cpu_quota_us": 1000}, "CPU Quota cannot be updated as NanoCPUs has"),
        ({"nano_cpus": 1}, {"cpu_period_us": 1000}, "CPU Period cannot be updated as NanoCPUs"),
        (
            {"memory_bytes": 5, "memory_swap_bytes": 10},
            {"memory_bytes": 11},
            "Memory limit should be smaller than already set memoryswap limit, update the "
            "memoryswap at the same time",
        ),
    ],
)
def test_what_contradicts_what_was_set_before(
    former: dict[str, int], changes: dict[str, int], words: str
) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        merge_resources(Resources(**former), Resources(**changes))  # type: ignore[arg-type]
    assert words in refusal.value.message


def test_what_an_update_does_not_name_stays() -> None:
    former = Resources(
        memory_bytes=5,
        memory_swap_bytes=10,
        pids_limit=3,
        cpu_quota_us=5000,
        cpuset_cpus="0",
        block_limits=[BlockLimit(device="/dev/vda", read_bytes_per_second=1)],
    )
    assert merge_resources(former, Resources()) == former
    changes = Resources(memory_swap_unlimited=True, pids_limit=-1, cpu_quota_us=-1)
    merged = merge_resources(former, changes)
    assert merged == Resources(
        memory_bytes=5,
        memory_swap_unlimited=True,
        cpuset_cpus="0",
        block_limits=former.block_limits,
    )
    other = [BlockLimit(device="/dev/vda", write_bytes_per_second=2)]
    assert list(merge_resources(former, Resources(block_limits=other)).block_limits) == other

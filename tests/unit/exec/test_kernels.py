"""Kernels of choice: by container, by VCH, and refused where there is none so named."""

import pytest
from vic.exec.v1 import exec_pb2

from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    Reason,
    Unavailable,
    leaf_error,
)
from services.exec.states import State
from tests.unit.exec.conftest import Facet
from tests.unit.exec.specs import spec
from tests.unit.exec.test_listing import NO_CONTEXT, servicer


async def test_a_container_boots_its_own_kernel_or_the_vchs(facet: Facet) -> None:
    facet.hypervisor.named = {"rt": "6.1-rt", "new": "6.9"}
    await facet.run()
    answer = await servicer(facet).Configure(exec_pb2.ConfigureRequest(kernel="new"), NO_CONTEXT)
    assert answer.kernel == "new"
    await facet.run()
    await facet.run(kernel="rt")
    assert facet.hypervisor.booted == ["", "new", "rt"]
    # What isn't said stays; an empty name is the default one.
    answer = await servicer(facet).Configure(exec_pb2.ConfigureRequest(containers=9), NO_CONTEXT)
    assert answer.kernel == "new"
    answer = await servicer(facet).Configure(exec_pb2.ConfigureRequest(kernel=""), NO_CONTEXT)
    assert answer.kernel == ""
    await facet.run()
    assert facet.hypervisor.booted[-1] == ""


async def test_an_unknown_kernel_is_refused_and_nothing_is_made(facet: Facet) -> None:
    with pytest.raises(InvalidArgument, match="no kernel is named 'x': there is none"):
        await facet.creator.create("", spec(kernel="x"))
    facet.hypervisor.named = {"rt": "6.1-rt", "new": "6.9"}
    with pytest.raises(InvalidArgument, match="there are new, rt; `vic kernel add` adds one"):
        await facet.creator.create("", spec(kernel="x"))
    assert facet.leftovers() == []
    request = exec_pb2.ConfigureRequest(kernel="x", containers=3)
    with pytest.raises(InvalidArgument, match="no kernel is named 'x'"):
        await servicer(facet).Configure(request, NO_CONTEXT)
    assert (await facet.admission.limits()).containers == 0


async def test_a_kernel_that_was_removed_keeps_its_container_from_starting(facet: Facet) -> None:
    facet.hypervisor.named = {"rt": "6.1-rt"}
    record = await facet.creator.create("", spec(kernel="rt"))
    facet.hypervisor.named = {}
    with pytest.raises(ExceptionGroup) as caught:
        await facet.lifecycle.start(record.id)
    refusal = leaf_error(caught.value)
    assert isinstance(refusal, FailedPrecondition)
    assert "no kernel is named 'rt'" in refusal.message
    assert (await facet.containers.resolve(record.id)).state is State.CREATED
    assert facet.hypervisor.machines == {}


async def test_a_kernel_that_does_not_boot_is_told(facet: Facet) -> None:
    request = exec_pb2.TryKernelRequest(digest="d")
    assert (await servicer(facet).TryKernel(request, NO_CONTEXT)).kernel_release == "6.9"
    facet.hypervisor.failing["try_kernel"] = Unavailable("it ended", Reason.HYPERVISOR_FAILED)
    with pytest.raises(Unavailable, match="it ended"):
        await servicer(facet).TryKernel(request, NO_CONTEXT)

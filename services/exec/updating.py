"""Update: other limits and another restart policy for a container that is there.

A container that runs keeps its VM: what its limits may become is bounded by what that has. The
limits themselves are the workload's cgroup in it, which its tether changes.
"""

from contextlib import AsyncExitStack
from dataclasses import replace

from vic.exec.v1 import container_pb2, exec_pb2
from vic.interaction.v1 import process_pb2

from portlayer.errors import FailedPrecondition, InvalidArgument, NotImplementedYet, VicError
from services.exec.admission import Admission
from services.exec.drivers import CanReweigh
from services.exec.events import event
from services.exec.limits import MIB, Size
from services.exec.parts import Parts, check_record
from services.exec.policy import NO_POLICY, validate_policy
from services.exec.record import Record
from services.exec.resources import (
    host_weight,
    merge_resources,
    validate_resources,
    workload_limits,
)
from services.exec.states import State, Verb


class Updating:
    """Changes limits and restart policies."""

    def __init__(self, parts: Parts, admission: Admission) -> None:
        self._parts = parts
        self._admission = admission

    async def update(
        self,
        container_id: str,
        policy: container_pb2.RestartPolicy,
        changes: container_pb2.Resources | None = None,
    ) -> Record:
        """Give a container another restart policy and other limits. Errors as ExecService.Update.

        On failure all is as it was.
        """
        validate_policy(policy, auto_remove=False)
        async with self._parts.turns.turn(container_id):
            record = await self._parts.current(container_id)
            check_record(Verb.UPDATE, record)
            updated = replace(record, spec=_changed(record, policy, changes))
            async with AsyncExitStack() as undo:
                if updated.spec.resources != record.spec.resources:
                    await self._check_limits(record, updated)
                    await self._apply(record, updated, undo)
                undo.push_async_callback(self._parts.put_specification, record)
                await self._parts.put_specification(updated)
                updating = event(updated, exec_pb2.EVENT_KIND_UPDATE)
                await self._parts.containers.respecify(updated, updating)
                undo.pop_all()
            self._parts.events.announce(record.id)
            return await self._parts.current(container_id)

    async def _check_limits(self, record: Record, updated: Record) -> None:
        """Raise where the limits can't be, or the container's VM or the VCH hasn't the room."""
        hypervisor, resources = self._parts.hypervisor, updated.spec.resources
        try:
            validate_resources(resources, cpus=(await hypervisor.info()).cpus)
        except InvalidArgument as error:
            raise InvalidArgument(_cannot(record, error.message), error.reason) from error
        wanted = hypervisor.size(resources)
        if not record.state.has_vm:
            # What could never start is not asked for.
            await self._admission.check_possible(wanted)
            return
        if record.state is not State.RUNNING:
            raise FailedPrecondition(
                _cannot(record, f"it is {record.state.word}, and its VM takes no orders"),
                state=record.state.word,
            )
        _check_fit(record, self._parts.vm_size(record), wanted, resources)

    async def _apply(self, record: Record, updated: Record, undo: AsyncExitStack) -> None:
        """Change what holds in and of a VM that runs."""
        if not record.state.has_vm:
            return
        await self._set_limits(updated)
        undo.push_async_callback(self._set_limits, record)
        before, after = (one.spec.resources for one in (record, updated))
        if host_weight(before) != host_weight(after):
            if not isinstance(self._parts.hypervisor, CanReweigh):
                message = "this hypervisor can't change the CPU shares of a VM that runs"
                raise NotImplementedYet(message, option="CpuShares")
            await self._parts.hypervisor.reweigh(record.id, record.boot_id, after)
            undo.push_async_callback(
                self._parts.hypervisor.reweigh, record.id, record.boot_id, before
            )

    async def _set_limits(self, record: Record) -> None:
        request = process_pb2.UpdateLimitsRequest(
            container_id=record.id, limits=workload_limits(record.spec.resources)
        )
        try:
            await self._parts.peers.processes.UpdateLimits(request)
        except VicError as error:
            raise type(error)(_cannot(record, error.message), error.reason) from error


def _changed(
    record: Record,
    policy: container_pb2.RestartPolicy,
    changes: container_pb2.Resources | None,
) -> container_pb2.ContainerSpec:
    if record.spec.auto_remove and policy.condition not in NO_POLICY:
        raise FailedPrecondition(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
            state=record.state.word,
        )
    spec = container_pb2.ContainerSpec()
    spec.CopyFrom(record.spec)
    if policy.condition:
        spec.restart_policy.CopyFrom(policy)
    if changes is not None:
        spec.resources.CopyFrom(merge_resources(record.spec.resources, changes))
    return spec


def _check_fit(record: Record, has: Size, wanted: Size, resources: container_pb2.Resources) -> None:
    """Raise FailedPrecondition where a VM that runs is too small for limits."""
    then = "stop the container first: its next start takes a VM that fits"
    if wanted.memory_bytes > has.memory_bytes:
        raise FailedPrecondition(
            _cannot(
                record,
                f"its VM has {has.memory_bytes // MIB} MiB, and a memory limit of "
                f"{resources.memory_bytes // MIB} MiB takes one of {wanted.memory_bytes // MIB} "
                f"MiB; {then}",
            ),
            state=record.state.word,
        )
    if wanted.cpus > has.cpus:
        raise FailedPrecondition(
            _cannot(
                record,
                f"its VM has {_count(has.cpus)}, and such limits take one of "
                f"{_count(wanted.cpus)}; {then}",
            ),
            state=record.state.word,
        )


def _count(cpus: int) -> str:
    return "1 CPU" if cpus == 1 else f"{cpus} CPUs"


def _cannot(record: Record, why: str) -> str:
    return f"Cannot update container {record.id}: {why}"

"""What the VMs of the VCH take of their hosts."""

from vic.exec.v1 import exec_pb2

from portlayer.errors import InvalidArgument, NotImplementedYet, Reason
from services.exec.drivers import CanMeasure, Hypervisor, Usage
from services.exec.record import Record
from services.exec.states import State
from services.exec.store import Containers

DEFAULT_SECONDS, LEAST_SECONDS, MOST_SECONDS = 1.0, 0.1, 600.0


async def measure_usage(
    containers: Containers, hypervisor: Hypervisor, request: exec_pb2.MeasureUsageRequest
) -> exec_pb2.MeasureUsageResponse:
    """Return what ExecService.MeasureUsage says; errors as there."""
    if not isinstance(hypervisor, CanMeasure):
        raise NotImplementedYet("this hypervisor does not measure VMs", option="usage")
    over = request.over.ToTimedelta().total_seconds()
    seconds = over if request.HasField("over") else DEFAULT_SECONDS
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise InvalidArgument(
            f"usage is measured over {LEAST_SECONDS:g} to {MOST_SECONDS:g} seconds, "
            f"not over {seconds:g}",
            Reason.INVALID_REQUEST,
        )
    measured = {
        (usage.container_id, usage.boot_id): usage for usage in await hypervisor.usage(seconds)
    }
    running = await containers.select([state for state in State if state.has_vm])
    told = [
        _message(record, measured[record.id, record.boot_id], hypervisor)
        for record in sorted(running, key=lambda record: record.name)
        if (record.id, record.boot_id) in measured
    ]
    return exec_pb2.MeasureUsageResponse(containers=told)


def _message(record: Record, usage: Usage, hypervisor: Hypervisor) -> exec_pb2.ContainerUsage:
    given = record.vm or hypervisor.size(record.spec.resources)
    return exec_pb2.ContainerUsage(
        container_id=record.id,
        name=record.name,
        seconds=usage.seconds,
        given_memory_bytes=given.memory_bytes,
        given_cpus=given.cpus,
        cpus_used=usage.cpus_used,
        cpus_waited_for=usage.cpus_waited_for,
        memory_bytes=usage.memory_bytes,
        memory_active_bytes=usage.memory_active_bytes,
        disk_read_bytes_per_second=usage.disk_read_rate,
        disk_written_bytes_per_second=usage.disk_written_rate,
        received_bytes_per_second=usage.received_rate,
        sent_bytes_per_second=usage.sent_rate,
    )

"""Calls of the `vic` command to the suite's own services, with the installer's certificate."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
from google.protobuf.duration_pb2 import Duration
from vic.exec.v1 import container_pb2, exec_pb2, exec_pb2_grpc
from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from installer.instance import Instance
from portlayer.client import open_channel
from portlayer.errors import FailedPrecondition, NotFound, Unavailable, VicError
from portlayer.identity import Credentials, Role

Say = Callable[[str], None]

DEFAULT_STOP_SECONDS = 10.0
"""Docker's, for a container that names no time-out of its own."""

LIST_SECONDS = 30.0
# The first question makes the host agent try KVM, which takes five seconds where it does not work.
INFO_SECONDS = 20.0
# What comes on top of a container's own time-out: the kill, the power-off, and the other stops
# that a machine of two cores does at the same time.
STOP_MARGIN_SECONDS = 600.0

RUNNING = (
    container_pb2.CONTAINER_STATE_STARTING,
    container_pb2.CONTAINER_STATE_RUNNING,
    container_pb2.CONTAINER_STATE_PAUSED,
    container_pb2.CONTAINER_STATE_STOPPING,
    container_pb2.CONTAINER_STATE_RESTARTING,
)


@asynccontextmanager
async def facet_channel(instance: Instance, role: Role) -> AsyncIterator[grpc.aio.Channel]:
    """Give a channel to a process of the suite. Raises VicError where none is there."""
    try:
        credentials = Credentials.load(instance.pki_dir / Role.INSTALLER)
    except FileNotFoundError as error:
        raise Unavailable("the suite was never up; start it with `vic up`") from error
    async with open_channel(instance.target(role), role, instance.id, credentials) as channel:
        try:
            yield channel
        except Unavailable as error:
            # gRPC's own words, in which nothing is said of the suite.
            if not error.message.startswith("failed to connect"):
                raise
            raise Unavailable(f"{role} does not answer; `vic status` says how it is") from error


async def stop_containers(instance: Instance, say: Say) -> bool:
    """Have exec stop every container within its own time-out, all at once.

    One that can't be stopped is told and does not keep the others; tells whether all were. Raises
    VicError when exec can't be asked.
    """
    async with facet_channel(instance, Role.EXEC) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        # Their restart policies start them again at the next `vic up`.
        await stub.Close(exec_pb2.CloseRequest(), timeout=LIST_SECONDS)
        running = await _running(stub)
        if running:
            say(f"stopping {count(len(running), 'container')}")
        async with asyncio.TaskGroup() as group:
            stops = [group.create_task(_stop_container(stub, one, say)) for one in running]
        return all(stop.result() for stop in stops)


async def _running(stub: "exec_pb2_grpc.ExecServiceAsyncStub") -> list[container_pb2.Container]:
    running: list[container_pb2.Container] = []
    request = exec_pb2.ListRequest(states=RUNNING)
    while True:
        page = await stub.List(request, timeout=LIST_SECONDS)
        running += page.containers
        if not page.next_page_token:
            return running
        request.page_token = page.next_page_token


async def _stop_container(
    stub: "exec_pb2_grpc.ExecServiceAsyncStub", container: container_pb2.Container, say: Say
) -> bool:
    spec = container.spec
    own = spec.stop_timeout.ToTimedelta().total_seconds()
    seconds = own if spec.HasField("stop_timeout") and own >= 0 else DEFAULT_STOP_SECONDS
    timeout = Duration()
    timeout.FromMilliseconds(int(seconds * 1000))
    request = exec_pb2.StopRequest(
        reference=container.id, request_id=f"down-{container.id}", timeout=timeout
    )
    try:
        await stub.Stop(request, timeout=seconds + STOP_MARGIN_SECONDS)
    except (NotFound, FailedPrecondition):
        pass  # ended, or removed, by itself
    except VicError as error:
        say(f"{spec.name} could not be stopped in order: {error}")
        return False
    return True


async def kill_machines(instance: Instance) -> bool:
    """Have the host agent end every virtual machine: ready clones, parents, what did not stop.

    Raises VicError when it can't be asked.
    """
    async with facet_channel(instance, Role.HOSTAGENT) as channel:
        stub = hostagent_pb2_grpc.HostAgentServiceStub(channel)
        listed = await stub.List(hostagent_pb2.ListRequest(), timeout=LIST_SECONDS)
        async with asyncio.TaskGroup() as kills:
            for machine in listed.machines:
                request = hostagent_pb2.KillRequest(machine_id=machine.machine_id)
                kills.create_task(_kill_machine(stub, request))
    return True


async def count_machines(instance: Instance) -> int:
    """Return how many virtual machines there are for containers. Raises VicError."""
    async with facet_channel(instance, Role.HOSTAGENT) as channel:
        stub = hostagent_pb2_grpc.HostAgentServiceStub(channel)
        listed = await stub.List(hostagent_pb2.ListRequest(), timeout=LIST_SECONDS)
        kinds = (hostagent_pb2.MACHINE_KIND_COLD, hostagent_pb2.MACHINE_KIND_CLONE)
        return sum(machine.kind in kinds for machine in listed.machines)


async def _kill_machine(
    stub: "hostagent_pb2_grpc.HostAgentServiceAsyncStub", request: hostagent_pb2.KillRequest
) -> None:
    try:
        await stub.Kill(request, timeout=LIST_SECONDS)
    except NotFound:
        return


async def exec_info(instance: Instance) -> exec_pb2.InfoResponse:
    """Return what exec says of the virtual container host. Raises VicError."""
    async with facet_channel(instance, Role.EXEC) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        return await stub.Info(exec_pb2.InfoRequest(), timeout=INFO_SECONDS)


async def measured_usage(
    instance: Instance, seconds: float
) -> tuple[exec_pb2.InfoResponse, exec_pb2.MeasureUsageResponse]:
    """Return what exec says of the VCH, and what its VMs take of their hosts. Raises VicError."""
    over = Duration()
    over.FromMilliseconds(int(seconds * 1000))
    async with facet_channel(instance, Role.EXEC) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        usage = await stub.MeasureUsage(
            exec_pb2.MeasureUsageRequest(over=over), timeout=seconds + INFO_SECONDS
        )
        return await stub.Info(exec_pb2.InfoRequest(), timeout=INFO_SECONDS), usage


async def host_info(instance: Instance) -> hostagent_pb2.InfoResponse:
    """Return what the host agent says of hypervisor and accelerator. Raises VicError."""
    async with facet_channel(instance, Role.HOSTAGENT) as channel:
        stub = hostagent_pb2_grpc.HostAgentServiceStub(channel)
        return await stub.Info(hostagent_pb2.InfoRequest(), timeout=INFO_SECONDS)


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

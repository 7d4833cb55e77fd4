"""The exec facet in memory: a container is a coroutine.

It follows the protos' promises, not the facet's code. Programs are named by their first argument,
see :data:`PROGRAMS`.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from vic.exec.v1 import container_pb2, exec_pb2, exec_pb2_grpc
from vic.interaction.v1 import interaction_pb2
from vic.tether.v1.process_pb2 import StdStream

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
)
from tests.unit.gateway.fake_images import FakeImages
from tests.unit.gateway.fake_networks import BRIDGE_ID
from tests.unit.portlayer.conftest import INSTANCE

S = container_pb2.ContainerState
OUT, ERR = StdStream.STD_STREAM_STDOUT, StdStream.STD_STREAM_STDERR


def now() -> Timestamp:
    moment = Timestamp()
    moment.GetCurrentTime()
    return moment


@dataclass
class Running:
    """A container with what runs in it."""

    proto: container_pb2.Container
    output: list[interaction_pb2.LogEntry] = field(default_factory=list)
    listeners: list[asyncio.Queue[Any]] = field(default_factory=list)
    stdin: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    signals: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    task: asyncio.Task[None] | None = None
    window: tuple[int, int] = (0, 0)

    def write(self, stream: StdStream, data: bytes) -> None:
        for line in data.splitlines(keepends=True):
            self.output.append(
                interaction_pb2.LogEntry(time=now(), stream=stream, data=line, line_start=True)
            )
        for listener in self.listeners:
            listener.put_nowait(interaction_pb2.Output(stream=stream, data=data))


Program = Callable[[Running, Sequence[str]], Awaitable[int]]


async def _true(container: Running, args: Sequence[str]) -> int:
    return 0


async def _echo(container: Running, args: Sequence[str]) -> int:
    container.write(OUT, " ".join(args[1:]).encode() + b"\n")
    return 0


async def _cat(container: Running, args: Sequence[str]) -> int:
    while data := await container.stdin.get():
        container.write(OUT, data)
    return 0


async def _both(container: Running, args: Sequence[str]) -> int:
    container.write(OUT, b"out\n")
    container.write(ERR, b"err\n")
    return int(args[1])


async def _sleep(container: Running, args: Sequence[str]) -> int:
    container.write(OUT, b"sleeping\n")
    signal = await container.signals.get()
    return 143 if signal in ("SIGTERM", "") else 137


PROGRAMS: dict[str, Program] = {
    "true": _true,
    "echo": _echo,
    "cat": _cat,
    "both": _both,
    "sleep": _sleep,
}


class FakeExec(exec_pb2_grpc.ExecServiceServicer):
    """Containers in a dict."""

    def __init__(self, images: "FakeImages") -> None:
        self.containers: dict[str, Running] = {}
        self._nameless = itertools.count()
        self.images = images
        self.events: list[exec_pb2.Event] = []
        self.changed = asyncio.Condition()
        self.requests: list[Any] = []
        self.stop_seconds = 0.0
        self.told: list[exec_pb2.RecordEventRequest] = []
        """Events that the gateway had recorded."""
        self.joined: list[container_pb2.NetworkAttachment] = []
        """What was asked of networks to connect to."""

    async def RecordEvent(
        self, request: exec_pb2.RecordEventRequest, context: Any
    ) -> exec_pb2.RecordEventResponse:
        self.find(request.reference)
        self.told.append(request)
        return exec_pb2.RecordEventResponse()

    def find(self, reference: str) -> Running:
        for container in self.containers.values():
            if container.proto.spec.name == reference or container.proto.id == reference:
                return container
        found = [c for c in self.containers.values() if c.proto.id.startswith(reference)]
        if len(found) > 1:
            raise InvalidArgument("several", Reason.AMBIGUOUS_REFERENCE)
        if not found or not reference:
            raise NotFound("not found", Reason.CONTAINER_NOT_FOUND)
        return found[0]

    async def happened(self, container: Running, kind: exec_pb2.EventKind, **more: str) -> None:
        attributes = {
            "name": container.proto.spec.name,
            "image": container.proto.spec.image,
            **container.proto.spec.labels,
            **more,
        }
        async with self.changed:
            self.events.append(
                exec_pb2.Event(
                    sequence=len(self.events) + 1,
                    time=now(),
                    kind=kind,
                    container_id=container.proto.id,
                    attributes=attributes,
                )
            )
            self.changed.notify_all()

    async def Info(self, request: exec_pb2.InfoRequest, context: Any) -> exec_pb2.InfoResponse:
        return exec_pb2.InfoResponse(
            instance_id=INSTANCE,
            driver="qemu",
            hypervisor="QEMU 7.2",
            accelerator="tcg",
            accelerator_reason="a trial boot with kvm failed",
            kernel_release="6.1.0-cloud",
            cpus=2,
            memory_bytes=4 << 30,
            containers=len(self.containers),
            version="0.1.0",
        )

    async def Create(
        self, request: exec_pb2.CreateRequest, context: Any
    ) -> exec_pb2.CreateResponse:
        self.requests.append(request)
        spec = container_pb2.ContainerSpec()
        spec.CopyFrom(request.spec)
        image = self.images.find(spec.image)
        spec.image_id = image.id
        spec.name = spec.name or f"nameless_{next(self._nameless)}"
        spec.process.args[:] = [*spec.entrypoint, *(spec.command or image.config.command)]
        if not spec.process.args:
            raise InvalidArgument("no command specified", Reason.NO_COMMAND)
        for other in self.containers.values():
            if other.proto.spec.name == spec.name:
                raise AlreadyExists(
                    f'Conflict. The container name "/{spec.name}" is already in use by container '
                    f'"{other.proto.id}". You have to remove (or rename) that container to be '
                    "able to reuse that name.",
                    Reason.NAME_IN_USE,
                )
        container = container_pb2.Container(
            id=request.container_id,
            spec=spec,
            status=container_pb2.ContainerStatus(state=S.CONTAINER_STATE_CREATED),
            created_at=now(),
            endpoints=[
                container_pb2.ContainerEndpoint(
                    network_id=BRIDGE_ID,
                    network_name="bridge",
                    endpoint_id="e" * 64,
                    mac_address="02:42:AC:11:00:02",
                    ipv4_address="172.17.0.2",
                    ipv4_prefix_length=16,
                    ipv4_gateway="172.17.0.1",
                )
            ],
            disk_chain_length=3,
        )
        self.containers[container.id] = Running(container)
        await self.happened(self.containers[container.id], exec_pb2.EVENT_KIND_CREATE)
        return exec_pb2.CreateResponse(container=container)

    async def Get(self, request: exec_pb2.GetRequest, context: Any) -> exec_pb2.GetResponse:
        return exec_pb2.GetResponse(container=self.find(request.reference).proto)

    async def List(self, request: exec_pb2.ListRequest, context: Any) -> exec_pb2.ListResponse:
        return exec_pb2.ListResponse(containers=[c.proto for c in self.containers.values()])

    async def Start(self, request: exec_pb2.StartRequest, context: Any) -> exec_pb2.StartResponse:
        container = self.find(request.reference)
        status, args = container.proto.status, container.proto.spec.process.args
        if status.state == S.CONTAINER_STATE_RUNNING:
            raise FailedPrecondition("running", Reason.ALREADY_DONE)
        if args[0] not in PROGRAMS:
            status.exit_code = 127
            status.error = f'exec: "{args[0]}": executable file not found in $PATH'
            raise FailedPrecondition(status.error, Reason.LAUNCH_FAILED, exit_code="127")
        status.state, status.pid = S.CONTAINER_STATE_RUNNING, 4711
        status.started_at.CopyFrom(now())
        await self.happened(container, exec_pb2.EVENT_KIND_START)
        container.task = asyncio.create_task(self._run(container, list(args)))
        return exec_pb2.StartResponse(container=container.proto)

    async def _run(self, container: Running, args: list[str]) -> None:
        code = await PROGRAMS[args[0]](container, args)
        status = container.proto.status
        status.state, status.exit_code, status.pid = S.CONTAINER_STATE_EXITED, code, 0
        status.finished_at.CopyFrom(now())
        for listener in container.listeners:
            listener.put_nowait(None)
        await self.happened(container, exec_pb2.EVENT_KIND_DIE, exitCode=str(code))
        if container.proto.spec.auto_remove:
            del self.containers[container.proto.id]
            await self.happened(container, exec_pb2.EVENT_KIND_DESTROY)

    async def _end(self, container: Running, signal: str) -> None:
        assert container.task is not None
        container.signals.put_nowait(signal)
        await container.task

    async def Stop(self, request: exec_pb2.StopRequest, context: Any) -> exec_pb2.StopResponse:
        self.requests.append(request)
        self.stop_seconds = context.time_remaining()
        container = self.find(request.reference)
        if container.proto.status.state != S.CONTAINER_STATE_RUNNING:
            raise FailedPrecondition("stopped", Reason.ALREADY_DONE)
        await self._end(container, request.signal or "SIGTERM")
        return exec_pb2.StopResponse(container=container.proto)

    async def Restart(
        self, request: exec_pb2.RestartRequest, context: Any
    ) -> exec_pb2.RestartResponse:
        container = self.find(request.reference)
        if container.proto.status.state == S.CONTAINER_STATE_RUNNING:
            await self._end(container, "SIGTERM")
        await self.Start(exec_pb2.StartRequest(reference=request.reference), context)
        return exec_pb2.RestartResponse(container=container.proto)

    async def Signal(
        self, request: exec_pb2.SignalRequest, context: Any
    ) -> exec_pb2.SignalResponse:
        container = self.find(request.reference)
        if container.proto.status.state != S.CONTAINER_STATE_RUNNING:
            raise FailedPrecondition(
                f"cannot kill container: {request.reference}: container {container.proto.id} is "
                "not running",
                Reason.WRONG_STATE,
            )
        await self._end(container, request.signal or "SIGKILL")
        return exec_pb2.SignalResponse()

    async def Rename(
        self, request: exec_pb2.RenameRequest, context: Any
    ) -> exec_pb2.RenameResponse:
        container = self.find(request.reference)
        container.proto.spec.name = request.new_name
        return exec_pb2.RenameResponse(container=container.proto)

    async def ConnectNetwork(
        self, request: exec_pb2.ConnectNetworkRequest, context: Any
    ) -> exec_pb2.ConnectNetworkResponse:
        container = self.find(request.reference)
        self.joined.append(request.attachment)
        container.proto.spec.networks.append(request.attachment)
        container.proto.endpoints.add(
            network_id="d" * 64,
            network_name=request.attachment.network,
            aliases=request.attachment.aliases,
        )
        return exec_pb2.ConnectNetworkResponse(container=container.proto)

    async def DisconnectNetwork(
        self, request: exec_pb2.DisconnectNetworkRequest, context: Any
    ) -> exec_pb2.DisconnectNetworkResponse:
        container = self.find(request.reference)
        for endpoint in container.proto.endpoints:
            if endpoint.network_name == request.network:
                container.proto.endpoints.remove(endpoint)
                return exec_pb2.DisconnectNetworkResponse(container=container.proto)
        raise FailedPrecondition(
            f"container {container.proto.id} is not connected to the network {request.network}",
            Reason.NOT_CONNECTED,
        )

    async def Remove(
        self, request: exec_pb2.RemoveRequest, context: Any
    ) -> exec_pb2.RemoveResponse:
        container = self.find(request.reference)
        if container.proto.status.state == S.CONTAINER_STATE_RUNNING:
            if not request.force:
                raise FailedPrecondition(
                    f'cannot remove container "{request.reference}": container is running: stop '
                    "the container before removing or force remove",
                    Reason.WRONG_STATE,
                )
            await self._end(container, "SIGKILL")
        self.containers.pop(container.proto.id, None)
        await self.happened(container, exec_pb2.EVENT_KIND_DESTROY)
        return exec_pb2.RemoveResponse()

    async def Wait(
        self, request: exec_pb2.WaitRequest, context: Any
    ) -> AsyncIterator[exec_pb2.WaitResponse]:
        container = self.find(request.reference)
        after = len(self.events)
        yield exec_pb2.WaitResponse(waiting=exec_pb2.WaitStarted(container_id=container.proto.id))
        status = container.proto.status
        awaited = exec_pb2.EVENT_KIND_DIE
        if request.condition == exec_pb2.WAIT_CONDITION_REMOVED:
            awaited = exec_pb2.EVENT_KIND_DESTROY
        at_once = request.condition == exec_pb2.WAIT_CONDITION_NOT_RUNNING
        if not at_once or status.state == S.CONTAINER_STATE_RUNNING:
            async with self.changed:
                await self.changed.wait_for(
                    lambda: any(
                        event.kind == awaited and event.container_id == container.proto.id
                        for event in self.events[after:]
                    )
                )
        yield exec_pb2.WaitResponse(result=exec_pb2.WaitResult(exit_code=status.exit_code))

    async def WatchEvents(
        self, request: exec_pb2.WatchEventsRequest, context: Any
    ) -> AsyncIterator[exec_pb2.WatchEventsResponse]:
        sent = request.after_sequence or len(self.events)
        if request.HasField("since") and not request.after_sequence:
            sent = 0
        started = exec_pb2.WatchEventsStarted(sequence=len(self.events))
        yield exec_pb2.WatchEventsResponse(started=started)
        while True:
            for event in self.events[sent:]:
                sent = event.sequence
                yield exec_pb2.WatchEventsResponse(event=event)
            if request.HasField("until"):
                return
            async with self.changed:
                await self.changed.wait_for(partial(self._has_more_than, sent))

    def _has_more_than(self, count: int) -> bool:
        return len(self.events) > count

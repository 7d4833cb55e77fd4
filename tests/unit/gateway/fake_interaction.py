"""The interaction facet in memory: the streams of what FakeExec runs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from vic.exec.v1 import container_pb2
from vic.interaction.v1 import interaction_pb2

from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    Reason,
    Unavailable,
    VicError,
)
from tests.unit.gateway.fake_containers import ERR, OUT, PROGRAMS, FakeExec, Running
from tests.unit.gateway.fake_execs import FakeExecs


class FakeInteraction(FakeExecs):
    """Streams of the containers in FakeExec."""

    def __init__(self, containers: FakeExec) -> None:
        super().__init__(PROGRAMS, Running)
        self.containers = containers
        self.attached = 0
        self.taking_input = asyncio.Event()
        self.taking_input.set()
        self.samples: list[dict[str, Any] | None] = []
        """What Stats tells, in order; None where nothing runs."""
        self.has_watched = False
        """Whether containers are this replica's, for who watches many."""
        self.watched: set[str] = set()
        self.watch_streams = 0
        self.due: asyncio.Queue[interaction_pb2.WatchStatsResponse] = asyncio.Queue()
        self.ps_args: list[str] = []
        self.changes: list[interaction_pb2.Change] = []
        self.layers: list[interaction_pb2.GetLayerRequest] = []
        self.layer: list[bytes | VicError | None] = [b"the ", b"layer"]
        """What GetLayer sends, or fails with; after None nothing comes."""

    async def Changes(
        self, request: interaction_pb2.ChangesRequest, context: Any
    ) -> AsyncIterator[interaction_pb2.ChangesResponse]:
        for change in self.changes:
            yield interaction_pb2.ChangesResponse(changes=[change])

    async def GetLayer(
        self, request: interaction_pb2.GetLayerRequest, context: Any
    ) -> AsyncIterator[interaction_pb2.GetLayerResponse]:
        self.layers.append(request)
        if not isinstance(self.layer[0], VicError):
            yield interaction_pb2.GetLayerResponse()
        for piece in self.layer:
            if isinstance(piece, VicError):
                raise piece
            if piece is None:
                await asyncio.Event().wait()
            yield interaction_pb2.GetLayerResponse(data=piece)

    async def Stats(
        self, request: interaction_pb2.StatsRequest, context: Any
    ) -> AsyncIterator[interaction_pb2.StatsResponse]:
        for sample in self.samples:
            yield interaction_pb2.StatsResponse(sample=sample)
            if not request.stream:
                return
        if not self.samples:
            raise Unavailable("no tether", Reason.TETHER_AWAY)

    async def WatchStats(
        self, request_iterator: AsyncIterator[interaction_pb2.WatchStatsRequest], context: Any
    ) -> AsyncIterator[interaction_pb2.WatchStatsResponse]:
        self.watch_streams += 1
        self.watched = set()
        asking = asyncio.ensure_future(self._ask(request_iterator))
        try:
            while True:
                yield await self.due.get()
        finally:
            self.watch_streams -= 1
            asking.cancel()

    async def _ask(
        self, request_iterator: AsyncIterator[interaction_pb2.WatchStatsRequest]
    ) -> None:
        async for request in request_iterator:
            self.watched = self.watched - set(request.leave) | set(request.watch)
            if not self.has_watched:
                for container_id in request.watch:
                    self.tell(container_id, end=interaction_pb2.WATCH_END_NOT_HERE)

    def tell(self, container_id: str, **told: Any) -> None:
        """Have who watches a container told of it."""
        sample = interaction_pb2.WatchedSample(container_id=container_id, **told)
        if sample.end:
            self.watched.discard(container_id)
        self.due.put_nowait(interaction_pb2.WatchStatsResponse(samples=[sample]))

    async def Top(
        self, request: interaction_pb2.TopRequest, context: Any
    ) -> interaction_pb2.TopResponse:
        self.ps_args = list(request.ps_args)
        if "--nope" in self.ps_args:
            raise InvalidArgument("unknown option --nope")
        row: Any = {"columns": ["7", "sleep 1"]}
        return interaction_pb2.TopResponse(titles=["PID", "CMD"], rows=[row])

    async def Attach(
        self, request_iterator: AsyncIterator[interaction_pb2.AttachRequest], context: Any
    ) -> AsyncIterator[interaction_pb2.AttachResponse]:
        start = (await anext(request_iterator)).start
        container = self.containers.find(start.container_id)
        queue: asyncio.Queue[Any] = asyncio.Queue()
        if start.logs:
            for entry in container.output:
                queue.put_nowait(interaction_pb2.Output(stream=entry.stream, data=entry.data))
        if start.stream:
            container.listeners.append(queue)
        else:
            queue.put_nowait(None)
        tty = container.proto.spec.process.tty

        async def feed() -> None:
            await self.taking_input.wait()
            async for message in request_iterator:
                container.stdin.put_nowait(message.stdin)
            if tty:
                queue.put_nowait(None)
            else:
                container.stdin.put_nowait(b"")
                queue.put_nowait(interaction_pb2.InputEnded())

        feeding: asyncio.Task[None] | None = None
        wanted = [OUT] * start.stdout + [ERR] * start.stderr
        self.attached += 1
        try:
            # Who has gone by now ends it here.
            yield interaction_pb2.AttachResponse(ready=interaction_pb2.AttachReady(tty=tty))
            feeding = asyncio.create_task(feed()) if start.stdin else None
            while (said := await queue.get()) is not None:
                if isinstance(said, VicError):
                    raise said
                if isinstance(said, interaction_pb2.InputEnded):
                    yield interaction_pb2.AttachResponse(input_ended=said)
                elif said.stream in wanted:
                    yield interaction_pb2.AttachResponse(output=said)
        finally:
            self.attached -= 1
            if feeding is not None:
                feeding.cancel()

    async def Resize(
        self, request: interaction_pb2.ResizeRequest, context: Any
    ) -> interaction_pb2.ResizeResponse:
        if request.exec_id:
            self._find(request.exec_id).window = (request.window.rows, request.window.columns)
            return interaction_pb2.ResizeResponse()
        container = self.containers.find(request.container_id)
        container.window = (request.window.rows, request.window.columns)
        return interaction_pb2.ResizeResponse()

    async def Logs(
        self, request: interaction_pb2.LogsRequest, context: Any
    ) -> AsyncIterator[interaction_pb2.LogsResponse]:
        container = self.containers.find(request.container_id)
        if container.proto.spec.log.driver == container_pb2.LOG_DRIVER_NONE:
            raise FailedPrecondition("none", Reason.LOGS_NOT_KEPT)
        yield interaction_pb2.LogsResponse()
        wanted = [OUT] * request.stdout + [ERR] * request.stderr
        entries = [entry for entry in container.output if entry.stream in wanted]
        if request.tail >= 0:
            entries = entries[len(entries) - min(request.tail, len(entries)) :]
        if entries:
            yield interaction_pb2.LogsResponse(entries=entries)
        if request.follow and container.task is not None:
            await asyncio.wait({container.task})

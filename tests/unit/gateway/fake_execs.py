"""Additional processes of the containers in memory, as the interaction facet promises them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from vic.exec.v1 import container_pb2
from vic.interaction.v1 import interaction_pb2, interaction_pb2_grpc
from vic.tether.v1.process_pb2 import StdStream

from portlayer.errors import FailedPrecondition, NotFound, Reason

OUT, ERR = StdStream.STD_STREAM_STDOUT, StdStream.STD_STREAM_STDERR


@dataclass
class Exec:
    """An additional process; ``running`` is what its program sees of it."""

    id: str
    request: interaction_pb2.CreateExecRequest
    running: Any
    code: int | None = None
    window: tuple[int, int] = (0, 0)


class FakeExecs(interaction_pb2_grpc.InteractionServiceServicer):
    """CreateExec, StartExec, InspectExec, ListExecs, and Resize of an exec."""

    def __init__(self, programs: Mapping[str, Any], make: Any) -> None:
        self.execs: dict[str, Exec] = {}
        self.inspected = 0
        self._programs = programs
        self._make = make

    def _find(self, exec_id: str) -> Exec:
        if exec_id not in self.execs:
            raise NotFound(f"No such exec instance: {exec_id}", Reason.EXEC_NOT_FOUND)
        return self.execs[exec_id]

    async def CreateExec(
        self, request: interaction_pb2.CreateExecRequest, context: Any
    ) -> interaction_pb2.CreateExecResponse:
        exec_id = secrets.token_hex(32)
        proto = container_pb2.Container(spec={"process": request.process})
        self.execs[exec_id] = Exec(exec_id, request, self._make(proto))
        return interaction_pb2.CreateExecResponse(exec_id=exec_id)

    async def StartExec(
        self,
        request_iterator: AsyncIterator[interaction_pb2.StartExecRequest],
        context: Any,
    ) -> AsyncIterator[interaction_pb2.StartExecResponse]:
        start = (await anext(request_iterator)).start
        process = self._find(start.exec_id)
        if process.running.task is not None or process.code is not None:
            raise FailedPrecondition(
                f"Error: Exec command {process.id} is already running", Reason.WRONG_STATE
            )
        spec, streams = process.request.process, process.request.streams
        window = start.window if start.HasField("window") else spec.window
        process.window = (window.rows, window.columns)
        queue: asyncio.Queue[Any] = asyncio.Queue()
        process.running.listeners.append(queue)
        ready = interaction_pb2.StartExecResponse(
            ready=interaction_pb2.StartExecReady(tty=spec.tty)
        )
        if start.detach:
            self._launch(process)
            yield ready
            return
        yield ready
        self._launch(process)

        async def feed() -> None:
            async for message in request_iterator:
                process.running.stdin.put_nowait(message.stdin)
            if spec.tty:
                queue.put_nowait(None)
            else:
                process.running.stdin.put_nowait(b"")
                queue.put_nowait(interaction_pb2.InputEnded())

        feeding = asyncio.create_task(feed()) if spec.stdin else None
        wanted = [OUT] * streams.stdout + [ERR] * streams.stderr
        try:
            while (said := await queue.get()) is not None:
                if isinstance(said, interaction_pb2.InputEnded):
                    yield interaction_pb2.StartExecResponse(input_ended=said)
                elif said.stream in wanted:
                    yield interaction_pb2.StartExecResponse(output=said)
        finally:
            process.running.listeners.remove(queue)
            if feeding is not None:
                feeding.cancel()

    def _launch(self, process: Exec) -> None:
        args = list(process.request.process.args)
        if args[0] not in self._programs:
            process.code = 126 if args[0].startswith("/") else 127
            why = (
                f'exec: "{args[0]}": permission denied'
                if process.code == 126
                else f'exec: "{args[0]}": executable file not found in $PATH'
            )
            raise FailedPrecondition(
                why, Reason.LAUNCH_FAILED, exit_code=str(process.code), failure="NOT_FOUND"
            )
        process.running.task = asyncio.create_task(self._run(process, args))

    async def _run(self, process: Exec, args: list[str]) -> None:
        process.code = await self._programs[args[0]](process.running, args)
        for listener in process.running.listeners:
            listener.put_nowait(None)

    async def InspectExec(
        self, request: interaction_pb2.InspectExecRequest, context: Any
    ) -> interaction_pb2.InspectExecResponse:
        self.inspected += 1
        process = self._find(request.exec_id)
        return interaction_pb2.InspectExecResponse(
            exec_id=process.id,
            container_id=process.request.container_id,
            process=process.request.process,
            streams=process.request.streams,
            running=process.running.task is not None and process.code is None,
            exit_code=process.code,
            pid=77,
        )

    async def ListExecs(
        self, request: interaction_pb2.ListExecsRequest, context: Any
    ) -> interaction_pb2.ListExecsResponse:
        return interaction_pb2.ListExecsResponse(
            exec_ids=[
                process.id
                for process in self.execs.values()
                if process.request.container_id == request.container_id and process.code is None
            ]
        )

    async def close(self) -> None:
        """End every process."""
        for process in self.execs.values():
            if process.running.task is not None:
                process.running.task.cancel()

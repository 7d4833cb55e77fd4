"""A double of interaction: serves TetherService, and remembers what the tether tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from vic.tether.v1 import tether_pb2 as pb
from vic.tether.v1.process_pb2 import STD_STREAM_STDERR, ProcessSpec, WorkloadLimits
from vic.tether.v1.tether_pb2_grpc import TetherServiceServicer, add_TetherServiceServicer_to_server

from tests.integration.tether.authority import Authority

# Of every wait: a VM without KVM on a machine that has other work takes ten times its own time.
BOUND = 240.0
LISTEN = "127.0.0.1"


@dataclass
class Output:
    """What a process has written, and what it is given to read."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    ended: bool = False
    stored: int = 0
    stdin: bytes = b""
    stdin_open: bool = False
    pieces: list[bytes] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Interaction(TetherServiceServicer):
    """Commands go down by ``send``; what comes up is kept by process."""

    def __init__(self) -> None:
        self.hello: asyncio.Future[pb.Hello] = asyncio.get_running_loop().create_future()
        self.outputs: dict[str, Output] = {}
        self.hellos: list[pb.Hello] = []
        self.acknowledge = True
        self.peers: set[str] = set()
        self.acknowledged: dict[str, int] = {}
        self._down: asyncio.Queue[pb.ConnectResponse] = asyncio.Queue()
        self._events: dict[tuple[str, str], asyncio.Future[object]] = {}

    def _event(self, kind: str, key: str) -> asyncio.Future[object]:
        loop = asyncio.get_running_loop()
        return self._events.setdefault((kind, key), loop.create_future())

    async def wait(self, kind: str, key: str) -> object:
        """The event of a kind ("started", "launch_failed", "exited", "result") with this ID."""
        async with asyncio.timeout(BOUND):
            return await asyncio.shield(self._event(kind, key))

    def forget(self, kind: str, key: str) -> None:
        """Wait for an event anew."""
        self._events.pop((kind, key), None)

    def adopt(self, process_id: str, stored: int) -> None:
        """Go on where a former service has stored the output of a process to."""
        self.outputs[process_id] = Output(stored=stored)

    async def until_output(self, process_id: str, text: bytes) -> None:
        """Wait until a process has written this to its standard output."""
        output = self.outputs[process_id]
        async with asyncio.timeout(BOUND):
            while text not in output.stdout:
                output.changed.clear()
                await output.changed.wait()

    def send(self, **message: Any) -> None:
        """Send a command."""
        self._down.put_nowait(pb.ConnectResponse(**message))

    async def Connect(self, request_iterator, context):  # type: ignore[no-untyped-def]
        names = context.auth_context()["x509_subject_alternative_name"]
        self.peers |= {name.decode() for name in names}
        hello = (await anext(request_iterator)).hello
        self.hellos.append(hello)
        yield pb.ConnectResponse(welcome=pb.Welcome())
        if not self.hello.done():
            self.hello.set_result(hello)
        for state in hello.processes:
            if state.HasField("exited"):
                self._tell("exited", state.process_id, state.exited)

        async def read() -> None:
            async for request in request_iterator:
                kind = request.WhichOneof("message")
                if kind == "clock":
                    continue  # what it asks is not for us to answer
                message = getattr(request, kind)
                key = message.command_id if kind == "result" else message.process_id
                self._tell(kind, str(key), message)

        reading = asyncio.create_task(read())
        try:
            while True:
                yield await self._down.get()
        finally:
            reading.cancel()

    def _tell(self, kind: str, key: str, message: object) -> None:
        event = self._event(kind, key)
        if not event.done():
            event.set_result(message)

    async def Stdio(self, request_iterator, context):  # type: ignore[no-untyped-def]
        opening = (await anext(request_iterator)).open
        output = self.outputs.setdefault(opening.process_id, Output())
        if output.stdin_open:
            data = output.stdin[opening.stdin_offset :]
            offset = opening.stdin_offset
            for start in range(0, len(data), 65536):
                piece = data[start : start + 65536]
                yield pb.StdioResponse(stdin=pb.StdinChunk(offset=offset, data=piece))
                offset += len(piece)
            yield pb.StdioResponse(stdin_end=pb.StdinEnd(offset=offset))
        async for request in request_iterator:
            match request.WhichOneof("message"):
                case "output":
                    chunk = request.output
                    if chunk.sequence == output.stored + 1:
                        err = chunk.stream == STD_STREAM_STDERR
                        (output.stderr if err else output.stdout).extend(chunk.data)
                        output.stored += 1
                        output.pieces.append(chunk.data)
                        output.changed.set()
                    if self.acknowledge:
                        self.acknowledged[opening.process_id] = output.stored
                        yield pb.StdioResponse(
                            output_acknowledged=pb.OutputAcknowledged(sequence=output.stored)
                        )
                case "end":
                    output.ended = True

    async def launch(
        self,
        *args: str,
        process_id: str = "init",
        limits: WorkloadLimits | None = None,
        stdin: bytes | None = None,
        **spec: Any,
    ) -> None:
        """Ask for a process; ``stdin`` is all that it will be given to read."""
        self.outputs[process_id] = Output(stdin=stdin or b"", stdin_open=stdin is not None)
        spec.setdefault("env", ["PATH=/bin:/usr/bin:/sbin"])
        self.send(
            launch=pb.LaunchCommand(
                process_id=process_id,
                process=ProcessSpec(args=args, stdin=stdin is not None, **spec),
                init=process_id == "init",
                limits=limits,
            )
        )

    async def run(self, *args: str, process_id: str = "init", **options: object) -> Result:
        """Launch a process and wait for its end."""
        await self.launch(*args, process_id=process_id, **options)  # type: ignore[arg-type]
        exited = await self.wait("exited", process_id)
        assert isinstance(exited, pb.ProcessExited)
        output = self.outputs[process_id]
        return Result(exited.exit_code, bytes(output.stdout), bytes(output.stderr), exited)


@dataclass(frozen=True)
class Result:
    """How a process went."""

    code: int
    stdout: bytes
    stderr: bytes
    exited: pb.ProcessExited


@asynccontextmanager
async def serve(authority: Authority, port: int = 0) -> AsyncIterator[tuple[Interaction, int]]:
    """A double that listens on loopback; yields it with its port."""
    interaction = Interaction()
    server = grpc.aio.server(options=[("grpc.http2.lookahead_bytes", 4 * 1024 * 1024)])
    add_TetherServiceServicer_to_server(interaction, server)
    own = authority.for_interaction()
    credentials = grpc.ssl_server_credentials(
        [(own.key, own.certificate)], authority.pem, require_client_auth=True
    )
    port = server.add_secure_port(f"{LISTEN}:{port}", credentials)
    await server.start()
    try:
        yield interaction, port
    finally:
        await server.stop(0)

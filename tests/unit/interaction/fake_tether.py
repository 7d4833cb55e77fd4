"""The agent in a VM, as a test plays it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from vic.tether.v1 import process_pb2 as tether_process_pb2
from vic.tether.v1 import tether_pb2, tether_pb2_grpc

BOOT = "b001"
INIT = "init"
OUT = tether_process_pb2.STD_STREAM_STDOUT
ERR = tether_process_pb2.STD_STREAM_STDERR

# Bound of every wait in a test.
SOON = 60.0


async def soon(awaitable: Any) -> Any:
    """Await with a bound."""
    async with asyncio.timeout(SOON):
        return await awaitable


class FakeTether:
    """The agent in a VM, as a test plays it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub: tether_pb2_grpc.TetherServiceAsyncStub = tether_pb2_grpc.TetherServiceStub(
            channel
        )
        self.control: Any = None

    async def connect(
        self,
        boot_id: str = BOOT,
        processes: Sequence[tether_pb2.ProcessState] = (),
        **hello: Any,
    ) -> None:
        """Open the control stream; return after Welcome."""
        self.control = self.stub.Connect(wait_for_ready=True)
        first = tether_pb2.Hello(
            boot_id=boot_id, kernel_release="6.1-test", processes=list(processes), **hello
        )
        await self.control.write(tether_pb2.ConnectRequest(hello=first))
        assert (await self.command()).WhichOneof("message") == "welcome"

    async def command(self) -> Any:
        """Return the next message from the service."""
        message = await soon(self.control.read())
        assert message is not grpc.aio.EOF, await self.control.code()
        return message

    async def say(self, **message: Any) -> None:
        """Send a message on the control stream."""
        await self.control.write(tether_pb2.ConnectRequest(**message))

    async def take_launch(self, pid: int = 42) -> tether_pb2.LaunchCommand:
        """Take the next command, which is to launch, and say that the process runs."""
        command = await self.command()
        assert command.WhichOneof("message") == "launch", command
        launch: tether_pb2.LaunchCommand = command.launch
        await self.start(launch, pid)
        return launch

    async def start(self, launch: tether_pb2.LaunchCommand, pid: int = 42) -> None:
        """Say that a process runs that was to be launched."""
        await self.say(
            started={
                "process_id": launch.process_id,
                "pid": pid,
                "started_at": {"seconds": 1000, "nanos": 5},
            }
        )

    async def exit(self, code: int, process_id: str = INIT) -> None:
        """Say that a process has ended; return when that was acknowledged."""
        await self.say(
            exited={
                "process_id": process_id,
                "exit_code": code,
                "finished_at": {"seconds": 2000, "nanos": 7},
            }
        )
        command = await self.command()
        assert command.exit_acknowledged.process_id == process_id, command

    async def stdio(
        self,
        process_id: str = INIT,
        boot_id: str = BOOT,
        stdin_offset: int = 0,
        sequence: int = 1,
    ) -> "FakeStdio":
        """Open the stream of a process's output."""
        call: Any = self.stub.Stdio(wait_for_ready=True)
        opened = tether_pb2.StdioOpen(
            process_id=process_id, boot_id=boot_id, stdin_offset=stdin_offset
        )
        await call.write(tether_pb2.StdioRequest(open=opened))
        return FakeStdio(call, sequence)


@dataclass
class FakeStdio:
    """A stream that carries a process's output and input."""

    call: Any
    sequence: int
    acknowledged: int = 0

    async def send(self, data: bytes, stream: Any = OUT, time_ns: int = 0) -> None:
        """Send a chunk."""
        chunk = tether_pb2.OutputChunk(stream=stream, sequence=self.sequence, data=data)
        if time_ns:
            chunk.time.FromNanoseconds(time_ns)
        self.sequence += 1
        await self.call.write(tether_pb2.StdioRequest(output=chunk))

    async def read(self) -> Any:
        """Return the next message from the service."""
        message = await soon(self.call.read())
        if message is not grpc.aio.EOF and message.WhichOneof("message") == "output_acknowledged":
            self.acknowledged = message.output_acknowledged.sequence
        return message

    async def settle(self) -> None:
        """Return when all that was sent is acknowledged."""
        while self.acknowledged < self.sequence - 1:
            assert await self.read() is not grpc.aio.EOF, await self.call.code()

    async def end(self) -> None:
        """Send the end of output."""
        end = tether_pb2.OutputEnd(sequence=self.sequence)
        await self.call.write(tether_pb2.StdioRequest(end=end))

    async def close(self) -> None:
        """End output and the stream; return when the service has ended it too."""
        await self.end()
        await self.call.done_writing()
        while await self.read() is not grpc.aio.EOF:
            pass
        assert await self.call.code() is grpc.StatusCode.OK

    async def take_input(self, size: int, acknowledge: bool = True) -> bytes:
        """Return so many bytes of input, and say that the process has taken them."""
        taken = bytearray()
        while len(taken) < size:
            message = await self.read()
            if message.WhichOneof("message") != "stdin":
                continue
            taken += message.stdin.data
            if acknowledge:
                await self.take(message.stdin.offset + len(message.stdin.data))
        return bytes(taken)

    async def take(self, offset: int, closed: bool = False) -> None:
        """Say that the process has taken input up to an offset."""
        taken = tether_pb2.StdinAcknowledged(offset=offset, closed=closed)
        await self.call.write(tether_pb2.StdioRequest(stdin_acknowledged=taken))

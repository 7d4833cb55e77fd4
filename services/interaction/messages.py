"""Messages of the service towards clients, and what the code behind it has instead."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import grpc
from vic.interaction.v1 import interaction_pb2
from vic.tether.v1 import process_pb2 as tether_process_pb2

from portlayer.errors import InvalidArgument
from services.interaction.attach import Read, check_input
from services.interaction.logfiles import LogPosition
from services.interaction.logreader import LogBatch
from services.interaction.output import Stream
from services.interaction.timestamps import from_ns

Context = grpc.aio.ServicerContext[Any, Any]

_NUMBERS: Final = {
    Stream.STDOUT: tether_process_pb2.STD_STREAM_STDOUT,
    Stream.STDERR: tether_process_pb2.STD_STREAM_STDERR,
}


def wanted_streams(stdout: bool, stderr: bool) -> frozenset[Stream]:
    """Return the streams that a request asks for."""
    wanted = {Stream.STDOUT: stdout, Stream.STDERR: stderr}
    return frozenset(stream for stream, want in wanted.items() if want)


def seconds_until(until_ns: int | None, *, follow: bool) -> float | None:
    """Return how long output that is wanted may still come."""
    if until_ns is None or not follow:
        return None
    return max(0.0, (until_ns - time.time_ns()) / 1e9)


def position_of(text: str) -> LogPosition | None:
    """Return the place in a log that an answer told. Raises InvalidArgument."""
    if not text:
        return None
    file, _, offset = text.partition(":")
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (file, offset)):
        raise InvalidArgument("no answer told this position")
    return LogPosition(int(file), int(offset))


def logs_response(batch: LogBatch) -> interaction_pb2.LogsResponse:
    return interaction_pb2.LogsResponse(
        position=f"{batch.position.file}:{batch.position.offset}",
        entries=[
            interaction_pb2.LogEntry(
                time=from_ns(record.time_ns),
                stream=_NUMBERS[record.stream],
                data=record.data,
                line_start=record.line_start,
            )
            for record in batch.records
        ],
    )


async def first_message(context: Context) -> Any:
    """Return what a stream's first message says. Raises InvalidArgument when it isn't a start."""
    message = await context.read()
    if message is grpc.aio.EOF or message.WhichOneof("message") != "start":
        raise InvalidArgument("the first message is not a start")
    return message.start


def reader(context: Context) -> Read:
    """Return what reads the input that a client sends, None at its end."""

    async def read() -> bytes | None:
        message = await context.read()
        return None if message is grpc.aio.EOF else check_input(message.stdin)

    return read


class Answers:
    """What one client is sent, by several tasks: gRPC takes one message of a stream at a time."""

    def __init__(self, context: Context, response: Callable[..., Any]) -> None:
        self._context = context
        self._response = response
        self._turn = asyncio.Lock()

    async def output(self, stream: Stream, data: bytes) -> None:
        """Send a piece of output."""
        output = interaction_pb2.Output(stream=_NUMBERS[stream], data=data)
        await self._send(self._response(output=output))

    async def input_ended(self) -> None:
        """Tell that all input was handed over."""
        await self._send(self._response(input_ended=interaction_pb2.InputEnded()))

    async def _send(self, message: Any) -> None:
        async with self._turn:
            await self._context.write(message)

"""A process as the agent knows it: its streams, its exit, and its Stdio stream to interaction."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from vic.tether.v1.tether_pb2 import (
    OutputEnd,
    ProcessExited,
    ProcessStarted,
    ProcessState,
    StdinAcknowledged,
    StdioOpen,
    StdioRequest,
    StdioResponse,
)

from tether.agent.backoff import Backoff
from tether.agent.input import InputPipe
from tether.agent.output import OutputBuffer
from tether.agent.wire import open_stdio

if TYPE_CHECKING:
    from tether.agent.wire import Outgoing, StdioCall

# After its exit, how long a process's pipes may be held open by what it left behind. (dockerd
# waits as long for the streams of an exec.)
_LINGER_SECONDS = 2.0
# Between a process's last output and its exit. One that closes its output and goes on is told of.
_EXIT_SECONDS = 0.5
# Input that was taken is acknowledged when it is so much, or after a while: for each an emulated
# vCPU spends a millisecond. Interaction keeps four times as much.
_ACKNOWLEDGE_BYTES = 256 * 1024
_ACKNOWLEDGE_SECONDS = 0.02
_NANO = 1_000_000_000


@dataclass(frozen=True)
class Exit:
    """How a process ended."""

    code: int
    oom_killed: bool
    finished_ns: int


class WorkloadProcess:
    """A running or ended process."""

    def __init__(
        self,
        process_id: str,
        pid: int,
        started_ns: int,
        streams: dict[str, int],
        on_ended: Callable[[WorkloadProcess], None],
    ) -> None:
        """Take over ``streams``; ``on_ended`` is called once exit and output are complete."""
        self.process_id = process_id
        self.pid = pid
        self.started_ns = started_ns
        self._on_ended = on_ended
        self._exit: Exit | None = None
        self._exited = asyncio.Event()
        self._terminal = os.dup(streams["terminal"]) if "terminal" in streams else None
        self._progress = asyncio.Event()
        self._input: InputPipe | None = None
        source = streams.get("stdin", streams.get("terminal"))
        if source is not None:
            self._input = InputPipe(
                source, terminal="stdin" not in streams, on_progress=self._progress.set
            )
        self.output = OutputBuffer(streams, self._check_ended)

    @property
    def ended(self) -> bool:
        """Whether the exit may be reported: after the last byte of output was acknowledged."""
        return self._exit is not None and self.output.settled

    def exited(self, how: Exit) -> None:
        """The supervisor has reaped the process."""
        self._exit = how
        self._exited.set()
        if self._input is not None:
            self._input.close()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None
        self.output.end_soon(_LINGER_SECONDS)
        self._check_ended()

    def _check_ended(self) -> None:
        if self.ended:
            self._on_ended(self)

    def resize(self, rows: int, columns: int) -> str:
        """Set the size of the terminal; returns why that was impossible, or nothing."""
        if self._terminal is None:
            return f"process {self.process_id} has no terminal, or has ended"
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("=HHHH", rows, columns, 0, 0))
        return ""

    def started_message(self) -> ProcessStarted:
        """The process as a started one."""
        return ProcessStarted(
            process_id=self.process_id, pid=self.pid, started_at=timestamp(self.started_ns)
        )

    def exited_message(self) -> ProcessExited:
        """The process as an ended one."""
        assert self._exit is not None
        return ProcessExited(
            process_id=self.process_id,
            exit_code=self._exit.code,
            oom_killed=self._exit.oom_killed,
            finished_at=timestamp(self._exit.finished_ns),
        )

    def state_message(self) -> ProcessState:
        """The process for a Hello."""
        return ProcessState(
            process_id=self.process_id,
            pid=self.pid,
            started_at=timestamp(self.started_ns),
            exited=self.exited_message() if self.ended else None,
        )

    async def serve(
        self, channel: grpc.aio.Channel, boot_id: str, connected: asyncio.Event
    ) -> None:
        """Keep a Stdio stream open until all output is stored and the process has ended."""
        backoff = Backoff()
        await self._worth_a_stream()
        while not self.ended:
            await connected.wait()
            call = open_stdio(channel)
            try:
                status = await self._stream(call, boot_id, backoff)
            finally:
                self.output.suspend()
                call.cancel()
            if status is grpc.StatusCode.NOT_FOUND:
                self.output.abandon()  # interaction has forgotten the process
            elif status is grpc.StatusCode.OK and self._exit is not None and self.output.ended:
                self.output.acknowledge(self.output.end_sequence)
            else:
                await asyncio.sleep(backoff.delay())

    async def _worth_a_stream(self) -> None:
        """Return when there is something to carry, or to tell: input, output, or its end.

        A process that says nothing, like most health checks and many a short command, is over
        without a stream, whose opening is dear to an emulated guest.
        """
        if self._input is not None:
            return
        await self.output.first()
        if self.output.settled:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_SECONDS):
                    await self._exited.wait()

    async def _stream(self, call: StdioCall, boot_id: str, backoff: Backoff) -> grpc.StatusCode:
        """Serve one stream until it ends; returns how."""
        sender = _Sender(call)
        received = self._input.received if self._input is not None else 0
        opening = StdioOpen(process_id=self.process_id, boot_id=boot_id, stdin_offset=received)
        await sender.send(StdioRequest(open=opening))
        self.output.rewind()
        async with asyncio.TaskGroup() as tasks:
            writers = [tasks.create_task(self._send_output(sender))]
            if self._input is not None:
                writers.append(tasks.create_task(self._acknowledge_input(sender, self._input)))
            try:
                async for response in call:
                    backoff.reset()
                    self._take(response)
                return grpc.StatusCode.OK
            except grpc.aio.AioRpcError as error:
                return error.code()
            finally:
                for writer in writers:
                    writer.cancel()

    async def _send_output(self, sender: _Sender) -> None:
        while (request := await self.output.next()) is not None:
            await sender.send(request)
        await sender.send(StdioRequest(end=OutputEnd(sequence=self.output.end_sequence)))
        await self._exited.wait()
        await sender.finish()

    async def _acknowledge_input(self, sender: _Sender, source: InputPipe) -> None:
        told, closed = 0, False
        while not closed:
            await self._taken(source, told + 1)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
                    await self._taken(source, told + _ACKNOWLEDGE_BYTES)
            told, closed = source.offset, source.closed
            answer = StdinAcknowledged(offset=told, closed=closed)
            await sender.send(StdioRequest(stdin_acknowledged=answer))

    async def _taken(self, source: InputPipe, offset: int) -> None:
        """Return when the process has taken its input up to an offset, or wants no more."""
        while source.offset < offset and not source.closed:
            self._progress.clear()
            await self._progress.wait()

    def _take(self, response: StdioResponse) -> None:
        match response.WhichOneof("message"):
            case "output_acknowledged":
                self.output.acknowledge(response.output_acknowledged.sequence)
            case "stdin" if self._input is not None:
                self._input.write(response.stdin.offset, response.stdin.data)
            case "stdin_end" if self._input is not None:
                self._input.end(response.stdin_end.offset)
            case _:
                pass  # input for a process that has none


def timestamp(nanoseconds: int) -> Timestamp:
    """Nanoseconds since 1970 as protobuf has it."""
    return Timestamp(seconds=nanoseconds // _NANO, nanos=nanoseconds % _NANO)


class _Sender:
    """The upward half of one stream. Its end is noticed by who reads the downward half."""

    def __init__(self, call: StdioCall) -> None:
        self._call = call
        self._lock = asyncio.Lock()
        self._finished = False

    async def send(self, request: Outgoing) -> None:
        async with self._lock:
            if not self._finished:
                await self._attempt(self._call.write(request))

    async def finish(self) -> None:
        async with self._lock:
            self._finished = True
            await self._attempt(self._call.done_writing())

    async def _attempt(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The stream has ended; the reader is told how. Nothing more can be sent on it.
            self._finished = True

"""When a process's Stdio stream is opened."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from vic.tether.v1.tether_pb2 import StdinAcknowledged, StdinChunk, StdinEnd, StdioResponse

from tether.agent import process as module
from tether.agent.process import Exit, WorkloadProcess

STREAM_OPENED = "a stream was opened"


class FakeCall:
    """A stream: what interaction sends, and what it is told of input."""

    def __init__(self, *responses: StdioResponse) -> None:
        self._responses = responses
        self.acknowledged: list[StdinAcknowledged] = []
        self.closed = asyncio.Event()

    async def write(self, request: Any) -> None:
        """Take what the process says."""
        if not isinstance(request, bytes) and request.HasField("stdin_acknowledged"):
            self.acknowledged.append(request.stdin_acknowledged)
            if request.stdin_acknowledged.closed:
                self.closed.set()

    async def __aiter__(self) -> AsyncIterator[StdioResponse]:
        for response in self._responses:
            yield response
        await asyncio.Future()

    def cancel(self) -> None:
        """End it."""


class Serving:
    """A process with pipes of its own, being served."""

    def __init__(self, *, stdin: bool) -> None:
        stdout, self.writing = os.pipe()
        streams = {"stdout": stdout}
        if stdin:
            self.reading, streams["stdin"] = os.pipe()
        self.over = asyncio.Event()
        self.process = WorkloadProcess("init", 7, 1, streams, lambda _: self.over.set())
        connected = asyncio.Event()
        connected.set()
        serving = self.process.serve(None, "boot", connected)  # type: ignore[arg-type]
        self.task = asyncio.create_task(serving)

    async def opens(self) -> None:
        """Wait until it opens a stream."""
        with pytest.raises(RuntimeError, match=STREAM_OPENED):
            async with asyncio.timeout(60):
                await self.task


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_stdio(channel: Any) -> None:
        raise RuntimeError(STREAM_OPENED)

    monkeypatch.setattr(module, "open_stdio", open_stdio)


@pytest.mark.parametrize("exit_first", [True, False])
async def test_a_process_that_says_nothing_needs_none(exit_first: bool) -> None:
    serving = Serving(stdin=False)
    if exit_first:
        serving.process.exited(Exit(0, False, 1))
        os.close(serving.writing)
    else:
        os.close(serving.writing)
        await asyncio.sleep(0)
        serving.process.exited(Exit(0, False, 1))
    async with asyncio.timeout(60):
        await serving.over.wait()
        await serving.task


async def test_output_needs_one_and_so_does_input() -> None:
    serving = Serving(stdin=False)
    await asyncio.sleep(0)
    assert not serving.task.done()
    os.write(serving.writing, b"hello")
    await serving.opens()
    with_input = Serving(stdin=True)
    await with_input.opens()
    for descriptor in (serving.writing, with_input.writing, with_input.reading):
        os.close(descriptor)


async def test_one_that_closes_its_output_and_goes_on_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_EXIT_SECONDS", 0.01)
    serving = Serving(stdin=False)
    os.close(serving.writing)
    await serving.opens()


async def test_input_is_acknowledged_by_the_window_and_not_by_the_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    piece = bytes(4096)
    offsets = range(0, 16 * len(piece), len(piece))
    call = FakeCall(
        *(StdioResponse(stdin=StdinChunk(offset=offset, data=piece)) for offset in offsets),
        StdioResponse(stdin_end=StdinEnd(offset=offsets.stop)),
    )
    monkeypatch.setattr(module, "open_stdio", lambda _channel: call)
    serving = Serving(stdin=True)
    async with asyncio.timeout(60):
        await call.closed.wait()
    assert call.acknowledged == [StdinAcknowledged(offset=offsets.stop, closed=True)]
    serving.task.cancel()
    await asyncio.wait([serving.task])
    for descriptor in (serving.writing, serving.reading):
        os.close(descriptor)

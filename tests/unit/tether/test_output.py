"""Output of a process: numbered, bounded, kept until acknowledged."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from vic.tether.v1.process_pb2 import STD_STREAM_STDERR, STD_STREAM_STDOUT
from vic.tether.v1.tether_pb2 import StdioRequest

from tether.agent import output as module
from tether.agent.output import CHUNK_BYTES, WINDOW_BYTES, OutputBuffer

BOUND = 60


class Pipes:
    """The writing ends, and the buffer on the reading ones."""

    def __init__(self) -> None:
        self.out_reader, self.out = os.pipe()
        self.err_reader, self.err = os.pipe()
        self.settled = asyncio.Event()
        streams = {"stdout": self.out_reader, "stderr": self.err_reader}
        self.buffer = OutputBuffer(streams, self.settled.set)

    def close(self) -> None:
        for descriptor in (self.out, self.err):
            try:
                os.close(descriptor)
            except OSError:
                continue
        self.buffer.abandon()


@pytest.fixture
async def pipes() -> AsyncIterator[Pipes]:
    value = Pipes()
    yield value
    value.close()


async def expect(buffer: OutputBuffer) -> tuple[int, bytes, int]:
    """The next piece of output, which there must be."""
    piece = await take(buffer)
    assert piece is not None
    return piece


async def take(buffer: OutputBuffer) -> tuple[int, bytes, int] | None:
    async with asyncio.timeout(BOUND):
        data = await buffer.next()
    if data is None:
        return None
    output = StdioRequest.FromString(data).output
    assert output.time.seconds > 0
    return output.sequence, output.data, output.stream


async def test_both_streams_share_one_numbering(pipes: Pipes) -> None:
    pipes.buffer.rewind()
    os.write(pipes.out, b"a")
    first = await take(pipes.buffer)
    os.write(pipes.err, b"b")
    assert [first, await take(pipes.buffer)] == [
        (1, b"a", STD_STREAM_STDOUT),
        (2, b"b", STD_STREAM_STDERR),
    ]


async def test_end_comes_after_all_was_sent_and_settles_when_acknowledged(pipes: Pipes) -> None:
    pipes.buffer.rewind()
    os.write(pipes.out, b"last")
    os.close(pipes.out)
    os.close(pipes.err)
    assert await take(pipes.buffer) == (1, b"last", STD_STREAM_STDOUT)
    assert await take(pipes.buffer) is None
    assert pipes.buffer.end_sequence == 2
    assert not pipes.settled.is_set()
    pipes.buffer.acknowledge(1)
    assert pipes.settled.is_set()


async def test_new_stream_repeats_what_was_not_acknowledged(pipes: Pipes) -> None:
    pipes.buffer.rewind()
    for text in (b"1", b"2", b"3"):
        os.write(pipes.out, text)
        await take(pipes.buffer)
    pipes.buffer.acknowledge(1)
    pipes.buffer.suspend()
    pipes.buffer.rewind()
    assert [(await expect(pipes.buffer))[:2] for _ in range(2)] == [(2, b"2"), (3, b"3")]


async def test_window_bounds_what_is_kept(pipes: Pipes) -> None:
    os.set_blocking(pipes.out, False)
    written = 0
    idle = 0
    while idle < 50:  # rounds of the loop in which the pipe stayed full
        try:
            written += os.write(pipes.out, bytes(65536))
            idle = 0
        except BlockingIOError:
            idle += 1
        await asyncio.sleep(0)
    pipe = 65536
    assert WINDOW_BYTES <= written <= WINDOW_BYTES + CHUNK_BYTES + pipe
    pipes.buffer.rewind()
    received = 0
    while received < written:
        sequence, data, _ = await expect(pipes.buffer)
        assert len(data) <= CHUNK_BYTES
        received += len(data)
        pipes.buffer.acknowledge(sequence)
    os.set_blocking(pipes.out, True)
    async with asyncio.timeout(BOUND):
        await asyncio.to_thread(os.write, pipes.out, b"room again")


async def test_who_keeps_the_pipe_open_is_not_waited_for(pipes: Pipes) -> None:
    pipes.buffer.rewind()
    pipes.buffer.end_soon(0.01)
    assert await take(pipes.buffer) is None
    assert pipes.settled.is_set()


async def test_what_a_process_left_in_its_pipe_is_read_however_slow_the_stream(
    pipes: Pipes,
) -> None:
    # The stream has enough to send, so nothing is read when the process ends; somebody goes on
    # holding its pipe.
    pipes.buffer.rewind()
    written = await fill(pipes)
    pipes.buffer.end_soon(0)
    for _ in range(5):
        await asyncio.sleep(0)
    told = bytearray()
    while (piece := await take(pipes.buffer)) is not None:
        told += piece[1]
    assert len(told) == len(written)
    assert told == written


async def test_who_goes_on_writing_after_the_end_is_not_listened_to_for_ever(pipes: Pipes) -> None:
    pipes.buffer.rewind()
    await fill(pipes)
    pipes.buffer.end_soon(0)
    received = 0
    while (piece := await take(pipes.buffer)) is not None:
        received += len(piece[1])
        with suppress(BlockingIOError, BrokenPipeError):
            while True:
                os.write(pipes.out, bytes(65536))
    assert received <= WINDOW_BYTES


async def fill(pipes: Pipes) -> bytes:
    """Write until nothing is read any more and the pipe is full; return what was written."""
    os.set_blocking(pipes.out, False)
    written = bytearray()
    idle = 0
    while idle < 50:  # rounds of the loop in which the pipe stayed full
        piece = os.urandom(4096)
        try:
            written += piece[: os.write(pipes.out, piece)]
            idle = 0
        except BlockingIOError:
            idle += 1
        await asyncio.sleep(0)
    return bytes(written)


async def test_abandoned_output_settles(pipes: Pipes) -> None:
    os.write(pipes.out, b"x")
    pipes.buffer.abandon()
    assert pipes.settled.is_set()
    assert pipes.buffer.ended


async def test_a_terminals_line_is_one_piece_and_what_has_no_end_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    buffer = OutputBuffer({"terminal": ours}, lambda: None)
    buffer.rewind()
    # As the kernel hands on what is written to a terminal: the line's end by itself, and by a
    # thread of its own, which may be long in coming where there is much to do.
    with monkeypatch.context() as patient:
        patient.setattr(module, "_GATHER_SECONDS", BOUND)
        os.write(theirs, b"a line")
        asyncio.get_running_loop().call_soon(os.write, theirs, b"\r\n")
        assert (await expect(buffer))[1] == b"a line\r\n"
    os.write(theirs, b"a prompt: ")
    assert (await expect(buffer))[1] == b"a prompt: "
    os.write(theirs, b"the last")
    os.close(theirs)
    assert (await expect(buffer))[1] == b"the last"
    assert await take(buffer) is None
    buffer.abandon()

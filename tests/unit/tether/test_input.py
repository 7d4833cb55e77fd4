"""Standard input of a process."""

from __future__ import annotations

import asyncio
import os

from tether.agent.input import InputPipe


class Progress:
    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.reader, writer = os.pipe()
        self.pipe = InputPipe(writer, terminal=False, on_progress=self.event.set)


async def test_bytes_arrive_once_and_in_order() -> None:
    progress = Progress()
    progress.pipe.write(0, b"abc")
    progress.pipe.write(0, b"abcdef")  # sent again on a new stream, with more
    assert os.read(progress.reader, 100) == b"abcdef"
    assert progress.pipe.offset == 6


async def test_gap_is_not_written() -> None:
    progress = Progress()
    progress.pipe.write(5, b"later")
    assert progress.pipe.offset == 0


async def test_end_closes_the_pipe_after_the_last_byte() -> None:
    progress = Progress()
    progress.pipe.write(0, b"abc")
    progress.pipe.end(3)
    assert os.read(progress.reader, 100) == b"abc"
    assert os.read(progress.reader, 100) == b""
    assert progress.pipe.closed


async def test_full_pipe_is_continued_when_there_is_room() -> None:
    progress = Progress()
    data = os.urandom(300_000)
    progress.pipe.write(0, data)
    progress.pipe.end(len(data))
    assert progress.pipe.offset < len(data)
    loop = asyncio.get_running_loop()
    received = b""
    async with asyncio.timeout(60):
        while piece := await loop.run_in_executor(None, os.read, progress.reader, 65536):
            received += piece
    assert received == data


async def test_reader_that_is_gone_closes_the_input() -> None:
    progress = Progress()
    os.close(progress.reader)
    progress.pipe.write(0, b"abc")
    assert progress.pipe.closed
    assert progress.event.is_set()

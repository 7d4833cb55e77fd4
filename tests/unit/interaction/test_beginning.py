"""A tether's stream of a process, while the end of the log is looked for."""

import asyncio
import errno
import os
from typing import Any, cast

import pytest

from portlayer.errors import Unavailable
from services.interaction.output import Stream
from services.interaction.pace import Pace
from services.interaction.stdio import StdioConnection
from services.interaction.streams import ProcessStreams
from tests.unit.interaction.fake_tether import BOOT, soon


class BusyLog:
    """A log that isn't opened before something else is done, or can't be."""

    def __init__(self, error: OSError | None = None) -> None:
        self.asked = asyncio.Event()
        self._error = error

    async def last_sequence(self, _boot_id: str) -> int:
        """Wait for ever, or fail."""
        self.asked.set()
        if self._error is None:
            await asyncio.Event().wait()
        raise self._error or AssertionError


def beginning(log: BusyLog) -> tuple[ProcessStreams, Any]:
    """Return the streams of a process, and what serves a stream of its tether."""
    streams = ProcessStreams()
    streams.begin(BOOT, cast(Any, log))

    async def unused(*_arguments: Any) -> None:
        raise AssertionError

    return streams, StdioConnection(streams, Pace(), unused, unused).run(0)


async def test_a_stream_that_breaks_while_it_begins_leaves_no_client_behind() -> None:
    log = BusyLog()
    streams, serving = beginning(log)
    client = streams.subscribe(frozenset(Stream))
    task = asyncio.create_task(serving)
    await soon(log.asked.wait())
    task.cancel()
    await asyncio.wait([task])
    streams.hang_up()
    assert await soon(client.take()) == []
    assert streams.ended


async def test_a_log_that_cannot_be_read_ends_the_stream_as_unavailable() -> None:
    streams, serving = beginning(BusyLog(OSError(errno.EIO, os.strerror(errno.EIO))))
    with pytest.raises(Unavailable, match="cannot be read"):
        await serving
    assert streams.connections == 0

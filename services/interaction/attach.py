"""Clients on the streams of a process."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import NoReturn

from portlayer.errors import FailedPrecondition, InvalidArgument, Reason
from services.interaction.logreader import LogQuery
from services.interaction.output import MAX_CHUNK, MAX_INPUT, Chunk, Stream
from services.interaction.processes import Process
from services.interaction.race import Closing, until_first
from services.interaction.sessions import Session
from services.interaction.streams import OutputQueue

Read = Callable[[], Awaitable[bytes | None]]
"""Returns a client's next input, or None at its end."""
Write = Callable[[Stream, bytes], Awaitable[None]]
"""Sends a piece of output to a client."""
Confirm = Callable[[], Awaitable[None]]
"""Tells a client that all of its input and its end were handed over."""


@dataclass(frozen=True)
class Wish:
    """What a client wants of a container's streams."""

    streams: frozenset[Stream]
    stdin: bool
    logs: bool
    live: bool


class Attachment:
    """One client of a container's init process.

    From when it is made no byte is missed; use it as a context manager.
    """

    def __init__(self, session: Session, wish: Wish) -> None:
        """Join. With logs, the session's log is open."""
        self._wish = wish
        self._options = session.options
        self._process = session.init
        self._log = session.log
        # In one step, so that the live output begins where the log ends.
        self._queue = self._process.streams.subscribe(wish.streams) if wish.live else None
        self._logged = self._log.end if wish.logs and self._log is not None else None

    def __enter__(self) -> "Attachment":
        return self

    def __exit__(self, *_: object) -> None:
        if self._queue is not None:
            self._process.streams.unsubscribe(self._queue)
            if self._takes_input and self._ends_input:
                self._process.streams.stdin.finish()

    @property
    def tty(self) -> bool:
        """Whether the process has a terminal."""
        return self._options.tty

    @property
    def _takes_input(self) -> bool:
        return self._wish.stdin and self._options.open_stdin

    @property
    def _ends_input(self) -> bool:
        """Whether the end of a client's input is the end of the process's."""
        return self._options.stdin_once and not self._options.tty

    async def run(self, read: Read, write: Write, confirm: Confirm, closing: Closing) -> None:
        """Carry bytes until the output ends or the client's input detaches it."""
        if self._logged is not None and self._log is not None:
            query = LogQuery(streams=self._wish.streams)
            async with aclosing(self._log.read(query, until=self._logged)) as batches:
                async for batch in batches:
                    for record in batch.records:
                        await write(record.stream, record.data)
        if self._queue is None:
            return
        parts = [send_output(self._queue, write), closing.watch()]
        if self._takes_input:
            parts.append(self._feed(read, confirm))
        await until_first(*parts)

    async def _feed(self, read: Read, confirm: Confirm) -> None:
        stdin = self._process.streams.stdin
        while (data := await read()) is not None:
            await stdin.write(data)
        if self._ends_input:
            stdin.finish()
            await confirm()
            await _for_ever()


async def attach(session: Session, wish: Wish) -> Attachment:
    """Join a client to a container. Raises FailedPrecondition (LOGS_NOT_KEPT)."""
    if wish.logs:
        if session.log is None:
            raise logs_not_kept()
        await session.log.open()
    return Attachment(session, wish)


async def feed_all(process: Process, read: Read, confirm: Confirm, *, tty: bool) -> None:
    """Give a process a client's input and its end, and never return.

    A terminal's input has no end: there the client is detached, which is to return.
    """
    stdin = process.streams.stdin
    try:
        while (data := await read()) is not None:
            await stdin.write(data)
    finally:
        if not tty:
            stdin.finish()
    if not tty:
        await confirm()
        await _for_ever()


async def send_output(queue: OutputQueue, write: Write) -> None:
    """Send a client what there is for it, to the end."""
    while chunks := await queue.take():
        for stream, data in merged(chunks):
            await write(stream, data)


def merged(chunks: Iterable[Chunk]) -> Iterator[tuple[Stream, bytes]]:
    """Yield what chunks hold in as few pieces as messages allow."""
    pieces: list[bytes] = []
    size = 0
    last = Stream.STDOUT
    for chunk in chunks:
        if pieces and (chunk.stream is not last or size + len(chunk.data) > MAX_CHUNK):
            yield last, b"".join(pieces)
            pieces, size = [], 0
        last = chunk.stream
        pieces.append(chunk.data)
        size += len(chunk.data)
    if size:
        yield last, b"".join(pieces)


def check_input(data: bytes) -> bytes:
    """Return a client's input. Raises InvalidArgument when there is too much in one message."""
    if len(data) > MAX_INPUT:
        raise InvalidArgument(f"more than {MAX_INPUT} bytes of input in one message")
    return data


def logs_not_kept() -> FailedPrecondition:
    """Return the error for who wants logs of a container that keeps none."""
    return FailedPrecondition(
        "configured logging driver does not support reading", Reason.LOGS_NOT_KEPT
    )


async def _for_ever() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody sets this future")

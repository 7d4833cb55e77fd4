"""What a container wrote."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.exec_pb2 import GetRequest
from vic.interaction.v1.interaction_pb2 import LogEntry, LogsRequest, LogsResponse

from gateway.call import Call
from gateway.errors import bad_parameter
from gateway.facets import AWAY, RETRY_SECONDS, Facets, read
from gateway.routes.containers import reference
from gateway.routes.endpoint import endpoint
from gateway.streams import StreamResponse
from gateway.translate.framing import frame, media_type
from gateway.translate.times import from_query, log_timestamp
from portlayer.errors import Internal

logger = logging.getLogger("vic.logs")


class LogRoutes:
    """GET /containers/{id}/logs."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [endpoint("GET", "/containers/{container:path}/logs", self.logs)]

    async def logs(self, call: Call) -> Response:
        """Send what was written, and with ``follow`` what is being written."""
        request = LogsRequest(
            stdout=call.flag("stdout"),
            stderr=call.flag("stderr"),
            follow=call.flag("follow"),
            tail=_tail(call.text("tail")),
        )
        if not request.stdout and not request.stderr:
            raise bad_parameter("Bad parameters: you must choose at least one stream")
        since = from_query("since", call.text("since"))
        until = from_query("until", call.text("until"))
        if since is not None:
            request.since.CopyFrom(since)
        if until is not None:
            request.until.CopyFrom(until)
        got = await self._facets.exec.Get(GetRequest(reference=reference(call)))
        request.container_id = got.container.id
        tty = got.container.spec.process.tty
        form = _Form(tty, call.flag("timestamps"), call.flag("details"))
        batches = read(self._facets.interaction.Logs(request))
        # It tells that there is a log, which may be quiet for long, or raises the refusal.
        first = await anext(batches, None)
        if first is None:
            raise Internal("the log began without its first message")
        request.after = first.position
        written = _written(form, self._going_on(request, batches))
        return StreamResponse(written, media_type(call.version, tty))

    async def _going_on(
        self, request: LogsRequest, batches: AsyncGenerator[LogsResponse, None]
    ) -> AsyncGenerator[LogsResponse, None]:
        """Give a log's answers; one that is followed goes on after a restart of the facet."""
        while True:
            try:
                async with aclosing(batches):
                    async for batch in batches:
                        request.after = batch.position
                        yield batch
                return
            except AWAY as error:
                if not request.follow:
                    raise
                logger.info("asking for a log again: %s", error.message)
            await asyncio.sleep(RETRY_SECONDS)
            batches = read(self._facets.interaction.Logs(request))


class _Form:
    """How an entry is written: framed or raw, with its time or without."""

    def __init__(self, tty: bool, timestamps: bool, details: bool) -> None:
        self._tty = tty
        self._timestamps = timestamps
        self._details = details

    def bytes_of(self, entry: LogEntry) -> bytes:
        """One entry as it goes to the client: each of its lines by itself, as from dockerd."""
        head = b""
        if self._timestamps:
            head = log_timestamp(entry.time) + b" "
        if self._details:
            head += b" "  # no log driver here has details; Docker leaves their space
        pieces = _lines(entry.data)
        if head:
            pieces = [
                head + piece if number or entry.line_start else piece
                for number, piece in enumerate(pieces)
            ]
        if self._tty:
            return b"".join(pieces)
        return b"".join(frame(entry.stream, piece) for piece in pieces)


def _lines(data: bytes) -> list[bytes]:
    """The lines in some bytes, each with its newline; the last one may be without."""
    *whole, rest = data.split(b"\n")
    lines = [line + b"\n" for line in whole]
    return [*lines, rest] if rest else lines


async def _written(
    form: _Form, batches: AsyncGenerator[LogsResponse, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(batches):
        async for batch in batches:
            if batch.entries:
                yield b"".join(form.bytes_of(entry) for entry in batch.entries)


def _tail(value: str) -> int:
    """Lines from the end; all for "all", and for what is no number, as with dockerd."""
    if value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return -1

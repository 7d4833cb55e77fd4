"""uvicorn's HTTP protocol with hijack.

Requests that may be hijacked are **captured**: every upgrade request, and a POST to a path that the
``captures`` predicate names (attach and exec start, whose older clients don't ask for an upgrade).
From its head on, a captured request's bytes don't go through the HTTP parser any more: the body is
cut off by its Content-Length, and what follows is kept for the handler that takes the connection,
however the client's segments fall. A captured connection survives the client's half-close. So does
another request that is whole and has no answer yet; for a stream that has begun, and for a request
that isn't whole, end of file means that the client has gone.
"""

import asyncio
import re
from contextlib import ExitStack
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.hijack.connection import (
    READ_LIMIT,
    WRITE_HIGH_WATER,
    HijackedConnection,
    HijackedStreams,
)
from gateway.hijack.hangup import keep_alive, watching_for_hangup
from gateway.hijack.joined import JoinedWrites
from gateway.hijack.tls import hold_shutdown

EXTENSION = "vic.hijack"
"""The ASGI extension: ``{"take": () -> HijackedConnection, "upgrade": bytes | None}``."""

# Go's default for a request's head is 1 MiB; registry credentials are its largest part.
_MAX_HEAD = 256 * 1024
# A head that isn't complete by then is a slow-header attack, not a slow client.
_HEAD_SECONDS = 30.0

_CAPTURED = re.compile(rb"(?:/v[0-9.]+)?/(?:containers/[^?]+/attach|exec/[^?]+/start)(?:\?|$)")


class _Capture:
    """A captured request: its cycle, what its body still lacks, and the bytes behind it."""

    def __init__(self, cycle: RequestResponseCycle, body_left: int) -> None:
        self.cycle = cycle
        self.body_left = body_left
        self.early = bytearray()
        self.ended = False


class HijackProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol, from which a route can take the connection over."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._capture: _Capture | None = None
        self._in_head = True
        self._head_size = 0
        self._head_tail = b""
        self._feeding_head = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._half_closed = ExitStack()

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        keep_alive(transport.get_extra_info("socket"))
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._head_too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._half_closed.close()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        if self._capture is not None:
            self._capture.ended = True
            # Over TLS asyncio ignores the answer, with a warning; its shutdown is held instead.
            return self.scheme != "https"
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        if cycle.more_body or cycle.response_started or self.scheme == "https":
            self.transport.abort()
            return False
        # Who has asked and closes its write side, as socat and nc do, still waits for the answer.
        cycle.keep_alive = False
        sock = self.transport.get_extra_info("socket")
        self._half_closed.enter_context(watching_for_hangup(sock.fileno(), self.transport.abort))
        return True

    def shutdown(self) -> None:
        """Stop: an answer that has begun is a stream, which nobody would end; it is cut off."""
        super().shutdown()
        cycle = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()

    # Bytes

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and self._in_head:
            self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._head_too_slow)
        while data and not self.transport.is_closing():
            if self._capture is not None:
                self._unset_keepalive_if_required()
                self._captured(self._capture, data)
                return
            if self._in_head:
                piece, data = self._cut_head(data)
            else:
                piece, data = data, b""
            self._feeding_head = self._in_head
            super().data_received(piece)

    def _cut_head(self, data: bytes) -> tuple[bytes, bytes]:
        """Cut behind the first empty line, which may have begun in an earlier segment."""
        joined = self._head_tail + data
        found = joined.find(b"\r\n\r\n")
        if found < 0:
            self._head_tail = joined[-3:]
            self._head_size += len(data)
            if self._head_size > _MAX_HEAD:
                self._refuse(431, "the request's head is too large")
                return b"", b""
            return data, b""
        end = found + 4 - len(self._head_tail)
        self._head_tail = b""
        return data[:end], data[end:]

    def _captured(self, capture: _Capture, data: bytes) -> None:
        if capture.body_left:
            body, data = data[: capture.body_left], data[capture.body_left :]
            capture.body_left -= len(body)
            capture.cycle.body += body
            capture.cycle.more_body = capture.body_left > 0
            capture.cycle.message_event.set()
        capture.early += data
        if max(len(capture.early), len(capture.cycle.body)) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    # The parser's callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {}

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        self._stop_head_timer()
        upgrade = self._get_upgrade() if self.parser.should_upgrade() else None
        if upgrade is None and not self._may_be_taken():
            super().on_headers_complete()
            self.cycle.transport = JoinedWrites(self.transport, self.loop)  # type: ignore[assignment]  # all that it uses
            return
        if not self._feeding_head:
            raise ValueError("a request that takes its connection over was pipelined behind a body")
        length = self._body_length()
        self.scope["extensions"][EXTENSION] = {
            "take": self._take,
            "upgrade": upgrade,
        }
        super().on_headers_complete()
        cycle = self.cycle
        cycle.keep_alive = False
        cycle.more_body = length > 0
        if not length:
            cycle.message_event.set()
        self._capture = _Capture(cycle, length)
        hold_shutdown(self.transport)

    def on_body(self, body: bytes) -> None:
        if self._capture is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._capture is None:
            super().on_message_complete()
            self._in_head = True

    def _may_be_taken(self) -> bool:
        return self.parser.get_method() == b"POST" and _CAPTURED.match(self.url) is not None

    def _body_length(self) -> int:
        length = 0
        for name, value in self.headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                raise ValueError("a request that takes its connection over must have a length")
        return length

    # Answers of the protocol itself

    def _unsupported_upgrade_warning(self) -> None:
        """Every upgrade is captured; there is nothing to warn of."""

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _refuse(self, status: int, message: str) -> None:
        body = b'{"message":"' + message.encode("ascii") + b'"}\n'
        reason = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}[status]
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s" % (status, reason, len(body), body)
        )
        self.transport.close()

    def _head_too_slow(self) -> None:
        self._head_timer = None
        self.transport.abort()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # The hijack

    def _take(self) -> HijackedConnection:
        """Give the connection away. The cycle ends as if its response were complete."""
        capture = self._capture
        assert capture is not None, "only captured requests carry the extension"
        if capture.cycle.response_started:
            raise RuntimeError("the response has begun, the connection can't be taken any more")
        if capture.cycle.disconnected or self.transport.is_closing():
            raise ConnectionResetError("the client has gone")
        capture.cycle.response_started = True
        capture.cycle.response_complete = True
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()

        reader = asyncio.StreamReader(limit=READ_LIMIT, loop=self.loop)
        streams = HijackedStreams(reader, self.loop)
        writer = asyncio.StreamWriter(self.transport, streams, reader, self.loop)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self.transport.set_protocol(streams)
        streams.connection_made(self.transport)
        self.flow.resume_reading()
        if capture.early:
            reader.feed_data(bytes(capture.early))
        if capture.ended:
            reader.feed_eof()
        connection = HijackedConnection(reader, writer, self._given_back)
        streams.lost = connection.gone.set
        self.connections.discard(self)
        self.connections.add(connection)  # type: ignore[arg-type]  # it has shutdown(), all that is asked of it
        return connection

    def _given_back(self, connection: HijackedConnection) -> None:
        self.connections.discard(connection)

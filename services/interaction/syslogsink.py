"""The connection of one container's log to a syslog server.

It takes lines and never waits: what the server, or the way to it, is too slow for is kept up to a
bound, and then dropped and counted. The server is told how many, as soon as it listens again.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from portlayer.errors import InvalidArgument
from services.interaction.output import Chunk
from services.interaction.pulse import Pulse
from services.interaction.sysloglines import LineCutter, SyslogTarget, message, notice

log = logging.getLogger("vic.interaction.syslog")

# What may wait for a server, with what each message costs by itself.
WAITING_BYTES: Final = 1024 * 1024
_MESSAGE_COST: Final = 128
DEFAULT_PORT: Final = 514

_CONNECT_SECONDS: Final = 10.0
_SEND_SECONDS: Final = 30.0
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
# Of a log that has ended: how long a server that isn't there is tried again.
_FAREWELL_SECONDS: Final = 60.0
_BATCH_BYTES: Final = 64 * 1024


class SyslogSink:
    """Sends a container's lines to its server."""

    def __init__(self, target: SyslogTarget) -> None:
        self.target = target
        self._cutter = LineCutter()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._changed = Pulse()
        self._delay = _FIRST_DELAY
        self._task: asyncio.Task[None] | None = None
        # Since the server was last told, and in all.
        self._untold = 0
        self.dropped = 0
        """Lines that there was no room for, or no server until the end."""

    def take(self, chunks: Sequence[Chunk]) -> None:
        """Send what chunks complete, as soon as the server takes it; returns at once."""
        self._ended = False
        for chunk in chunks:
            for line in self._cutter.cut(chunk):
                self._put(message(self.target, line))
        self._go_on()

    def end(self) -> None:
        """Take in that no more comes for now: the connection ends when all is sent."""
        for line in self._cutter.end():
            self._put(message(self.target, line))
        self._ended = True
        self._changed.beat()
        if self._waiting:
            self._go_on()

    async def close(self) -> None:
        """Be gone at once; what waits is lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _put(self, sent: bytes) -> None:
        cost = len(sent) + _MESSAGE_COST
        if self._size + cost > WAITING_BYTES:
            self._drop(1)
            return
        self._waiting.append(sent)
        self._size += cost

    def _drop(self, lines: int) -> None:
        if not self._untold:
            log.warning("lines are dropped", extra={"server": self.target.address})
        self._untold += lines
        self.dropped += lines

    def _go_on(self) -> None:
        self._changed.beat()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Send until the log has ended and all is sent, over as many connections as it takes."""
        tried = 0.0
        while self._waiting or not self._ended:
            try:
                await self._attempt()
            except (OSError, TimeoutError) as error:
                if self._ended and tried >= _FAREWELL_SECONDS:
                    self._give_up(error)
                    return
                # That it is back is announced by nobody.
                await asyncio.sleep(self._delay)
                tried = tried + self._delay if self._ended else 0.0
                self._delay = min(self._delay * 2, _LONGEST_DELAY)

    async def _attempt(self) -> None:
        """Connect, and send until the log has ended. Raises OSError, TimeoutError."""
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = await _connect(self.target.address)
        try:
            await self._send_on(connection)
        finally:
            connection.close()

    def _give_up(self, error: Exception) -> None:
        self._drop(len(self._waiting))
        self._waiting.clear()
        self._size = 0
        log.warning(
            "a log ended while its syslog server was away: %s",
            error,
            extra={"server": self.target.address, "dropped": self._untold},
        )

    async def _send_on(self, connection: socket.socket) -> None:
        """Send what there is until the log has ended. Raises OSError, TimeoutError."""
        datagrams = connection.type == socket.SOCK_DGRAM
        while True:
            await self._changed.wait_for(lambda: bool(self._waiting) or self._ended)
            if self._untold:
                untold, self._untold = self._untold, 0
                told = notice(self.target, f"{untold} lines were dropped: too slow, or away")
                log.warning(
                    "lines were dropped", extra={"server": self.target.address, "lines": untold}
                )
                await _send(connection, told if datagrams else told + b"\n")
            if not self._waiting:
                return
            if not datagrams:
                _check_open(connection)
            count, batch = self._batch(datagrams)
            await _send(connection, batch)
            # Only now: what a connection ended with is sent again on the next.
            self._delay = _FIRST_DELAY
            for _ in range(count):
                self._size -= len(self._waiting.popleft()) + _MESSAGE_COST

    def _batch(self, datagrams: bool) -> tuple[int, bytes]:
        """Return how many messages go next, and as what."""
        if datagrams:
            return 1, self._waiting[0]
        count, size = 0, 0
        parts = []
        for sent in self._waiting:
            if count and size + len(sent) > _BATCH_BYTES:
                break
            parts += [sent, b"\n"]
            count, size = count + 1, size + len(sent)
        return count, b"".join(parts)


def check_address(address: str) -> None:
    """Raise InvalidArgument for what is no address of a syslog server."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise InvalidArgument(f"not an address: {address!r}") from None
    known = parts.path if parts.scheme == "unix" else parts.hostname
    if parts.scheme not in ("udp", "tcp", "unix") or not known or port == 0:
        raise InvalidArgument(f"not the address of a syslog server: {address!r}")


async def _send(connection: socket.socket, data: bytes) -> None:
    async with asyncio.timeout(_SEND_SECONDS):
        await asyncio.get_running_loop().sock_sendall(connection, data)


def _check_open(connection: socket.socket) -> None:
    """Raise ConnectionError when the server has closed: a first write would be lost unnoticed."""
    try:
        if not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            raise ConnectionResetError("the server has closed the connection")
    except BlockingIOError:
        return


async def _connect(address: str) -> socket.socket:
    """Return a connected socket. Raises OSError."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(address)
    if parts.scheme == "unix":
        try:
            return await _connected(socket.AF_UNIX, socket.SOCK_DGRAM, parts.path)
        except OSError:
            return await _connected(socket.AF_UNIX, socket.SOCK_STREAM, parts.path)
    kind = socket.SOCK_DGRAM if parts.scheme == "udp" else socket.SOCK_STREAM
    found = await loop.getaddrinfo(parts.hostname, parts.port or DEFAULT_PORT, type=kind)
    for family, _, _, _, where in found[:-1]:
        try:
            return await _connected(family, kind, where)
        except OSError:
            continue
    return await _connected(found[-1][0], kind, found[-1][4])


async def _connected(family: int, kind: int, where: str | tuple[Any, ...]) -> socket.socket:
    connection = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, where)
    except BaseException:
        connection.close()
        raise
    return connection

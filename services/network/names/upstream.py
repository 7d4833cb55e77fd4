"""Questions about the outside, passed on to the host's name servers as they came."""

import asyncio
import logging
import secrets
import struct
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import cast

log = logging.getLogger("vic.network.names")

DNS_PORT = 53
ATTEMPT_SECONDS = 3.0
"""After which the next server is asked; a resolver in a container waits for five."""

MOST_BYTES = 65_535

_LENGTH = struct.Struct("!H")
_ID = struct.Struct("!H")
_HEADER_BYTES = 12

Server = IPv4Address | IPv6Address


class Upstream:
    """Asks name servers, one after the other until one answers."""

    def __init__(self, servers: Callable[[], Sequence[Server]], port: int = DNS_PORT) -> None:
        # Asked each time: the host's resolvers change while we run.
        self._servers = servers
        self._port = port

    async def ask(self, query: bytes, *, tcp: bool, servers: Sequence[Server] = ()) -> bytes | None:
        """Return the answer to a query, or None where nobody answers in time.

        Servers of the asker's own are asked in place of the host's.

        The question goes out under a number of its own and from a port of its own, both random, so
        that nobody who can't see it can answer in another's place.
        """
        number = _ID.pack(secrets.randbelow(1 << 16))
        asked = number + query[_ID.size :]
        for server in servers or self._servers():
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    ask = self._by_tcp if tcp else self._by_udp
                    answer = await ask(str(server), asked)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                log.info("name server %s does not answer: %r", server, error)
                continue
            return query[: _ID.size] + answer[_ID.size :]
        return None

    async def _by_udp(self, server: str, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        transport, waiting = await loop.create_datagram_endpoint(
            lambda: _Waiting(query), remote_addr=(server, self._port)
        )
        try:
            return await waiting.answer
        finally:
            transport.close()

    async def _by_tcp(self, server: str, query: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(server, self._port)
        try:
            writer.write(_LENGTH.pack(len(query)) + query)
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            answer = await reader.readexactly(length)
        finally:
            writer.close()
        if not answers(query, answer):
            raise OSError("it answered another question")
        return answer


class _Waiting(asyncio.DatagramProtocol):
    """Waits for the datagram that answers a query."""

    def __init__(self, query: bytes) -> None:
        self._query = query
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The event loop's own is no subclass of what it is documented to be.
        cast(asyncio.DatagramTransport, transport).sendto(self._query)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if answers(self._query, data) and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


def answers(query: bytes, answer: bytes) -> bool:
    """Tell whether a message is an answer to a query: its number, and its question if it has one.

    The question is compared without regard to case, which some servers don't keep.
    """
    if len(answer) < _HEADER_BYTES or answer[: _ID.size] != query[: _ID.size]:
        return False
    is_response, questions = bool(answer[2] & 0x80), _ID.unpack_from(answer, 4)[0]
    end = _question_end(query)
    same = answer[_HEADER_BYTES:end].lower() == query[_HEADER_BYTES:end].lower()
    return is_response and (questions == 0 or same)


def _question_end(query: bytes) -> int:
    """Return where the one question of a query ends, which has been parsed before."""
    place = _HEADER_BYTES
    while place < len(query) and query[place]:
        place += 1 + query[place]
    return place + 1 + 4

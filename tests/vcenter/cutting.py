"""A way to a vCenter that breaks when a test says so, in the middle of a call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum

from tests.vcenter import HOST


class Cut(Enum):
    """Where in a call its connection is to break."""

    REQUEST = "before the server has it"
    ANSWER = "when it was carried out"


class Cutting:
    """Carries bytes between clients and a vCenter."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._next: Cut | None = None
        self.cuts = 0
        self.port = 0

    def cut(self, where: Cut) -> None:
        """Break the next call's connection, which must be one that is open."""
        self._next = where

    async def carry(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        server, forth = await asyncio.open_connection(HOST, self._server_port)
        ways = [
            asyncio.create_task(self._copy(client, forth, Cut.REQUEST)),
            asyncio.create_task(self._copy(server, back, Cut.ANSWER)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        for writer in (forth, back):
            writer.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: Cut
    ) -> None:
        while data := await reader.read(65536):
            if self._next is where:
                self._next = None
                self.cuts += 1
                return
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def cutting(server_port: int) -> AsyncIterator[Cutting]:
    """Listen beside a vCenter."""
    way = Cutting(server_port)
    server = await asyncio.start_server(way.carry, HOST, 0)
    way.port = server.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        server.close()

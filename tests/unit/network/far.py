"""Asking name servers, and one that is elsewhere."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from tests.ports import free_port

BOUND_SECONDS = 60.0


class FarServer(asyncio.DatagramProtocol):
    """A name server elsewhere: the address of every name is 192.0.2.1."""

    def __init__(self) -> None:
        self.asked: list[dns.message.Message] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The event loop's own is no subclass of what it is documented to be.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        # Somebody else's answer comes first, and is not believed.
        reply = self.reply(data)
        self._transport.sendto(struct.pack("!H", (reply[0] << 8 | reply[1]) ^ 1) + reply[2:], addr)
        self._transport.sendto(reply, addr)

    def reply(self, data: bytes) -> bytes:
        """Return the answer to a query."""
        query = dns.message.from_wire(data)
        self.asked.append(query)
        response = dns.message.make_response(query)
        name = query.question[0].name
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.1"))
        return response.to_wire()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question by TCP."""
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        reply = self.reply(await reader.readexactly(length))
        writer.write(struct.pack("!H", len(reply)) + reply)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def far_server() -> AsyncIterator[tuple[FarServer, int]]:
    """Serve elsewhere, by UDP and TCP on one port of loopback."""
    loop = asyncio.get_running_loop()
    server = FarServer()
    port = free_port()
    tcp = await asyncio.start_server(server.converse, "127.0.0.1", port)
    udp, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", port))
    try:
        yield server, port
    finally:
        udp.close()
        tcp.close()


async def ask_udp(gateway: str, port: int, query: bytes) -> bytes:
    """Ask by UDP and return the answer."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.bind(("127.0.0.1", 0))
        await loop.sock_connect(asking, (gateway, port))
        await loop.sock_sendall(asking, query)
        async with asyncio.timeout(BOUND_SECONDS):
            return await loop.sock_recv(asking, 65_535)


async def ask_tcp(gateway: str, port: int, *queries: bytes) -> list[bytes]:
    """Ask on one connection by TCP and return the answers."""
    async with asyncio.timeout(BOUND_SECONDS):
        reader, writer = await asyncio.open_connection(gateway, port)
        found = []
        for query in queries:
            writer.write(struct.pack("!H", len(query)) + query)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            found.append(await reader.readexactly(length))
        writer.close()
    return found

"""A WebSocket's client that writes its own frames."""

import asyncio
import os
import struct
from pathlib import Path

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
# The example of RFC 6455, 1.3.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def masked(opcode: int, payload: bytes, first: int = 0x80) -> bytes:
    mask = os.urandom(4)
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", first | opcode, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", first | opcode, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", first | opcode, 0x80 | 127, size)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


class Client:
    """A WebSocket's other side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def receive(self) -> tuple[int, bytes]:
        async with asyncio.timeout(60):
            first, size = await self.reader.readexactly(2)
            assert first & 0x80
            assert size < 126, "nothing longer is expected in these tests"
            return first & 0x0F, await self.reader.readexactly(size)

    async def closed(self) -> int:
        """Return the status that the server closes with, and see that nothing follows."""
        opcode, payload = await self.receive()
        assert opcode == CLOSE
        async with asyncio.timeout(60):
            assert await self.reader.read() == b""
        (status,) = struct.unpack(">H", payload)
        return int(status)


async def connect(path: Path, target: str, *headers: str) -> tuple[str, Client]:
    reader, writer = await asyncio.open_unix_connection(path)
    lines = [f"GET {target} HTTP/1.1", "Host: localhost", *headers]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
    return head.decode(), Client(reader, writer)


UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)

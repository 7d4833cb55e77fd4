"""Raw connections to a Docker endpoint's Unix socket, for streams that are opened and dropped."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any


class Refused(Exception):
    """An answer that is an error's."""

    def __init__(self, method: str, path: str, status: int, answer: bytes) -> None:
        super().__init__(f"{method} {path}: {status} {answer.decode(errors='replace')}")
        self.status = status


@dataclass
class Hijacked:
    """A connection that an attach or an exec has taken over."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read_all(self) -> bytes:
        """Read to the end of the output."""
        return await self.reader.read()

    async def close(self) -> None:
        """End it in order."""
        self.writer.close()
        await self.writer.wait_closed()

    def drop(self) -> None:
        """Be gone at once."""
        self.writer.transport.abort()


class Endpoint:
    """A Docker endpoint on a Unix socket; every call has a connection of its own."""

    def __init__(self, endpoint: str) -> None:
        self._path = endpoint.removeprefix("unix://")

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request; return its decoded answer. Raises Refused."""
        connection = await self._send(method, path, body, "Connection: close\r\n")
        try:
            status = await _status(connection.reader)
            answer = await connection.read_all()
        finally:
            await connection.close()
        if status >= 400:
            raise Refused(method, path, status, answer)
        return json.loads(answer) if answer[:1] in (b"{", b"[") else None

    async def hijack(self, path: str, body: object = None) -> Hijacked:
        """Have a request's connection taken over. Raises Refused."""
        upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        connection = await self._send("POST", path, body, upgrade)
        status = await _status(connection.reader)
        if status >= 400:
            raise Refused("POST", path, status, await connection.read_all())
        return connection

    async def _send(self, method: str, path: str, body: object, headers: str) -> Hijacked:
        content = b"" if body is None else json.dumps(body).encode()
        reader, writer = await asyncio.open_unix_connection(self._path)
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        return Hijacked(reader, writer)


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1])

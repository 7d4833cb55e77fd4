"""What a client of a hijacked connection says, and how it hears."""

import asyncio

UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"


def request(path: str, *headers: bytes, body: bytes = b"", method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: docker\r\n".encode() + b"".join(headers)
    if method == "POST":
        head += b"Content-Length: %d\r\n" % len(body)
    return head + b"\r\n" + body


ATTACH = request("/v1.50/containers/c/attach?stream=1", UPGRADE)
START = request("/v1.50/exec/e/start", UPGRADE, body=b'{"Detach":false,"Tty":false}')


async def head_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        return await reader.readuntil(b"\r\n\r\n")


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        return await reader.read(-1)


async def happens(event: asyncio.Event) -> None:
    async with asyncio.timeout(60):
        await event.wait()

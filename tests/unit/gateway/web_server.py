"""A web server that says what a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Page:
    """What is answered to a path."""

    body: bytes = b""
    status: str = "200 OK"
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False
    """Whether nothing comes behind the body, which was to be longer."""


@dataclass
class WebServer:
    """Serves pages by path."""

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Heads of requests."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody left an endless page."""

    waits: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody waits for the rest of one."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            page = self.pages.get(head.split()[1], Page(b"no such page\n", "404 Not Found"))
            length = len(page.body) + (1000 if page.endless else 0)
            headers = {"Content-Length": str(length), "Connection": "close", **page.headers}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"HTTP/1.1 {page.status}\r\n{lines}\r\n".encode() + page.body)
            await writer.drain()
            if page.endless:
                self.waits.set()
                await reader.read()
                self.gone.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()


@asynccontextmanager
async def web_server(address: str = "127.0.0.1") -> AsyncIterator[WebServer]:
    """One that listens on loopback, or elsewhere."""
    server = WebServer()
    listening = await asyncio.start_server(server.talk, address, 0)
    async with listening:
        server.url = f"http://{address}:{listening.sockets[0].getsockname()[1]}"
        yield server

"""Much through a hijacked connection, and clients that are slow or stand still."""

import asyncio
import resource
import socket
from pathlib import Path

from gateway.hijack import HijackedConnection
from tests.unit.gateway.hijack_client import (
    ATTACH,
    happens,
    head_of,
)
from tests.unit.gateway.hijack_server import TinyEngine, frame, serving


async def test_stalled_reader_costs_no_memory(socket_path: Path) -> None:
    written = 0

    async def flood(connection: HijackedConnection, body: bytes) -> None:
        nonlocal written
        piece = frame(1, bytes(65528))
        while not connection.gone.is_set():
            await connection.write(piece)
            written += len(piece)

    engine = TinyEngine(flood)
    async with serving(engine.application(), unix=socket_path):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(socket_path))
        sock.sendall(ATTACH)
        await happens(engine.attached)
        assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
        reached = -1
        while written != reached:
            reached = written
            for _ in range(50):
                await asyncio.sleep(0)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert written < 2 * 1024 * 1024
        assert after - before < 8 * 1024
        sock.close()
        await happens(engine.finished)


async def test_large_streams_pass_both_ways(socket_path: Path) -> None:
    total = 32 * 1024 * 1024

    async def echo(connection: HijackedConnection, body: bytes) -> None:
        while data := await connection.read():
            await connection.write(data)

    async with serving(TinyEngine(echo).application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(ATTACH)
        await head_of(reader)

        async def send() -> None:
            piece = bytes(range(256)) * 256
            for _ in range(total // len(piece)):
                writer.write(piece)
                await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        count = 0
        async with asyncio.timeout(60):
            while data := await reader.read(1024 * 1024):
                count += len(data)
            await sending
        assert count == total
        writer.close()


async def test_slow_client_gets_the_last_bytes(socket_path: Path) -> None:
    """The end of the output waits for a client that reads late."""
    ended = asyncio.Event()
    size = 400_000

    async def burst(connection: HijackedConnection, body: bytes) -> None:
        await connection.write(bytes(size))
        ended.set()

    async with serving(TinyEngine(burst).application(), unix=socket_path):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(socket_path))
        sock.setblocking(False)
        sock.sendall(ATTACH + b"unread input")
        await happens(ended)
        loop = asyncio.get_running_loop()
        received = bytearray()
        while data := await loop.sock_recv(sock, 4096):
            received += data
        assert len(received.partition(b"\r\n\r\n")[2]) == size
        sock.close()

"""The hijack on the wire, with raw sockets: heads, bodies and segments, and what is refused."""

import asyncio
import socket
from pathlib import Path

import pytest

from gateway.hijack import HijackedConnection
from tests.unit.gateway.hijack_client import (
    ATTACH,
    START,
    UPGRADE,
    happens,
    head_of,
    request,
    rest_of,
)
from tests.unit.gateway.hijack_server import MULTIPLEXED, TinyEngine, frame, serving


async def test_head_is_dockers(socket_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(ATTACH)
        head = await head_of(reader)
        writer.write_eof()
        assert head == (
            b"HTTP/1.1 101 UPGRADED\r\n"
            b"Content-Type: " + MULTIPLEXED.encode() + b"\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        assert await rest_of(reader) == frame(1, b"")
        writer.close()


async def test_output_follows_a_half_close(socket_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(ATTACH)
        await head_of(reader)
        writer.write(b"hello")
        writer.write_eof()
        assert await rest_of(reader) == frame(1, b"hello")
        writer.close()


async def test_half_close_before_the_head_is_read(socket_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(ATTACH + b"early")
        writer.write_eof()
        await head_of(reader)
        assert await rest_of(reader) == frame(1, b"early")
        writer.close()


@pytest.mark.parametrize("step", [1, 3, 7, 64])
async def test_body_and_early_bytes_however_segmented(socket_path: Path, step: int) -> None:
    engine = TinyEngine()
    async with serving(engine.application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        whole = START + b"input"
        for at in range(0, len(whole), step):
            writer.write(whole[at : at + step])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write_eof()
        await head_of(reader)
        assert await rest_of(reader) == frame(1, b"input")
        assert engine.bodies == [b'{"Detach":false,"Tty":false}']
        writer.close()


@pytest.mark.parametrize("seconds", [0.0, 5.0], ids=["soon", "when it has a CPU"])
async def test_output_waits_until_the_head_was_read(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """docker-py reads the head through a buffer, and loses what is in it besides."""
    loop = asyncio.get_running_loop()
    passed, clock = 0.0, loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + passed)

    async def say(connection: HijackedConnection, body: bytes) -> None:
        await connection.write(b"first")
        await connection.write(b"second")

    engine = TinyEngine(say)
    async with serving(engine.application(), unix=socket_path):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(socket_path))
        sock.sendall(ATTACH)
        await happens(engine.attached)
        for more in (0.0, seconds):
            passed += more
            for _ in range(20):
                await asyncio.sleep(0)
        assert sock.recv(4096).endswith(b"\r\n\r\n")
        sock.setblocking(False)
        received = b""
        while piece := await loop.sock_recv(sock, 4096):
            received += piece
        assert received == b"firstsecond"
        sock.close()


async def test_client_without_upgrade_gets_200_and_sends_raw_input(socket_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(request("/v1.50/exec/e/start", body=b"{}") + b"raw GET / HTTP/1.1\r\n\r\n")
        head = await head_of(reader)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-length" not in head.lower()
        assert b"transfer-encoding" not in head.lower()
        writer.write_eof()
        assert await rest_of(reader) == frame(1, b"raw GET / HTTP/1.1\r\n\r\n")
        writer.close()


async def test_refusal_before_the_hijack_is_plain_and_closes(socket_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(request("/v1.50/containers/missing/attach", UPGRADE))
        head = await head_of(reader)
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"connection: close" in head
        assert b"No such container" in await rest_of(reader)
        writer.close()


async def test_upgrade_elsewhere_is_answered_with_its_body(socket_path: Path) -> None:
    """``curl --http2`` offers h2c with every request."""
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        headers = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
        writer.write(request("/_ping", headers, method="GET"))
        assert (await head_of(reader)).startswith(b"HTTP/1.1 200 ")
        assert await rest_of(reader) == b"OK"
        writer.close()


async def test_chunked_upgrade_is_refused(socket_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(
            b"POST /v1.50/exec/e/start HTTP/1.1\r\nHost: x\r\n"
            + UPGRADE
            + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        )
        assert (await head_of(reader)).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_hijack_on_a_kept_alive_connection(socket_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(request("/_ping", method="GET"))
        await head_of(reader)
        assert await reader.readexactly(2) == b"OK"
        writer.write(ATTACH)
        writer.write_eof()
        await head_of(reader)
        assert await rest_of(reader) == frame(1, b"")
        writer.close()


async def test_pipelined_requests_still_work(socket_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(request("/_ping", method="GET") * 3)
        for _ in range(3):
            assert (await head_of(reader)).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(2) == b"OK"
        writer.close()


async def test_head_without_end_is_refused(socket_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(b"GET /_ping HTTP/1.1\r\nX-Long: " + b"x" * 400_000)
        assert (await head_of(reader)).startswith(b"HTTP/1.1 431 ")
        writer.close()


async def test_garbage_gets_a_json_message(socket_path: Path) -> None:
    async with serving(TinyEngine().application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert (await head_of(reader)).startswith(b"HTTP/1.1 400 ")
        assert await rest_of(reader) == b'{"message":"Invalid HTTP request received."}\n'
        writer.close()

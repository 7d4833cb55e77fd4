"""The hijack on the wire, with raw sockets: segments, half-close, hang-up, stalls."""

import asyncio
import resource
import socket
import struct
from pathlib import Path

import pytest

from gateway.hijack import HijackedConnection
from tests.unit.gateway.hijack_server import MULTIPLEXED, TinyEngine, frame, serving

UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"


def request(path: str, *headers: bytes, body: bytes = b"", method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: docker\r\n".encode() + b"".join(headers)
    if method == "POST":
        head += b"Content-Length: %d\r\n" % len(body)
    return head + b"\r\n" + body


ATTACH = request("/v1.50/containers/c/attach?stream=1", UPGRADE)
START = request("/v1.50/exec/e/start", UPGRADE, body=b'{"Detach":false,"Tty":false}')


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "docker.sock"


async def head_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        return await reader.readuntil(b"\r\n\r\n")


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        return await reader.read(-1)


async def happens(event: asyncio.Event) -> None:
    async with asyncio.timeout(60):
        await event.wait()


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


async def test_output_waits_until_the_head_was_read(socket_path: Path) -> None:
    """docker-py reads the head through a buffer, and loses what is in it besides."""

    async def say(connection: HijackedConnection, body: bytes) -> None:
        await connection.write(b"first")
        await connection.write(b"second")

    engine = TinyEngine(say)
    async with serving(engine.application(), unix=socket_path):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(socket_path))
        sock.sendall(ATTACH)
        await happens(engine.attached)
        for _ in range(20):
            await asyncio.sleep(0)
        assert sock.recv(4096).endswith(b"\r\n\r\n")
        sock.setblocking(False)
        received = b""
        while piece := await asyncio.get_running_loop().sock_recv(sock, 4096):
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


@pytest.mark.parametrize("over", ["unix", "tcp"])
async def test_client_that_vanishes_after_half_close_is_noticed(over: str, tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def wait_for_hang_up(connection: HijackedConnection, body: bytes) -> None:
        assert await connection.read() == b""
        await connection.gone.wait()
        gone.set()

    engine = TinyEngine(wait_for_hang_up)
    unix = tmp_path / "s" if over == "unix" else None
    async with serving(engine.application(), unix=unix) as served:
        reader, writer = await served.connect()
        writer.write(ATTACH)
        await head_of(reader)
        writer.write_eof()
        await happens(engine.attached)
        if over == "tcp":  # a vanished TCP peer shows itself by a reset
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await happens(gone)


async def test_input_sent_before_the_client_left_still_arrives(socket_path: Path) -> None:
    """docker-py's idiom: attach_socket, send, close."""
    received: list[bytes] = []

    async def slow_reader(connection: HijackedConnection, body: bytes) -> None:
        await connection.gone.wait()
        while data := await connection.read():
            received.append(data)

    engine = TinyEngine(slow_reader)
    async with serving(engine.application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(ATTACH)
        await head_of(reader)
        writer.write(b"make this test pass\n")
        writer.close()
        await happens(engine.finished)
    assert b"".join(received) == b"make this test pass\n"


async def test_input_survives_the_reset_of_a_client_that_left_output_unread(
    socket_path: Path,
) -> None:
    received: list[bytes] = []

    async def late_reader(connection: HijackedConnection, body: bytes) -> None:
        await connection.write(b"nobody reads this")
        await connection.gone.wait()
        while data := await connection.read():
            received.append(data)

    engine = TinyEngine(late_reader)
    async with serving(engine.application(), unix=socket_path):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(socket_path))
        sock.sendall(ATTACH)
        await happens(engine.attached)
        assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
        sock.sendall(b"make this test pass\n")
        sock.close()
        await happens(engine.finished)
    assert b"".join(received) == b"make this test pass\n"


async def test_input_that_the_kernel_holds_survives_a_write_that_fails(socket_path: Path) -> None:
    go_on = asyncio.Event()
    received = 0

    async def writer_before_reader(connection: HijackedConnection, body: bytes) -> None:
        nonlocal received
        await go_on.wait()
        await connection.write(b"nobody reads this")
        while data := await connection.read():
            received += len(data)

    engine = TinyEngine(writer_before_reader)
    async with serving(engine.application(), unix=socket_path):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(socket_path))
        sock.sendall(ATTACH)
        await happens(engine.attached)
        assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
        sock.setblocking(False)
        sent = 0
        # More than asyncio takes in before it stops reading.
        async with asyncio.timeout(60):
            while sent < 300 * 1024:
                try:
                    sent += sock.send(bytes(16 * 1024))
                except BlockingIOError:
                    await asyncio.sleep(0)
        sock.close()
        go_on.set()
        await happens(engine.finished)
    assert received == sent


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


async def test_wait_is_dropped_at_end_of_file(socket_path: Path) -> None:
    engine = TinyEngine()
    async with serving(engine.application(), unix=socket_path) as served:
        reader, writer = await served.connect()
        writer.write(request("/v1.50/containers/c/wait"))
        await head_of(reader)
        writer.write_eof()
        await happens(engine.waiting_dropped)
        writer.close()


async def test_stopping_ends_hijacked_and_streaming_connections(socket_path: Path) -> None:
    async def for_ever(connection: HijackedConnection, body: bytes) -> None:
        await asyncio.Event().wait()

    engine = TinyEngine(for_ever)
    async with serving(engine.application(), unix=socket_path) as served:
        attached, attached_writer = await served.connect()
        attached_writer.write(ATTACH)
        await head_of(attached)
        waiting, waiting_writer = await served.connect()
        waiting_writer.write(request("/v1.50/containers/c/wait"))
        await head_of(waiting)
        await happens(engine.attached)
        served.server.should_exit = True
        assert await rest_of(attached) == b""
        assert not (await rest_of(waiting)).endswith(b"0\r\n\r\n")
        await happens(engine.finished)
        attached_writer.close()
        waiting_writer.close()

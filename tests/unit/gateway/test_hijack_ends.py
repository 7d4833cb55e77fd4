"""How a hijacked connection ends: half-close, hang-up, reset, and the server's own end."""

import asyncio
import errno
import socket
import struct
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from gateway.hijack import HijackedConnection
from tests.unit.gateway.hijack_client import (
    ATTACH,
    happens,
    head_of,
    request,
    rest_of,
)
from tests.unit.gateway.hijack_server import TinyEngine, serving


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


@pytest.mark.parametrize("over", ["unix", "tcp"])
async def test_a_half_closed_request_is_answered(over: str, tmp_path: Path) -> None:
    """What socat and nc make of a request that is piped into them."""
    engine = TinyEngine()
    unix = tmp_path / "s" if over == "unix" else None
    ping = request("/_ping", method="GET")
    create = request("/v1.50/containers/create", body=b"{}")
    async with serving(engine.application(), unix=unix) as served:
        for asked, answers in ((ping, 1), (create, 1), (ping + create + ping, 3)):
            reader, writer = await served.connect()
            writer.write(asked)
            writer.write_eof()
            assert (await rest_of(reader)).count(b"HTTP/1.1 20") == answers
            writer.close()


async def test_a_client_that_goes_before_its_answer_has_begun_is_noticed(
    socket_path: Path,
) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async with serving(application, unix=socket_path) as served:
        _, writer = await served.connect()
        writer.write(request("/v1.50/containers/c/wait"))
        await happens(asked)
        writer.write_eof()
        writer.transport.abort()
        await happens(gone)


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


async def test_a_client_that_cannot_be_watched_is_let_go(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more_descriptors() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    engine = TinyEngine()
    async with serving(engine.application(), unix=socket_path) as served:
        with monkeypatch.context() as short:
            short.setattr("gateway.hijack.hangup.select.epoll", no_more_descriptors)
            reader, writer = await served.connect()
            writer.write(ATTACH)
            async with asyncio.timeout(60):
                assert await reader.read() == b""
            writer.close()
        reader, writer = await served.connect()
        writer.write(ATTACH)
        await head_of(reader)
        writer.close()
        assert len(served.server.server_state.connections) <= 1

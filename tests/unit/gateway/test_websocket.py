"""Attaching by WebSocket."""

import asyncio
import os
import struct

import pytest

from tests.unit.gateway.conftest import DOCKER, Endpoint, Eventually
from tests.unit.gateway.fake_facets import FakeSuite
from tests.websocket import (
    ACCEPT,
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    Client,
    connect,
    masked,
)

pytestmark = pytest.mark.skipif(DOCKER is None, reason="needs the docker CLI")


async def attached(engine: Endpoint, query: str) -> Client:
    head, client = await connect(engine.path, f"/v1.51/containers/c1/attach/ws?{query}", *UPGRADE)
    assert head.startswith("HTTP/1.1 101 ")
    assert f"Sec-WebSocket-Accept: {ACCEPT}\r\n" in head
    assert "Upgrade: websocket\r\n" in head
    return client


async def create(engine: Endpoint, suite: FakeSuite, *command: str) -> None:
    suite.pulled("busybox:latest")
    await engine.output("create", "-i", "--name", "c1", "busybox", *command)


async def test_streams_go_both_ways_raw(engine: Endpoint, suite: FakeSuite) -> None:
    await create(engine, suite, "cat")
    client = await attached(engine, "stdin=1&stdout=1&stderr=1&stream=1")
    await engine.output("start", "c1")
    client.writer.write(masked(BINARY, b"hello"))
    assert await client.receive() == (BINARY, b"hello")
    # Pieces of a message, with a ping between them.
    client.writer.write(masked(TEXT, b"a", 0) + masked(PING, b"?") + masked(0, b"b"))
    assert sorted([await client.receive() for _ in range(3)]) == [
        (BINARY, b"a"),
        (BINARY, b"b"),
        (PONG, b"?"),
    ]
    client.writer.write(masked(CLOSE, struct.pack(">H", 1000)))
    assert await client.closed() == 1000
    client.writer.close()


async def test_the_end_of_output_closes(engine: Endpoint, suite: FakeSuite) -> None:
    await create(engine, suite, "both", "0")
    client = await attached(engine, "stdout=1&stderr=1&stream=1")
    await engine.output("start", "c1")
    assert [await client.receive() for _ in range(2)] == [(BINARY, b"out\n"), (BINARY, b"err\n")]
    assert await client.closed() == 1000
    client.writer.close()


async def test_a_client_without_input_is_answered(
    engine: Endpoint, suite: FakeSuite, eventually: Eventually
) -> None:
    await create(engine, suite, "sleep")
    client = await attached(engine, "stdout=1&stream=1")
    client.writer.write(masked(PING, b"?"))
    assert await client.receive() == (PONG, b"?")
    client.writer.write(masked(CLOSE, b""))
    assert await client.closed() == 1000
    client.writer.close()
    await eventually(lambda: suite.interaction.attached == 0)


async def test_long_input_arrives_whole(
    engine: Endpoint, suite: FakeSuite, eventually: Eventually
) -> None:
    await create(engine, suite, "cat")
    client = await attached(engine, "stdin=1&stream=1")
    await engine.output("start", "c1")
    data = os.urandom(1000) * 200
    client.writer.write(masked(BINARY, data[:1000]) + masked(BINARY, data[1000:]))
    client.writer.write(masked(CLOSE, b""))
    assert await client.closed() == 1000
    client.writer.close()
    assert await engine.output("wait", "c1") == "0\n"
    [container] = suite.exec.containers.values()
    assert b"".join(entry.data for entry in container.output) == data


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (b"\x82\x01x" + bytes(8), 1002),  # not masked
        (masked(BINARY, b"x", 0xC0), 1002),  # an extension's bit
        (masked(3, b"x"), 1002),  # no such opcode
        (masked(PING, b"x", 0), 1002),  # a control frame in pieces
        (struct.pack(">BBQ", 0x82, 0xFF, 1 << 40), 1009),
    ],
    ids=["not-masked", "extension", "opcode", "control-in-pieces", "too-long"],
)
async def test_what_is_no_websocket_is_closed(
    engine: Endpoint, suite: FakeSuite, frame: bytes, status: int
) -> None:
    await create(engine, suite, "cat")
    client = await attached(engine, "stdin=1&stream=1")
    client.writer.write(frame)
    assert await client.closed() == status
    client.writer.close()


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ((), "not websocket protocol"),
        (("Connection: Upgrade", "Upgrade: tcp"), "not websocket protocol"),
        ((*UPGRADE[:2], "Sec-WebSocket-Version: 8", UPGRADE[3]), "bad WebSocket Version"),
        ((*UPGRADE[:3], "Sec-WebSocket-Key: short"), "mismatch challenge/response"),
    ],
)
async def test_what_opens_none_is_400(
    engine: Endpoint, suite: FakeSuite, headers: tuple[str, ...], why: str
) -> None:
    await create(engine, suite, "cat")
    head, client = await connect(engine.path, "/v1.51/containers/c1/attach/ws", *headers)
    assert head.startswith("HTTP/1.1 400 ")
    async with asyncio.timeout(60):
        assert why in (await client.reader.readuntil(b"}")).decode()
    client.writer.close()


async def test_only_its_own_origin_may_open_one(engine: Endpoint, suite: FakeSuite) -> None:
    await create(engine, suite, "cat")
    path = "/v1.51/containers/c1/attach/ws"
    head, client = await connect(engine.path, path, *UPGRADE, "Origin: http://evil.example")
    assert head.startswith("HTTP/1.1 403 ")
    client.writer.close()
    head, client = await connect(engine.path, path, *UPGRADE, "Origin: http://localhost")
    assert head.startswith("HTTP/1.1 101 ")
    client.writer.close()


async def test_an_unknown_container_is_404(engine: Endpoint) -> None:
    head, client = await connect(engine.path, "/v1.51/containers/nope/attach/ws", *UPGRADE)
    assert head.startswith("HTTP/1.1 404 ")
    client.writer.close()

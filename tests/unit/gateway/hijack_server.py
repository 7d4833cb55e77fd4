"""A tiny Docker-like ASGI application on a real uvicorn with the hijack protocol, for tests."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.hijack import HijackedConnection, HijackProtocol, HijackResponse

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"

Behaviour = Callable[[HijackedConnection, bytes], Awaitable[None]]


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


async def echo_at_end_of_input(connection: HijackedConnection, body: bytes) -> None:
    """Read all input, then answer with it: what a half-close must allow."""
    received = bytearray()
    while data := await connection.read():
        received += data
    await connection.write(frame(1, bytes(received)))


class TinyEngine:
    """Enough of Docker's API for ``docker run`` and ``docker exec``, with one behaviour for all."""

    def __init__(self, behaviour: Behaviour = echo_at_end_of_input) -> None:
        self.behaviour = behaviour
        self.bodies: list[bytes] = []
        self.attached = asyncio.Event()
        self.finished = asyncio.Event()
        self.waiting_dropped = asyncio.Event()

    def application(self) -> Starlette:
        routes = [
            Route("/_ping", self._ping, methods=["GET", "HEAD"]),
            Route("/{v}/containers/create", self._create, methods=["POST"]),
            Route("/{v}/containers/{id}/attach", self._hijack, methods=["POST"]),
            Route("/{v}/containers/{id}/wait", self._wait, methods=["POST"]),
            Route("/{v}/containers/{id}/start", self._start, methods=["POST"]),
            Route("/{v}/containers/{id}/json", self._inspect, methods=["GET"]),
            Route("/{v}/containers/{id}/exec", self._exec, methods=["POST"]),
            Route("/{v}/exec/{id}/start", self._hijack, methods=["POST"]),
            Route("/{v}/exec/{id}/json", self._exec_inspect, methods=["GET"]),
            Route("/{v}/refused/attach", self._create, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _ping(self, request: Request) -> Response:
        return Response("OK", headers={"Api-Version": "1.50"})

    async def _create(self, request: Request) -> Response:
        return JSONResponse({"Id": "c" * 64, "Warnings": []}, status_code=201)

    async def _start(self, request: Request) -> Response:
        return Response(status_code=204)

    async def _inspect(self, request: Request) -> Response:
        return JSONResponse({"Id": "c" * 64, "Config": {"Tty": False}, "State": {"Running": True}})

    async def _exec(self, request: Request) -> Response:
        return JSONResponse({"Id": "e" * 64}, status_code=201)

    async def _exec_inspect(self, request: Request) -> Response:
        return JSONResponse({"ID": "e" * 64, "Running": False, "ExitCode": 0})

    async def _wait(self, request: Request) -> Response:
        async def answer() -> AsyncIterator[bytes]:
            try:
                yield b""
                await self.finished.wait()
                yield json.dumps({"StatusCode": 0}).encode()
            finally:
                self.waiting_dropped.set()

        return StreamingResponse(answer(), media_type="application/json")

    async def _hijack(self, request: Request) -> Response:
        if request.path_params["id"] == "missing":
            return JSONResponse({"message": "No such container: missing"}, status_code=404)
        body = await request.body()
        self.bodies.append(body)

        async def handler(connection: HijackedConnection) -> None:
            self.attached.set()
            try:
                await self.behaviour(connection, body)
            finally:
                self.finished.set()

        return HijackResponse(handler, MULTIPLEXED, {})


class Served:
    """Where a server listens, and the server."""

    def __init__(self, server: uvicorn.Server, address: str | tuple[str, int]) -> None:
        self.server = server
        self.address = address

    @property
    def docker_host(self) -> str:
        if isinstance(self.address, str):
            return f"unix://{self.address}"
        return f"tcp://{self.address[0]}:{self.address[1]}"

    async def connect(
        self, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.address, str):
            return await asyncio.open_unix_connection(self.address)
        return await asyncio.open_connection(*self.address, ssl=tls)


@asynccontextmanager
async def serving(
    application: ASGIApp,
    *,
    unix: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> AsyncIterator[Served]:
    config = uvicorn.Config(
        application,
        http=HijackProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        loop="asyncio",
        timeout_graceful_shutdown=5,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    if unix is not None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(unix))
        listener.listen()
    else:
        listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield Served(server, address)
    finally:
        server.should_exit = True
        async with asyncio.timeout(60):
            await task

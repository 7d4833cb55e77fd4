"""Asking a process of the suite whether it serves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from grpc_health.v1 import health_pb2

from installer.endpoint import Endpoint, TcpEndpoint
from installer.instance import Instance
from portlayer.client import open_channel
from portlayer.errors import Unavailable
from portlayer.identity import Credentials, Role

Probe = Callable[[float], Awaitable[None]]
"""Returns once the process serves. Raises TimeoutError or VicError when it doesn't in `seconds`."""

OpenProbe = Callable[[], AbstractAsyncContextManager[Probe]]


def grpc_probe(instance: Instance, role: Role) -> OpenProbe:
    """Return a probe by grpc.health.v1, over the process's own socket."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Probe]:
        credentials = Credentials.load(instance.pki_dir / Role.INSTALLER)
        target = f"unix:{instance.socket(role)}"
        async with open_channel(target, role, instance.id, credentials) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )

            async def probe(seconds: float) -> None:
                answer = await check(
                    health_pb2.HealthCheckRequest(), timeout=seconds, wait_for_ready=True
                )
                if answer.status != health_pb2.HealthCheckResponse.SERVING:
                    raise Unavailable(f"{role} is not serving")

            yield probe

    return opened


def docker_probe(endpoint: Endpoint) -> OpenProbe:
    """Return a probe by ``GET /_ping`` at the Docker endpoint."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Probe]:
        async def probe(seconds: float) -> None:
            async with asyncio.timeout(seconds):
                await _ping(endpoint)

        yield probe

    return opened


async def _ping(endpoint: Endpoint) -> None:
    try:
        if isinstance(endpoint, TcpEndpoint):
            reader, writer = await asyncio.open_connection(endpoint.address, endpoint.port)
        else:
            reader, writer = await asyncio.open_unix_connection(str(endpoint.path))
        try:
            writer.write(b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await writer.drain()
            status = await reader.readline()
        finally:
            writer.close()
    except OSError as error:
        raise Unavailable(f"{endpoint} does not answer: {error}") from error
    if b" 200 " not in status:
        raise Unavailable(f"{endpoint} answers {status.decode('latin-1').strip()!r}")

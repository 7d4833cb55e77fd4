"""Asking a process of the suite whether it serves."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from grpc_health.v1 import health_pb2

from installer.endpoint import Endpoint, TcpEndpoint, parse_endpoint
from installer.endpoint_tls import PROBE
from installer.instance import Instance
from installer.pki import CERTIFICATE, KEY
from portlayer.client import open_channel
from portlayer.errors import Unavailable
from portlayer.identity import Credentials, Role

Probe = Callable[[float], Awaitable[None]]
"""Returns once the process serves. Raises TimeoutError or VicError when it doesn't in `seconds`."""

OpenProbe = Callable[[], AbstractAsyncContextManager[Probe]]


def grpc_probe(instance: Instance, role: Role) -> OpenProbe:
    """Return a probe by grpc.health.v1, where the process is called."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Probe]:
        credentials = Credentials.load(instance.pki_dir / Role.INSTALLER)
        async with open_channel(instance.target(role), role, instance.id, credentials) as channel:
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


def docker_probe(instance: Instance) -> OpenProbe:
    """Return a probe by ``GET /_ping`` at the Docker endpoint."""
    endpoint = parse_endpoint(instance.options.host)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Probe]:
        context = _client_context(instance) if instance.options.tls_verify else None

        async def probe(seconds: float) -> None:
            async with asyncio.timeout(seconds):
                await _ping(endpoint, context)

        yield probe

    return opened


def _client_context(instance: Instance) -> ssl.SSLContext:
    """Return what the probe shows of itself; it asks for nothing that the wrong one could give."""
    directory = instance.endpoint_pki / PROBE
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(directory / CERTIFICATE, directory / KEY)
    return context


async def _ping(endpoint: Endpoint, context: ssl.SSLContext | None) -> None:
    try:
        if isinstance(endpoint, TcpEndpoint):
            reader, writer = await asyncio.open_connection(
                endpoint.address, endpoint.port, ssl=context
            )
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

"""Start-up and end of a gRPC server: TLS, limits, health, reflection, graceful stop."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from portlayer.fencing import Fences
from portlayer.heap import settle
from portlayer.identity import Credentials
from portlayer.interceptors import Access, Explain, FacetInterceptor

log = logging.getLogger("vic.server")

# One chunk of bulk bytes is 1 MiB at most; a list of some thousand containers fits as well.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
STOP_GRACE = 5.0
# A predecessor that is on its way out may hold its socket for so long.
IN_USE_SECONDS = 10.0

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 10_000),
    ("grpc.max_metadata_size", 16 * 1024),
    # A second server on the same port would take half of the calls, unnoticed.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A peer whose stream is quiet pings every 30 s; by gRPC's default that is too much after five.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 5),
)

# The kernel deals out connections, not calls: who kept one for good would never come to a replica
# that was added. Calls in hand end where they began.
SHARED_CONNECTION_MS = 60_000


def _leave_out(service_name: str, method_handlers: object) -> None:
    """Register no methods."""


class FacetServer:
    """A gRPC server that has all that every facet's server must have.

    ``services`` are the descriptors of what is added to ``server`` before :meth:`start`. One
    process may run several (interaction serves clients on one and tethers on another).
    ``max_streams`` bounds the calls that one connection has open at a time. With ``share_ports``
    other processes may serve at the same TCP addresses; ``lasting`` connections stay with one.
    """

    def __init__(
        self,
        credentials: Credentials,
        instance_id: str,
        access: Access,
        services: Sequence[ServiceDescriptor],
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_streams: int | None = None,
        share_ports: bool = False,
        lasting: bool = False,
        reflect: bool = True,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        fences: Fences | None = None,
        explain: Explain | None = None,
    ) -> None:
        """`interceptors` come behind the one that every facet has."""
        options = {**dict(OPTIONS), "grpc.max_receive_message_length": max_message_bytes}
        if share_ports:
            options["grpc.so_reuseport"] = 1
            if not lasting:
                options["grpc.max_connection_age_ms"] = SHARED_CONNECTION_MS
        if max_streams is not None:
            options["grpc.max_concurrent_streams"] = max_streams
        self.server = grpc.aio.server(
            interceptors=[FacetInterceptor(instance_id, access, fences, explain), *interceptors],
            options=list(options.items()),
        )
        # gRPC waits for the next call of each method that is registered by a future of its own, and
        # goes through all of them at every call. It finds the others by name, as it always did.
        self.server.add_registered_method_handlers = _leave_out  # type: ignore[method-assign]
        self._credentials = credentials.server()
        self._names = [service.full_name for service in services]
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        if reflect:
            names = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self.server)

    async def start(self, addresses: Sequence[str]) -> None:
        """Listen on all addresses and report SERVING.

        A socket file that nobody listens on any more is replaced; its mode becomes 0660, so that
        the suite's group can reach it. Raises OSError when an address can't be had, be it that
        another process serves there.
        """
        for address in addresses:
            path = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
            if path is not None:
                await _clear(path)
            try:
                self.server.add_secure_port(address, self._credentials)
            except RuntimeError as error:
                raise OSError(f"cannot listen on {address}: {error}") from error
            if path is not None:
                os.chmod(path, 0o660)
        await self.server.start()
        for name in (*self._names, ""):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        settle()
        log.info("serving", extra={"addresses": list(addresses), "services": self._names})

    async def stop(self) -> None:
        """Report NOT_SERVING, refuse new calls, and give those in hand a bounded time to end."""
        await self._health.enter_graceful_shutdown()
        await self.server.stop(STOP_GRACE)


async def _clear(path: Path) -> None:
    """Remove a socket file that nobody listens on. Raises OSError while somebody does."""
    deadline = time.monotonic() + IN_USE_SECONDS
    while _listened_on(path):
        if time.monotonic() > deadline:
            raise OSError(errno.EADDRINUSE, "another process serves there", str(path))
        await asyncio.sleep(0.1)  # the end of a foreign listener is announced to nobody
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _listened_on(path: Path) -> bool:
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True  # with a full backlog
    return True


def stop_requested() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event


def rpc_names(service: ServiceDescriptor) -> list[str]:
    """Return the full names of a service's methods, as access tables have them."""
    return [f"/{service.full_name}/{method.name}" for method in service.methods]

"""Goes through the motions once with nobody, so that the real thing finds everything in place.

gRPC does much on its first call alone: it starts threads, probes for IPv6, makes its caches. A
parent VM rehearses in plain text before it is frozen, and its clones are spared all that. A clone
that is kept ready rehearses once more, with TLS and throwaway certificates, so that the emulator
has translated the code that it will run.

**Never with TLS in a parent**: BoringSSL's random generator would be seeded then, and all clones
would go on from the same seed. A clone that has rehearsed with TLS has it begin anew when it gets
its identity (:mod:`tether.agent.randomness`): it may be a fork of another.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import grpc.aio
from vic.tether.v1.process_pb2 import ProcessSpec
from vic.tether.v1.tether_pb2 import (
    ConnectRequest,
    ConnectResponse,
    ExitAcknowledged,
    LaunchCommand,
    OutputAcknowledged,
    StdinChunk,
    StdinEnd,
    StdioRequest,
    StdioResponse,
    Welcome,
)
from vic.tether.v1.tether_pb2_grpc import (
    TetherServiceServicer,
    TetherServiceStub,
    add_TetherServiceServicer_to_server,
)

from tether.agent.commands import launch_message
from tether.agent.control import ControlStream
from tether.agent.process import Exit, WorkloadProcess
from tether.guestconfig import MIRROR

_BOOT_ID = "rehearsal"
_PROCESS_ID = "rehearsal"
_TEXT = b"one, two\n"
# At the lowest weight on a host that is busy with others it takes a minute; who waits for it gives
# up after three.
_BOUND = 110.0
_ANY = "0.0.0.0"  # noqa: S104 — in a machine that is on no network
_LOOPBACK = "127.0.0.1"
# Of that, until a mirror is taken for one that isn't there.
_MIRROR_BOUND = 30.0


@dataclass(frozen=True)
class Certificates:
    """PEM; the certificate is for server and client at once, its authority itself or another."""

    ca: bytes
    cert: bytes
    key: bytes
    server_name: str


async def rehearse(
    certificates: Certificates | None,
    options: tuple[tuple[str, int], ...],
    *,
    mirrored: bool = False,
) -> None:
    """Talk to a double of interaction in this process, from Hello to an acknowledged exit.

    With a mirror it is reached by the management interface, as interaction will be: what is sent to
    the mirror comes back from there. Where that doesn't come, it is reached by loopback.
    """
    server = grpc.aio.server()
    add_TetherServiceServicer_to_server(_Double(), server)
    address = f"{_ANY if mirrored else _LOOPBACK}:0"
    if certificates is None:
        port = server.add_insecure_port(address)
    else:
        pair = [(certificates.key, certificates.cert)]
        credentials = grpc.ssl_server_credentials(pair, certificates.ca, True)
        port = server.add_secure_port(address, credentials)
    await server.start()

    async def call(host: str, seconds: float) -> None:
        channel = (
            grpc.aio.insecure_channel(f"ipv4:{host}:{port}", options=options)
            if certificates is None
            else secure_channel(f"{host}:{port}", certificates, options)
        )
        try:
            async with asyncio.timeout(seconds):
                await _perform(channel)
        finally:
            await channel.close()

    try:
        if mirrored:
            try:
                await call(MIRROR, _MIRROR_BOUND)
            except TimeoutError:
                await call(_LOOPBACK, _BOUND - _MIRROR_BOUND)
        else:
            await call(_LOOPBACK, _BOUND)
    finally:
        await server.stop(None)


def secure_channel(
    endpoint: str, certificates: Certificates, options: tuple[tuple[str, int], ...]
) -> grpc.aio.Channel:
    """A channel to ``endpoint`` with mTLS."""
    credentials = grpc.ssl_channel_credentials(certificates.ca, certificates.key, certificates.cert)
    name = ("grpc.ssl_target_name_override", certificates.server_name)
    return grpc.aio.secure_channel(f"ipv4:{endpoint}", credentials, options=[name, *options])


async def _perform(channel: grpc.aio.Channel) -> None:
    acknowledged, ended = asyncio.Event(), asyncio.Event()

    def obey(command: ConnectResponse) -> None:
        match command.WhichOneof("message"):
            case "launch":
                launch_message(command.launch)
            case "exit_acknowledged":
                acknowledged.set()

    control = ControlStream(_BOOT_ID, lambda: [], obey)
    stdin, ours = os.pipe()
    stdout, writing = os.pipe()
    streams = {"stdin": ours, "stdout": stdout}
    process = WorkloadProcess(_PROCESS_ID, 0, time.time_ns(), streams, lambda _one: ended.set())
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(control.serve(TetherServiceStub(channel)))
        await control.connected.wait()
        control.tell(ConnectRequest(started=process.started_message()))
        streaming = tasks.create_task(process.serve(channel, _BOOT_ID, control.connected))
        os.write(writing, _TEXT)
        os.close(writing)
        process.exited(Exit(0, False, time.time_ns()))
        await ended.wait()
        control.tell(ConnectRequest(exited=process.exited_message()))
        await acknowledged.wait()
        serving.cancel()
        streaming.cancel()
    os.close(stdin)


class _Double(TetherServiceServicer):
    """Answers as interaction would, to one container with one process."""

    async def Connect(  # noqa: N802
        self, request_iterator: AsyncIterator[ConnectRequest], context: object
    ) -> AsyncIterator[ConnectResponse]:
        async for request in request_iterator:
            match request.WhichOneof("message"):
                case "hello":
                    yield ConnectResponse(welcome=Welcome())
                    spec = ProcessSpec(args=["true"], env=["PATH=/bin"])
                    command = LaunchCommand(process_id=_PROCESS_ID, process=spec, init=True)
                    yield ConnectResponse(launch=command)
                case "exited":
                    acknowledgement = ExitAcknowledged(process_id=_PROCESS_ID)
                    yield ConnectResponse(exit_acknowledged=acknowledgement)

    async def Stdio(  # noqa: N802
        self, request_iterator: AsyncIterator[StdioRequest], context: object
    ) -> AsyncIterator[StdioResponse]:
        yield StdioResponse(stdin=StdinChunk(data=_TEXT))
        yield StdioResponse(stdin_end=StdinEnd(offset=len(_TEXT)))
        async for request in request_iterator:
            if request.WhichOneof("message") == "output":
                acknowledgement = OutputAcknowledged(sequence=request.output.sequence)
                yield StdioResponse(output_acknowledged=acknowledgement)

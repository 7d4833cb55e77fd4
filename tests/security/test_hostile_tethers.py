"""A tether that misbehaves is cut off, and harms nobody else."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from vic.tether.v1 import process_pb2, tether_pb2

from portlayer.client import open_channel
from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    VicError,
    domain_errors,
)
from portlayer.identity import Role
from services.interaction import tether_server
from services.interaction.pace import Pace
from tests.unit.interaction.fake_tether import BOOT, INIT, OUT, FakeStdio, FakeTether, soon
from tests.unit.interaction.suite import CONTAINER, OTHER, Suite, give_up_soon
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority


async def refusal(call: Any) -> VicError:
    """Return the error that a call ends with."""
    with pytest.raises(VicError) as caught, domain_errors():
        while await soon(call.read()) is not grpc.aio.EOF:
            pass
    return caught.value


async def test_a_certificate_speaks_for_its_own_container_alone(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with suite.running():
        await suite.register(OTHER)
        client = await suite.attach()
        stranger = suite.tether(OTHER)
        # The boot and the process are those of the victim; the certificate is not.
        await stranger.connect(BOOT)
        stdio = await stranger.stdio(INIT, BOOT)
        assert isinstance(await refusal(stdio.call), FailedPrecondition)
        await stranger.say(exited={"process_id": INIT, "exit_code": 0})
        give_up_soon(monkeypatch)
        with pytest.raises(Unavailable):
            await suite.launch(OTHER, "b002")
        assert suite.service is not None
        assert suite.service.sessions.get(CONTAINER).running
        assert client.output[OUT] == b""


async def test_a_container_that_is_not_registered_is_refused(suite: Suite) -> None:
    tether = suite.tether(OTHER)
    call: Any = tether.stub.Connect()
    assert isinstance(await refusal(call), FailedPrecondition)


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.EXEC, Role.ADMIN])
async def test_other_roles_are_no_tethers(suite: Suite, role: Role) -> None:
    credentials = suite.credentials(role)
    async with open_channel(
        suite.tether_address, Role.INTERACTION, INSTANCE, credentials
    ) as channel:
        call: Any = FakeTether(channel).stub.Connect()
        assert isinstance(await refusal(call), PermissionDenied)


async def test_a_tether_reaches_nothing_else(suite: Suite) -> None:
    await suite.register()
    credentials = suite.credentials(Role.TETHER, CONTAINER)
    async with open_channel(suite.address, Role.INTERACTION, INSTANCE, credentials) as channel:
        for method in (
            "/vic.interaction.v1.ProcessService/ListRegistered",
            "/vic.interaction.v1.InteractionService/InspectExec",
        ):
            with pytest.raises(PermissionDenied):
                await _call(channel, method)
    stranger = suite.channel(Role.TETHER, CONTAINER)
    with pytest.raises(VicError):
        await _call(stranger, "/vic.interaction.v1.ProcessService/ListRegistered")


async def _call(channel: grpc.aio.Channel, method: str) -> None:
    call: Any = channel.unary_unary(method)
    await call(b"")


async def test_another_authority_s_certificate_is_refused(suite: Suite) -> None:
    foreign = TestAuthority().issue(Role.TETHER, CONTAINER)
    async with open_channel(suite.tether_address, Role.INTERACTION, INSTANCE, foreign) as channel:
        call: Any = FakeTether(channel).stub.Connect(timeout=60)
        assert isinstance(await refusal(call), VicError)


async def test_a_newer_control_stream_replaces_an_older_one(suite: Suite) -> None:
    async with suite.running() as older:
        newer = suite.tether()
        state = tether_pb2.ProcessState(process_id=INIT, pid=42)
        await newer.connect(processes=[state])
        assert isinstance(await refusal(older.control), FailedPrecondition)
        await newer.exit(0)


async def test_a_newer_stream_of_a_process_replaces_an_older_one(suite: Suite) -> None:
    async with suite.running() as tether:
        client = await suite.attach()
        older = await tether.stdio()
        await older.send(b"a")
        await older.settle()
        newer = await tether.stdio(sequence=2)
        await newer.send(b"b")
        assert isinstance(await refusal(older.call), FailedPrecondition)
        await newer.close()
        assert await client.read_all() == b"ab"


async def test_another_boot_waits_unheard(suite: Suite) -> None:
    async with suite.running() as tether:
        liar = suite.tether()
        exited = tether_pb2.ProcessExited(process_id=INIT, exit_code=1)
        states = [tether_pb2.ProcessState(process_id=INIT, pid=1, exited=exited)]
        await liar.connect("b666", states)
        await liar.say(exited={"process_id": INIT, "exit_code": 1})
        await tether.exit(0)
        assert suite.service is not None
        process = suite.service.sessions.get(CONTAINER).processes[INIT]
        assert process.exit is not None
        assert process.exit.exit_code == 0


@pytest.mark.parametrize(
    "message",
    [
        tether_pb2.ConnectRequest(started={"process_id": INIT}),
        tether_pb2.ConnectRequest(),
    ],
)
async def test_a_control_stream_begins_with_hello(
    suite: Suite, message: tether_pb2.ConnectRequest
) -> None:
    await suite.register()
    call: Any = suite.tether().stub.Connect()
    await call.write(message)
    assert isinstance(await refusal(call), InvalidArgument)


async def test_a_second_hello_has_no_place(suite: Suite) -> None:
    async with suite.running() as tether:
        await tether.say(hello={"boot_id": BOOT})
        assert isinstance(await refusal(tether.control), InvalidArgument)


async def test_a_silent_stream_is_ended(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tether_server, "FIRST_MESSAGE_SECONDS", 0.1)
    await suite.register()
    for call in (suite.tether().stub.Connect(), suite.tether().stub.Stdio()):
        assert (await refusal(call)).status is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_bytes_that_are_no_message_end_the_stream_alone(suite: Suite) -> None:
    async with suite.running() as tether:
        channel = suite.channel(Role.TETHER, CONTAINER)
        call: Any = channel.stream_stream("/vic.tether.v1.TetherService/Stdio")()
        await call.write(b"\xff\xff\xff garbage")
        await refusal(call)
        await tether.exit(0)


async def test_a_message_that_is_too_large_ends_the_stream_alone(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.send(bytes(tether_server.MAX_MESSAGE_BYTES))
        assert isinstance(await refusal(stdio.call), ResourceExhausted)
        stdio = await tether.stdio()
        await stdio.send(bytes(512 * 1024 + 1))
        assert isinstance(await refusal(stdio.call), InvalidArgument)
        stdio = await tether.stdio()
        await stdio.send(b"well behaved")
        await stdio.close()
        assert await suite.log_text() == b"well behaved"


@pytest.mark.parametrize(
    "chunk",
    [
        tether_pb2.OutputChunk(sequence=1, data=b"x"),
        tether_pb2.OutputChunk(stream=process_pb2.STD_STREAM_STDOUT, data=b"x"),
    ],
)
async def test_a_chunk_needs_a_stream_and_a_number(
    suite: Suite, chunk: tether_pb2.OutputChunk
) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.call.write(tether_pb2.StdioRequest(output=chunk))
        assert isinstance(await refusal(stdio.call), InvalidArgument)


async def test_output_after_its_end_is_refused(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.end()
        await stdio.send(b"but wait")
        assert isinstance(await refusal(stdio.call), InvalidArgument)


async def test_a_tether_has_so_many_streams_and_no_more(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tether_server, "MAX_STREAMS", 5)
    async with suite.running() as tether:
        await suite.register(OTHER)
        calls: list[Any] = [tether.stub.Stdio() for _ in range(8)]
        reads = [asyncio.ensure_future(refusal(call)) for call in calls]
        errors = [await soon(next(iter(asyncio.as_completed(reads)))) for _ in range(1)]
        assert isinstance(errors[0], ResourceExhausted)
        # Another container's tether isn't concerned.
        await suite.tether(OTHER).connect()
        for call, read in zip(calls, reads, strict=True):
            call.cancel()
            read.cancel()
        await asyncio.wait(reads)


async def test_a_flood_does_not_keep_others_waiting(suite: Suite) -> None:
    async with suite.running(discard_logs=True) as tether:
        await suite.register(OTHER)
        stdio = await tether.stdio()

        async def flood() -> None:
            while True:
                await stdio.send(b".")

        async def drain() -> None:
            while await stdio.read() is not grpc.aio.EOF:
                pass

        flooding = asyncio.gather(flood(), drain())
        other = suite.tether(OTHER)
        await other.connect("b002")
        await asyncio.gather(suite.launch(OTHER, "b002"), other.take_launch())
        flooding.cancel()
        await asyncio.wait([flooding])


async def test_messages_beyond_the_pace_wait() -> None:
    pace = Pace(rate=1000, burst=100)
    began = time.monotonic()
    for _ in range(300):
        await pace.message()
    assert time.monotonic() - began > 0.15


async def test_a_hello_with_too_many_processes_is_refused(suite: Suite) -> None:
    async with suite.running():
        hello = tether_pb2.Hello(
            boot_id=BOOT,
            processes=[tether_pb2.ProcessState(process_id=f"{n}") for n in range(5000)],
        )
        call: Any = suite.tether().stub.Connect()
        await call.write(tether_pb2.ConnectRequest(hello=hello))
        assert isinstance(await refusal(call), InvalidArgument)


async def test_an_unknown_process_s_output_may_be_forgotten(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio: FakeStdio = await tether.stdio("gone" * 16)
        assert isinstance(await refusal(stdio.call), NotFound)

"""The service and the real agent agree on their protocol."""

import asyncio
import hashlib
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from vic.interaction.v1 import interaction_pb2, process_pb2
from vic.tether.v1 import process_pb2 as tether_process_pb2
from vic.tether.v1.health_pb2 import (
    HEALTH_STATUS_HEALTHY,
    HEALTH_STATUS_UNHEALTHY,
    HealthProbe,
)

from tests.integration.interaction.conftest import TcpSuite
from tests.unit.interaction.fake_tether import BOOT, ERR, INIT, OUT, soon
from tests.unit.interaction.suite import CONTAINER, Attached

CHUNK = 256 * 1024


async def run(suite: TcpSuite, *args: str, process_id: str = INIT) -> process_pb2.LaunchResponse:
    """Run a process."""
    request = process_pb2.LaunchRequest(
        container_id=CONTAINER,
        boot_id=BOOT,
        process_id=process_id,
        process=tether_process_pb2.ProcessSpec(args=args, stdin=True),
    )
    return await suite.processes().Launch(request, timeout=60)


async def exit_code(suite: TcpSuite) -> int:
    """Return the init process's exit code when it has ended."""
    call: Any = suite.processes().Watch(process_pb2.WatchRequest())
    async with asyncio.timeout(60):
        while True:
            response = await call.read()
            assert response is not grpc.aio.EOF
            if response.event.WhichOneof("event") == "ended":
                return int(response.event.ended.exit_code)


async def test_streams_and_code_of_a_short_process(suite: TcpSuite) -> None:
    await suite.register()
    client = await suite.attach()
    async with suite.supervisor() as supervisor:
        response = await run(suite, "sh", "-c", "echo out; echo err >&2; exit 7")
        assert response.kernel_release == os.uname().release
        assert await client.read_all() == b"out\n"
        assert client.output[ERR] == b"err\n"
        assert await exit_code(suite) == 7
        # On record, so that the VM may go.
        await soon(supervisor.powered_off.wait())
    assert sorted(entry.data for entry in await suite.logs()) == [b"err\n", b"out\n"]


async def test_a_process_without_output_ends_its_client(suite: TcpSuite) -> None:
    await suite.register()
    client = await suite.attach()
    async with suite.supervisor():
        await run(suite, "true")
        assert await client.read_all() == b""
        assert await exit_code(suite) == 0


async def test_input_and_its_end_reach_the_process(suite: TcpSuite) -> None:
    await suite.register(open_stdin=True, stdin_once=True)
    client = await suite.attach(stdin=True)
    await client.write(b"a\nb\n")
    await client.call.done_writing()
    async with suite.supervisor():
        await run(suite, "wc", "-l")
        assert (await client.read_all()).strip() == b"2"


async def test_many_bytes_go_through_and_come_back_equal(suite: TcpSuite) -> None:
    await suite.register(open_stdin=True, stdin_once=True)
    client = await suite.attach(stdin=True)
    data = os.urandom(20 * 1024 * 1024)

    async def produce() -> None:
        for start in range(0, len(data), CHUNK):
            await client.write(data[start : start + CHUNK])
        await client.call.done_writing()

    async with suite.supervisor():
        await run(suite, "cat")
        _, echoed = await asyncio.gather(produce(), client.read_all())
        assert hashlib.sha256(echoed).digest() == hashlib.sha256(data).digest()
        logged = await suite.log_text()
        assert hashlib.sha256(logged).digest() == hashlib.sha256(data).digest()


async def test_a_restart_in_the_middle_loses_and_doubles_nothing(
    suite: TcpSuite, tmp_path: Path
) -> None:
    await suite.register()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    opener = os.open(gate, os.O_RDWR)
    # Each half waits for a line: on a busy machine all of it may come before anybody looks.
    script = (
        f"exec 3<{gate}; i=0; for end in 10000 20000; do read _ <&3; "
        "while [ $i -lt $end ]; do echo line $i; i=$((i+1)); done; done; exit 3"
    )
    async with suite.supervisor() as supervisor:
        await run(suite, "sh", "-c", script)
        for _ in range(2):
            await _some_output(suite, opener)
            await suite.restart()
        assert await exit_code(suite) == 3
        await asyncio.wait_for(supervisor.powered_off.wait(), 60)
    os.close(opener)
    expected = b"".join(b"line %d\n" % n for n in range(20000))
    assert await suite.log_text() == expected


async def test_a_tether_tries_each_second_however_long_the_service_is_away(
    suite: TcpSuite,
) -> None:
    await suite.register()
    async with suite.supervisor():
        await run(suite, "sleep", "1000")
        await suite.stop()
        tries = await _turned_away(suite, 11)
        # A busy machine makes one of them late, hardly all.
        assert min(later - earlier for earlier, later in pairwise(tries[-4:])) < 2
        await suite.start()
        request = process_pb2.SignalRequest(container_id=CONTAINER, process_id=INIT, signal=15)
        async with asyncio.timeout(60):
            assert suite.service is not None
            await suite.service.sessions.get(CONTAINER).tether(BOOT)
        await suite.processes().Signal(request)
        assert await exit_code(suite) == 128 + 15


async def _turned_away(suite: TcpSuite, count: int) -> list[float]:
    """Close so many connections at once that come in the service's place; return when each came."""
    tries: list[float] = []
    enough = asyncio.Event()

    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries.append(time.monotonic())
        writer.close()
        if len(tries) >= count:
            enough.set()

    host, _, port = suite.tether_address.partition(":")
    async with await asyncio.start_server(turn_away, host, int(port)), asyncio.timeout(120):
        await enough.wait()
    return tries


async def _some_output(suite: TcpSuite, opener: int) -> None:
    """Let the process go on, and return when the first of what it says has come."""
    assert suite.service is not None
    session = suite.service.sessions.get(CONTAINER)
    streams = session.processes[INIT].streams
    before = streams.stored
    os.write(opener, b"\n")
    async with asyncio.timeout(60):
        await streams.changed.wait_for(lambda: streams.stored > before)


async def test_a_signal_ends_a_process(suite: TcpSuite) -> None:
    await suite.register()
    async with suite.supervisor():
        await run(suite, "sleep", "1000")
        request = process_pb2.SignalRequest(container_id=CONTAINER, process_id=INIT, signal=15)
        await suite.processes().Signal(request)
        assert await exit_code(suite) == 128 + 15


@pytest.mark.parametrize("count", [10])
async def test_execs_have_their_own_streams_and_codes(suite: TcpSuite, count: int) -> None:
    await suite.register()
    async with suite.supervisor():
        await run(suite, "sleep", "1000")

        async def one(number: int) -> tuple[bytes, int]:
            args = ["sh", "-c", f"cat; exit {number}"]
            created = await suite.interaction().CreateExec(
                interaction_pb2.CreateExecRequest(
                    container_id=CONTAINER,
                    process=tether_process_pb2.ProcessSpec(args=args, stdin=True),
                )
            )
            call: Any = suite.interaction().StartExec()
            start = interaction_pb2.StartExecStart(exec_id=created.exec_id)
            await call.write(interaction_pb2.StartExecRequest(start=start))
            assert (await soon(call.read())).WhichOneof("message") == "ready"
            await call.write(interaction_pb2.StartExecRequest(stdin=b"%d" % number))
            await call.done_writing()
            output = await Attached(call, tty=False).read_all()
            state = await suite.interaction().InspectExec(
                interaction_pb2.InspectExecRequest(exec_id=created.exec_id)
            )
            return output, state.exit_code

        results = await asyncio.gather(*map(one, range(count)))
        assert results == [(b"%d" % number, number) for number in range(count)]


async def test_a_slow_client_holds_the_process(suite: TcpSuite) -> None:
    await suite.register()
    client = await suite.attach()
    async with suite.supervisor():
        await run(suite, "dd", "if=/dev/zero", "bs=65536", "count=640")
        assert suite.service is not None
        streams = suite.service.sessions.get(CONTAINER).processes[INIT].streams
        queue = next(iter(streams._queues))
        await asyncio.wait_for(streams.changed.wait_for(lambda: queue.full), 60)
        assert not streams.ended
        received = 0
        while await client.read_some():
            received += len(client.output[OUT])
            client.output[OUT].clear()
        assert received == 640 * 65536


async def test_health_is_checked_and_told(suite: TcpSuite, tmp_path: Path) -> None:
    well = tmp_path / "well"
    await suite.register()
    span = Duration(nanos=50_000_000)
    probe = HealthProbe(
        process={
            "args": ["sh", "-c", f"cat {well} && test $(cat {well}) = fine || exec sleep 1000"],
            "env": [f"PATH={os.environ['PATH']}"],
        },
        interval=span,
        timeout=Duration(seconds=1),
        start_period=Duration(),
        start_interval=span,
        retries=1,
    )
    request = process_pb2.LaunchRequest(
        container_id=CONTAINER,
        boot_id=BOOT,
        process_id=INIT,
        process=tether_process_pb2.ProcessSpec(args=["sleep", "1000"]),
        health=probe,
    )
    async with suite.supervisor(), asyncio.timeout(60):
        await suite.processes().Launch(request, timeout=60)
        call: Any = suite.processes().Watch(process_pb2.WatchRequest())

        async def until(status: Any, said: str) -> Any:
            while True:
                response = await call.read()
                assert response is not grpc.aio.EOF
                health = response.event.health
                # A busy machine may give a probe no time to say anything.
                if health.status == status and said in health.results[-1].output:
                    return health.results[-1]

        failed = await until(HEALTH_STATUS_UNHEALTHY, "No such file")
        assert failed.exit_code == -1
        assert failed.output.startswith("Health check exceeded timeout (1s): ")
        well.write_text("fine")
        succeeded = await until(HEALTH_STATUS_HEALTHY, "fine")
        assert (succeeded.exit_code, succeeded.output) == (0, "fine")
        call.cancel()

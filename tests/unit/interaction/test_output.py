"""Output reaches attached clients and the log whole, in order, and once."""

import asyncio
import errno
import hashlib
import os
import random
import time
from typing import Any
from unittest.mock import Mock

import grpc
import pytest
from vic.interaction.v1 import interaction_pb2, process_pb2
from vic.tether.v1 import tether_pb2

from portlayer.errors import (
    FailedPrecondition,
    NotFound,
    Reason,
    ResourceExhausted,
    Unavailable,
    domain_errors,
)
from services.interaction.streams import CLIENT_LIMIT
from tests.unit.interaction.fake_tether import BOOT, ERR, INIT, OUT, soon
from tests.unit.interaction.suite import CONTAINER, Suite

CHUNK = 512 * 1024


async def test_a_client_that_attached_before_the_start_misses_no_byte(suite: Suite) -> None:
    await suite.register()
    client = await suite.attach()
    tether = suite.tether()
    await tether.connect()
    await asyncio.gather(suite.launch(), tether.take_launch())
    stdio = await tether.stdio()
    await stdio.send(b"first ")
    await stdio.send(b"oops", ERR)
    await stdio.send(b"last")
    await stdio.close()
    assert await client.read_all() == b"first last"
    assert client.output[ERR] == b"oops"


async def test_the_exit_comes_after_the_last_byte(suite: Suite) -> None:
    async with suite.running() as tether:
        client = await suite.attach()
        stdio = await tether.stdio()
        await stdio.send(b"almost ")
        await stdio.settle()
        # A tether that reports too early: the exit has to wait for the end of the output.
        await tether.say(exited={"process_id": INIT, "exit_code": 3})
        await stdio.send(b"done")
        await stdio.settle()
        assert await suite.log_text() == b"almost done"
        await stdio.close()
        assert (await tether.command()).exit_acknowledged.process_id == INIT
        assert await client.read_all() == b"almost done"


async def test_all_attached_clients_see_all_output(suite: Suite) -> None:
    async with suite.running() as tether:
        everything, errors, late = await asyncio.gather(
            suite.attach(), suite.attach(stdout=False), suite.attach(stderr=False)
        )
        stdio = await tether.stdio()
        for number in range(50):
            await stdio.send(b"%d " % number, (OUT, ERR)[number % 2])
        await stdio.close()
        evens = b"".join(b"%d " % n for n in range(0, 50, 2))
        odds = b"".join(b"%d " % n for n in range(1, 50, 2))
        assert await everything.read_all() == evens
        assert everything.output[ERR] == odds
        assert (await errors.read_all(), bytes(errors.output[ERR])) == (b"", odds)
        assert (await late.read_all(), bytes(late.output[ERR])) == (evens, b"")


async def test_the_log_and_live_output_meet_without_a_gap(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        expected = b""
        clients = []
        for number in range(60):
            line = b"line %d\n" % number
            expected += line
            await stdio.send(line)
            if number % 7 == 3:
                clients.append(await suite.attach(logs=True))
        await stdio.close()
        for client in clients:
            assert await client.read_all() == expected


async def test_logs_alone_end(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.send(b"so far")
        await stdio.settle()
        client = await suite.attach(logs=True, stream=False)
        assert await client.read_all() == b"so far"


async def test_binary_of_every_kind_is_equal_in_attach_and_log(suite: Suite) -> None:
    async with suite.running() as tether:
        client = await suite.attach()
        stdio = await tether.stdio()
        sent = hashlib.sha256()
        chunks = [os.urandom(CHUNK) for _ in range(12)]
        chunks += [b"x" * CHUNK] * 5 + [b"\n"] + [b"\0\r\n" * 1000, b"no newline at the end"]

        async def produce() -> None:
            for chunk in chunks:
                sent.update(chunk)
                await stdio.send(chunk)
            await stdio.close()

        await asyncio.gather(produce(), client.read_all())
        assert hashlib.sha256(client.output[OUT]).digest() == sent.digest()
        assert hashlib.sha256(await suite.log_text()).digest() == sent.digest()


async def test_a_slow_client_holds_the_process_and_not_memory(suite: Suite) -> None:
    async with suite.running() as tether:
        client = await suite.attach()
        fast = await suite.attach()
        stdio = await tether.stdio()
        total = 64 * 1024 * 1024

        async def produce() -> None:
            for _ in range(total // CHUNK):
                await stdio.send(bytes(CHUNK))
            await stdio.close()

        producing = asyncio.create_task(produce())
        assert suite.service is not None
        streams = suite.service.sessions.get(CONTAINER).init.streams
        await soon(streams.changed.wait_for(lambda: any(queue.full for queue in streams._queues)))
        # Nobody reads: the sender comes to rest, long before its end.
        await asyncio.wait([producing], timeout=1)
        assert not producing.done()
        assert streams.stored * CHUNK < total / 2
        assert all(queue._size <= CLIENT_LIMIT + 3 * CHUNK for queue in streams._queues)
        # A client that goes frees the others; the one that reads gets everything.
        client.call.cancel()
        received = 0
        while await fast.read_some():
            received += len(fast.output[OUT])
            fast.output[OUT].clear()
        await producing
        assert received == total


async def test_output_without_a_client_is_stored_alone(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.send(b"nobody listens")
        await stdio.close()
        assert await suite.log_text() == b"nobody listens"


async def test_a_container_without_logs_says_so(suite: Suite) -> None:
    async with suite.running(discard_logs=True) as tether:
        client = await suite.attach()
        stdio = await tether.stdio()
        await stdio.send(b"seen once")
        await stdio.close()
        assert await client.read_all() == b"seen once"
        with pytest.raises(FailedPrecondition) as caught, domain_errors():
            await suite.logs()
        assert caught.value.reason is Reason.LOGS_NOT_KEPT
        assert not (suite.directory / "logs" / CONTAINER).exists()


async def test_an_unknown_container_is_not_found(suite: Suite) -> None:
    with pytest.raises(NotFound, match="No such container"), domain_errors():
        await suite.logs()
    call: Any = suite.interaction().Attach()
    start = interaction_pb2.AttachStart(container_id=CONTAINER)
    await call.write(interaction_pb2.AttachRequest(start=start))
    with pytest.raises(NotFound), domain_errors():
        await soon(call.read())


async def test_follow_goes_on_until_the_run_ends(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.send(b"one\n")
        await stdio.settle()
        request = interaction_pb2.LogsRequest(
            container_id=CONTAINER, stdout=True, stderr=True, follow=True, tail=-1
        )
        follower: Any = suite.interaction().Logs(request)
        # The first answer comes whatever was written: there is a log.
        assert list((await soon(follower.read())).entries) == []
        assert [e.data for e in (await soon(follower.read())).entries] == [b"one\n"]
        for number in range(3):
            await stdio.send(b"%d\n" % number)
            response = await soon(follower.read())
            assert b"".join(e.data for e in response.entries) == b"%d\n" % number
        await stdio.close()
        await tether.exit(0)
        assert await soon(follower.read()) is grpc.aio.EOF
        # What doesn't run is not followed.
        assert await suite.log_text(follow=True) == b"one\n0\n1\n2\n"


async def test_follow_ends_at_a_time(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.send(b"early\n")
        await stdio.settle()
        # The first answer, which tells that there is a log, comes all the same.
        request = interaction_pb2.LogsRequest(
            container_id=CONTAINER, stdout=True, follow=True, tail=-1, until={"seconds": 1}
        )
        follower: Any = suite.interaction().Logs(request)
        first = await soon(follower.read())
        assert first is not grpc.aio.EOF
        assert await soon(follower.read()) is grpc.aio.EOF
        now_ns = time.time_ns()
        until = {"seconds": now_ns // 10**9 + 1}
        await stdio.send(b"in time\n", time_ns=now_ns)
        await stdio.settle()
        assert await suite.log_text(follow=True, until=until) == b"early\nin time\n"
        # What was written by then is told, though that time is over.
        assert await suite.log_text(follow=True, until=until) == b"early\nin time\n"


async def test_entries_have_the_times_of_the_tether(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.send(b"a\nb", time_ns=1_700_000_000_123_456_789)
        await stdio.send(b"c\n", time_ns=1_700_000_001_000_000_001)
        await stdio.send(b"e", ERR, time_ns=1_700_000_002_000_000_002)
        await stdio.settle()
        entries = await suite.logs()
        assert [(e.time.ToNanoseconds(), e.stream, e.data, e.line_start) for e in entries] == [
            (1_700_000_000_123_456_789, OUT, b"a\nb", True),
            (1_700_000_001_000_000_001, OUT, b"c\n", False),
            (1_700_000_002_000_000_002, ERR, b"e", True),
        ]
        since = {"seconds": 1_700_000_001}
        assert await suite.log_text(since=since) == b"c\ne"
        assert await suite.log_text(until=since) == b"a\nb"
        assert await suite.log_text(tail=1) == b"e"
        assert await suite.log_text(tail=2) == b"bc\ne"
        assert await suite.log_text(stdout=False) == b"e"


async def test_logs_outlive_a_restart_and_removal_ends_them(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.send(b"kept\n")
        await stdio.close()
        await tether.exit(0)
    await suite.restart()
    assert await suite.log_text() == b"kept\n"
    await suite.processes().Unregister(process_pb2.UnregisterRequest(container_id=CONTAINER))
    assert not (suite.directory / "logs" / CONTAINER).exists()


async def test_attached_clients_of_a_stopping_service_learn_that_it_stops(suite: Suite) -> None:
    async with suite.running():
        client = await suite.attach()
        await suite.stop()
        with pytest.raises(Unavailable), domain_errors():
            await client.read_all()


async def test_a_log_is_rotated(suite: Suite) -> None:
    async with suite.running(log_max_size_bytes=1000, log_max_files=2) as tether:
        stdio = await tether.stdio()
        for number in range(200):
            await stdio.send(b"line %d\n" % number)
        await stdio.close()
        assert len(list((suite.directory / "logs" / CONTAINER).iterdir())) == 2
        text = await suite.log_text()
        assert text.endswith(b"line 198\nline 199\n")
        assert len(text) < 2000


async def test_output_of_a_former_boot_is_refused(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio(boot_id="former")
        with pytest.raises(FailedPrecondition), domain_errors():
            await soon(stdio.call.read())
        stdio = await tether.stdio(process_id="unknown", boot_id=BOOT)
        with pytest.raises(NotFound), domain_errors():
            await soon(stdio.call.read())


async def test_a_full_disk_holds_output_back_and_loses_none(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with suite.running() as tether:
        client = await suite.attach()
        stdio = await tether.stdio()
        await stdio.send(b"before ")
        await stdio.settle()
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwritev", Mock(side_effect=full))
            await stdio.send(b"and ")
            with pytest.raises(ResourceExhausted) as caught, domain_errors():
                while await soon(stdio.call.read()) is not grpc.aio.EOF:
                    pass
            assert caught.value.reason is Reason.STORE_FULL
        again = await tether.stdio(sequence=2)
        for chunk in (b"and ", b"after"):
            await again.send(chunk)
        await again.close()
        assert await client.read_all() == b"before and after"
        assert await suite.log_text() == b"before and after"


@pytest.mark.parametrize(
    ("out", "err"),
    [
        (b"", b""),
        (b"a line\n", b"an error\n"),
        (b"no newline at the end", b""),
        (b"x" * 1_048_576 + b"\n", b""),
        (b"y" * 16_383 + b"\n" + b"z" * 16_385 + b"\n", b"\n"),
        (bytes(range(256)) * 2000, bytes(range(255, -1, -1)) * 500),
        ("\N{SNOWMAN} ä €\n".encode() * 3000, "\N{SNOWMAN}".encode() * 100),
        (b"".join(b"%d\n" % number for number in range(20_000)), b""),
        (b"\n" * 5000, b"\r\n" * 5000),
        (b"out\n" * 3000, b"err\n" * 3000),
    ],
    ids=lambda data: f"{data[:8]!r}*{len(data)}",
)
async def test_whatever_is_written_and_however_it_is_cut_the_log_has_the_same_bytes(
    suite: Suite, out: bytes, err: bytes
) -> None:
    cuts = random.Random(len(out))
    async with suite.running() as tether:
        client = await suite.attach()
        stdio = await tether.stdio()
        left = {OUT: out, ERR: err}

        async def produce() -> None:
            while any(left.values()):
                stream = cuts.choice([stream for stream, rest in left.items() if rest])
                size = cuts.choice([1, 100, 4096, 65_536])
                await stdio.send(left[stream][:size], stream)
                left[stream] = left[stream][size:]
            await stdio.close()

        await asyncio.gather(produce(), client.read_all())
    for stream, written in ((OUT, out), (ERR, err)):
        sent = hashlib.sha256(written).digest()
        assert hashlib.sha256(client.output[stream]).digest() == sent
        only = {"stdout": stream == OUT, "stderr": stream == ERR}
        assert hashlib.sha256(await suite.log_text(**only)).digest() == sent


async def test_a_reader_of_the_log_goes_on_where_it_was_after_a_restart(suite: Suite) -> None:
    async with suite.running(log_max_size_bytes=200, log_max_files=9) as tether:
        stdio = await tether.stdio()
        for number in range(10):
            await stdio.send(b"before %d\n" % number)
        await stdio.settle()
        request = interaction_pb2.LogsRequest(container_id=CONTAINER, stdout=True, tail=2)
        answers = [answer async for answer in suite.interaction().Logs(request)]
        read = [entry.data for answer in answers for entry in answer.entries]
        assert read == [b"before 8\n", b"before 9\n"]
        await suite.restart()
        tether = suite.tether()
        state = tether_pb2.ProcessState(process_id=INIT, pid=42, started_at={"seconds": 1000})
        await tether.connect(processes=[state])
        stdio = await tether.stdio(sequence=11)
        await stdio.send(b"after\n")
        await stdio.settle()
        request.after = answers[-1].position
        answers = [answer async for answer in suite.interaction().Logs(request)]
        assert [entry.data for answer in answers for entry in answer.entries] == [b"after\n"]
    request.after = "nowhere"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in suite.interaction().Logs(request):
            pass
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT

"""Files of a container: through a process of its tether's that lives as long as a client's call."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from vic.interaction.v1 import interaction_pb2

from portlayer.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    VicError,
    domain_errors,
)
from tests.unit.interaction.suite import CONTAINER, ERR, FakeStdio, FakeTether, Suite, soon

STAT = {"name": "passwd", "size": 7, "mode": 0o100644, "mtime_ns": 5, "link_target": ""}


def line(**message: Any) -> bytes:
    """What a process says of a path, or of its failure."""
    return json.dumps(message).encode() + b"\n"


async def begun(tether: FakeTether, task: str, path: str) -> tuple[str, FakeStdio]:
    """Take a launch, which is to be a task with files; return its ID and its streams."""
    launch = await tether.take_launch()
    files = launch.process.files
    assert files.WhichOneof("task") == task
    assert getattr(files, task).path == path
    return launch.process_id, await tether.stdio(launch.process_id)


async def done(tether: FakeTether, process_id: str, stdio: FakeStdio, code: int = 0) -> None:
    """End a process in order."""
    await stdio.close()
    await tether.exit(code, process_id)


def stat(suite: Suite, path: str) -> "asyncio.Future[Any]":
    """Ask what a path is."""
    request = interaction_pb2.StatPathRequest(container_id=CONTAINER, path=path)
    return asyncio.ensure_future(suite.interaction().StatPath(request))


async def test_a_path_is_described(suite: Suite) -> None:
    async with suite.running() as tether:
        asking = stat(suite, "/etc/passwd")
        process_id, stdio = await begun(tether, "stat", "/etc/passwd")
        # However it comes in pieces; a name that is no UTF-8 is told as far as it is.
        said = line(**{**STAT, "name": "odd-\udcff"})
        await stdio.send(said[:20])
        await stdio.send(said[20:])
        await done(tether, process_id, stdio)
        described = (await soon(asking)).stat
        assert (described.name, described.size, described.mode) == ("odd-\ufffd", 7, 0o100644)
        assert described.modified_at.ToNanoseconds() == 5
        # It was no exec, and nothing is left of it.
        listed = await suite.interaction().ListExecs(
            interaction_pb2.ListExecsRequest(container_id=CONTAINER)
        )
        assert list(listed.exec_ids) == []
        assert suite.service is not None
        assert set(suite.service.sessions.get(CONTAINER).processes) == {"init"}


@pytest.mark.parametrize(
    ("said", "error", "reason"),
    [
        (line(kind="not_found", message=""), NotFound, Reason.PATH_NOT_FOUND),
        (line(kind="not_directory", message="no"), InvalidArgument, Reason.PATH_NOT_DIRECTORY),
        (line(kind="read_only", message="no"), PermissionDenied, Reason.PATH_READ_ONLY),
        (line(kind="invalid", message="no"), InvalidArgument, Reason.INVALID_ARCHIVE),
        (line(kind="failed", message="no"), Internal, Reason.INTERNAL),
        (b"it broke\n", Internal, Reason.INTERNAL),
        (b"[" * 10_000, Internal, Reason.INTERNAL),
        (b"", Internal, Reason.INTERNAL),
    ],
)
async def test_what_goes_wrong_there_is_told(
    suite: Suite, said: bytes, error: type[VicError], reason: Reason
) -> None:
    async with suite.running() as tether:
        asking = stat(suite, "/x")
        process_id, stdio = await begun(tether, "stat", "/x")
        if said:
            await stdio.send(said, ERR)
        await done(tether, process_id, stdio, code=1)
        with pytest.raises(error) as raised:
            await soon(asking)
        assert raised.value.reason is reason


@pytest.mark.parametrize(
    "said",
    [
        b"no description\n",
        line(name="x"),
        line(**{**STAT, "mtime_ns": 10**40}),
        line(**{**STAT, "size": "7"}),
        b"x" * 100_000,
    ],
)
async def test_descriptions_that_cant_be_are_refused(suite: Suite, said: bytes) -> None:
    async with suite.running() as tether:
        asking = stat(suite, "/x")
        process_id, stdio = await begun(tether, "stat", "/x")
        await stdio.send(said)
        with pytest.raises(Internal):
            await soon(asking)
        command = await tether.command()
        assert (command.signal.process_id, command.signal.signal) == (process_id, 9)


async def test_a_tar_comes_whole(suite: Suite) -> None:
    async with suite.running() as tether:
        request = interaction_pb2.GetArchiveRequest(container_id=CONTAINER, path="/data")
        call: Any = suite.interaction().GetArchive(request)
        process_id, stdio = await begun(tether, "read", "/data")
        content = bytes(range(256)) * 1024
        await stdio.send(line(**STAT) + b"first")
        sending = asyncio.ensure_future(_send_all(stdio, content, 16))
        assert (await soon(call.read())).stat.name == "passwd"
        received = bytearray()
        while len(received) < len(b"first") + 16 * len(content):
            received += (await soon(call.read())).data
        await soon(sending)
        await done(tether, process_id, stdio)
        assert await soon(call.read()) is grpc.aio.EOF
        assert bytes(received) == b"first" + 16 * content


async def _send_all(stdio: FakeStdio, piece: bytes, times: int) -> None:
    for _ in range(times):
        await stdio.send(piece)


async def test_a_client_that_goes_has_the_process_killed(suite: Suite) -> None:
    async with suite.running() as tether:
        request = interaction_pb2.GetArchiveRequest(container_id=CONTAINER, path="/data")
        call: Any = suite.interaction().GetArchive(request)
        process_id, stdio = await begun(tether, "read", "/data")
        await stdio.send(line(**STAT))
        assert (await soon(call.read())).stat.name == "passwd"
        call.cancel()
        command = await tether.command()
        assert (command.signal.process_id, command.signal.signal) == (process_id, 9)


async def test_a_tar_goes_in_with_its_end(suite: Suite) -> None:
    async with suite.running() as tether:
        call: Any = suite.interaction().PutArchive()
        start = interaction_pb2.PutArchiveStart(
            container_id=CONTAINER, path="/in", no_overwrite_dir_non_dir=True, owner="app"
        )
        await call.write(interaction_pb2.PutArchiveRequest(start=start))
        launch = await tether.take_launch()
        assert launch.process.stdin
        write = launch.process.files.write
        assert (write.path, write.owner, write.no_overwrite_dir_non_dir) == ("/in", "app", True)
        stdio = await tether.stdio(launch.process_id)
        await call.write(interaction_pb2.PutArchiveRequest(data=b"a tar"))
        assert await stdio.take_input(5) == b"a tar"
        await call.done_writing()
        while (await stdio.read()).WhichOneof("message") != "stdin_end":
            pass
        await done(tether, launch.process_id, stdio)
        with domain_errors():
            assert await soon(call) == interaction_pb2.PutArchiveResponse()


async def test_nothing_is_asked_of_a_container_that_does_not_run(suite: Suite) -> None:
    await suite.register()
    with pytest.raises(FailedPrecondition) as refusal:
        await soon(stat(suite, "/x"))
    assert refusal.value.reason is Reason.NOT_RUNNING

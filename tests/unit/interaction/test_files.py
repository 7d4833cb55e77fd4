"""Files of a container: through a process of its tether's that lives as long as a client's call."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from vic.exec.v1 import exec_pb2
from vic.interaction.v1 import interaction_pb2, process_pb2

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
from services.interaction.holding import Reached
from tests.unit.interaction.fake_tether import BOOT, ERR, FakeStdio, FakeTether, soon
from tests.unit.interaction.suite import CONTAINER, Suite

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


UTILITY = "utility-1"


@asynccontextmanager
async def admitted(suite: Suite, **reached: Any) -> AsyncIterator[FakeTether]:
    """Yield the tether of a utility VM, which exec gives to whoever asks."""
    await suite.register()
    tether = suite.tether()
    await tether.connect(UTILITY)
    request = process_pb2.AdmitRequest(container_id=CONTAINER, boot_id=UTILITY)
    await suite.processes().Admit(request)
    suite.holder.reached = Reached(boot_id=UTILITY, utility=True, **reached)
    yield tether


async def test_files_of_what_does_not_run_are_reached_where_exec_says(suite: Suite) -> None:
    async with admitted(suite) as tether:
        asking = stat(suite, "/x")
        launch = await tether.take_launch()
        assert suite.holder.holds == 1
        stdio = await tether.stdio(launch.process_id, boot_id=UTILITY)
        await stdio.send(line(**STAT))
        await done(tether, launch.process_id, stdio)
        assert (await soon(asking)).stat.name == "passwd"
        assert suite.holder.asked == [(CONTAINER, exec_pb2.VOLUME_REACH_READ, False)]
        assert suite.holder.holds == 0
        # To everybody else the container is as stopped as before.
        with pytest.raises(FailedPrecondition) as refused:
            await suite.interaction().Top(interaction_pb2.TopRequest(container_id=CONTAINER))
        assert refused.value.reason is Reason.NOT_RUNNING


async def test_what_is_written_there_is_on_the_disk_before_it_is_confirmed(suite: Suite) -> None:
    async with admitted(suite, root_read_only=True) as tether:
        call: Any = suite.interaction().PutArchive()
        start = interaction_pb2.PutArchiveStart(container_id=CONTAINER, path="/in")
        await call.write(interaction_pb2.PutArchiveRequest(start=start))
        write = (await tether.take_launch()).process.files.write
        assert (write.sync, write.root_read_only) == (True, True)
        assert suite.holder.asked[0][1] == exec_pb2.VOLUME_REACH_WRITE
        call.cancel()


async def test_work_ends_when_exec_takes_the_files_back(suite: Suite) -> None:
    async with admitted(suite) as tether:
        asking = stat(suite, "/x")
        process_id = (await tether.take_launch()).process_id
        suite.holder.error = FailedPrecondition("taken", Reason.FILES_TAKEN)
        suite.holder.taken.set()
        with pytest.raises(FailedPrecondition) as refused:
            await soon(asking)
        assert refused.value.reason is Reason.FILES_TAKEN
        command = await tether.command()
        assert (command.signal.process_id, command.signal.signal) == (process_id, 9)


async def test_a_container_that_ends_before_the_work_begins_is_reached_as_one_that_has(
    suite: Suite,
) -> None:
    async with suite.running() as tether:
        suite.holder.there.clear()
        asking = stat(suite, "/x")
        assert (await tether.command()).WhichOneof("message") == "launch"
        # The VM goes, and exec forks another.
        retire = process_pb2.RetireRequest(container_id=CONTAINER, boot_id=BOOT)
        await suite.processes().Retire(retire)
        other = suite.tether()
        await other.connect(UTILITY)
        request = process_pb2.AdmitRequest(container_id=CONTAINER, boot_id=UTILITY)
        await suite.processes().Admit(request)
        suite.holder.reached = Reached(boot_id=UTILITY, utility=True)
        suite.holder.there.set()
        launch = await other.take_launch()
        stdio = await other.stdio(launch.process_id, boot_id=UTILITY)
        await stdio.send(line(**STAT))
        await done(other, launch.process_id, stdio)
        assert (await soon(asking)).stat.name == "passwd"
        assert suite.holder.ended == [BOOT]


async def test_changes_of_a_container_that_runs_need_its_images_disk(suite: Suite) -> None:
    async with suite.running() as tether:
        suite.holder.reached = Reached(boot_id=BOOT, image_lun=255)
        call: Any = suite.interaction().Changes(
            interaction_pb2.ChangesRequest(container_id=CONTAINER)
        )
        launch = await tether.take_launch()
        assert launch.process.files.changes.image_lun == 255
        assert suite.holder.asked == [(CONTAINER, exec_pb2.VOLUME_REACH_UNSPECIFIED, True)]
        stdio = await tether.stdio(launch.process_id)
        told = b"C/etc\0A/etc/odd-\xff\0D/etc/gone\0"
        await stdio.send(line(**STAT) + told[:9])
        await stdio.send(told[9:])
        await done(tether, launch.process_id, stdio)
        changes = []
        while (answer := await soon(call.read())) is not grpc.aio.EOF:
            changes += [(change.kind, change.path) for change in answer.changes]
        assert changes == [
            (interaction_pb2.CHANGE_KIND_MODIFIED, "/etc"),
            (interaction_pb2.CHANGE_KIND_ADDED, "/etc/odd-\ufffd"),
            (interaction_pb2.CHANGE_KIND_DELETED, "/etc/gone"),
        ]


@pytest.mark.parametrize("said", [b"X/etc\0", b"Cetc\0", b"\0", b"C/" + b"x" * 100_000])
async def test_changes_that_cant_be_are_refused(suite: Suite, said: bytes) -> None:
    async with suite.running() as tether:
        suite.holder.reached = Reached(boot_id=BOOT, image_lun=255)
        call: Any = suite.interaction().Changes(
            interaction_pb2.ChangesRequest(container_id=CONTAINER)
        )
        launch = await tether.take_launch()
        stdio = await tether.stdio(launch.process_id)
        await stdio.send(line(**STAT) + said)
        with pytest.raises(Internal), domain_errors():
            await soon(call.read())


@pytest.mark.parametrize(("freeze", "runs"), [(True, True), (False, True), (True, False)])
async def test_a_layer_holds_the_workload_where_there_is_one(
    suite: Suite, freeze: bool, runs: bool
) -> None:
    async with suite.running() as tether:
        suite.holder.reached = Reached(boot_id=BOOT, utility=not runs, image_lun=255)
        request = interaction_pb2.GetLayerRequest(container_id=CONTAINER, freeze=freeze)
        call: Any = suite.interaction().GetLayer(request)
        launch = await tether.take_launch()
        assert launch.process.files.layer.freeze == (freeze and runs)
        stdio = await tether.stdio(launch.process_id)
        await stdio.send(line(**STAT))
        assert (await soon(call.read())).data == b""
        await stdio.send(b"a tar")
        assert (await soon(call.read())).data == b"a tar"
        await done(tether, launch.process_id, stdio)
        assert await soon(call.read()) is grpc.aio.EOF

"""Additional processes of a running container."""

import asyncio
from typing import Any

import pytest
from vic.interaction.v1 import interaction_pb2
from vic.interaction.v1 import process_pb2 as interaction_process_pb2
from vic.tether.v1 import process_pb2, tether_pb2

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    Reason,
    VicError,
    domain_errors,
)
from tests.unit.interaction.fake_tether import ERR, OUT, FakeTether, soon
from tests.unit.interaction.suite import CONTAINER, Attached, Suite

EXEC = "ec" * 32


async def create(suite: Suite, exec_id: str = EXEC, stdin: bool = True, **process: Any) -> str:
    """Make an exec."""
    request = interaction_pb2.CreateExecRequest(
        container_id=CONTAINER,
        exec_id=exec_id,
        process=process_pb2.ProcessSpec(args=["cat"], stdin=stdin, **process),
    )
    return (await suite.interaction().CreateExec(request)).exec_id


async def start(suite: Suite, exec_id: str = EXEC, detach: bool = False) -> Attached:
    """Start an exec; return after Ready."""
    call: Any = suite.interaction().StartExec()
    begin = interaction_pb2.StartExecStart(exec_id=exec_id, detach=detach)
    await call.write(interaction_pb2.StartExecRequest(start=begin))
    with domain_errors():
        ready = await soon(call.read())
    return Attached(call, ready.ready.tty)


async def inspect(suite: Suite, exec_id: str = EXEC) -> interaction_pb2.InspectExecResponse:
    """Return an exec's state."""
    request = interaction_pb2.InspectExecRequest(exec_id=exec_id)
    return await suite.interaction().InspectExec(request)


async def runs(suite: Suite, exec_id: str = EXEC) -> None:
    """Return when it is known that an exec runs."""
    assert suite.service is not None
    session = suite.service.sessions.get(CONTAINER)
    await soon(session.changed.wait_for(lambda: session.execs[exec_id].running))


async def test_an_exec_runs_with_all_its_streams_and_its_code(suite: Suite) -> None:
    async with suite.running() as tether:
        assert await create(suite) == EXEC
        state = await inspect(suite)
        assert (state.running, state.HasField("exit_code")) == (False, False)
        client = await start(suite)
        command = await tether.take_launch(pid=55)
        assert (command.process_id, command.init) == (EXEC, False)
        assert list(command.process.args) == ["cat"]
        assert not command.HasField("limits")
        stdio = await tether.stdio(EXEC)
        await client.call.write(interaction_pb2.StartExecRequest(stdin=b"ping"))
        assert await stdio.take_input(4) == b"ping"
        await client.call.done_writing()
        assert (await stdio.read()).stdin_end.offset == 4
        await runs(suite)
        state = await inspect(suite)
        assert (state.running, state.pid, state.container_id) == (True, 55, CONTAINER)
        await stdio.send(b"pong")
        await stdio.send(b"err", ERR)
        await stdio.close()
        assert await client.read_until(OUT, 4) == b"pong"
        # The stream ends when the code is known, which the client asks for next.
        ending = asyncio.create_task(client.read_all())
        await tether.exit(5, EXEC)
        await ending
        assert client.output[ERR] == b"err"
        state = await inspect(suite)
        assert (state.running, state.exit_code) == (False, 5)
        assert await suite.log_text() == b""


async def test_a_detached_exec_runs_on_alone(suite: Suite) -> None:
    async with suite.running() as tether:
        await create(suite)
        starting = asyncio.create_task(start(suite, detach=True))
        await tether.take_launch()
        client = await starting
        assert await client.read_all() == b""
        stdio = await tether.stdio(EXEC)
        await stdio.send(b"unheard")
        await stdio.close()
        await tether.exit(0, EXEC)
        assert (await inspect(suite)).exit_code == 0


async def test_a_client_that_goes_leaves_the_exec_running(suite: Suite) -> None:
    async with suite.running() as tether:
        await create(suite)
        client = await start(suite)
        client.call.cancel()
        await tether.take_launch()
        stdio = await tether.stdio(EXEC)
        assert (await stdio.read()).WhichOneof("message") == "stdin_end"
        await stdio.send(b"unheard")
        await stdio.close()
        await tether.exit(3, EXEC)
        assert (await inspect(suite)).exit_code == 3


async def test_the_end_of_an_execs_input_is_confirmed(suite: Suite) -> None:
    async with suite.running() as tether:
        await create(suite)
        client = await start(suite)
        await tether.take_launch()
        await client.call.write(interaction_pb2.StartExecRequest(stdin=b"ping"))
        await client.finish_input()
        client.call.cancel()
        stdio = await tether.stdio(EXEC)
        assert await stdio.take_input(4) == b"ping"
        assert (await stdio.read()).stdin_end.offset == 4


async def test_input_of_an_exec_without_stdin_is_ignored(suite: Suite) -> None:
    async with suite.running() as tether:
        await create(suite, stdin=False)
        client = await start(suite)
        await tether.take_launch()
        await client.call.done_writing()
        stdio = await tether.stdio(EXEC)
        await stdio.send(b"out")
        await stdio.close()
        await tether.exit(0, EXEC)
        assert await client.read_all() == b"out"
        assert not client.input_ended


async def test_an_exec_that_cannot_start_has_code_and_reason(suite: Suite) -> None:
    async with suite.running() as tether:
        await create(suite)
        client = await start(suite)
        await tether.command()
        await tether.say(
            launch_failed={
                "process_id": EXEC,
                "reason": tether_pb2.LAUNCH_FAILURE_NOT_EXECUTABLE,
                "message": "permission denied",
                "exit_code": 126,
            }
        )
        # It is on record: the tether keeps it no longer.
        assert (await tether.command()).exit_acknowledged.process_id == EXEC
        with pytest.raises(FailedPrecondition) as caught, domain_errors():
            await client.read_all()
        assert caught.value.reason is Reason.LAUNCH_FAILED
        assert caught.value.metadata["exit_code"] == "126"
        assert (await inspect(suite)).exit_code == 126
        with pytest.raises(FailedPrecondition, match="exec process is not started") as caught:
            await suite.interaction().Resize(
                interaction_pb2.ResizeRequest(container_id=CONTAINER, exec_id=EXEC)
            )
        assert caught.value.reason is Reason.LAUNCH_FAILED
        await suite.restart()
        assert (await inspect(suite)).exit_code == 126


async def test_an_exec_is_made_once_and_started_once(suite: Suite) -> None:
    async with suite.running() as tether:
        assert await create(suite) == await create(suite) == EXEC
        with pytest.raises(AlreadyExists):
            await create(suite, tty=True)
        await start(suite)
        await tether.take_launch()
        with pytest.raises(FailedPrecondition, match="already running"):
            await start(suite)
        await tether.exit(0, EXEC)
        with pytest.raises(FailedPrecondition, match="already run"):
            await start(suite)


async def test_the_service_chooses_an_id(suite: Suite) -> None:
    async with suite.running():
        first, second = await create(suite, ""), await create(suite, "")
        assert len(first) == len(second) == 64
        assert first != second


async def test_an_exec_in_a_container_that_does_not_run_is_refused(suite: Suite) -> None:
    await suite.register()
    with pytest.raises(FailedPrecondition) as caught:
        await create(suite)
    assert caught.value.reason is Reason.NOT_RUNNING
    for call in (inspect, start):
        with pytest.raises(NotFound) as missing:
            await call(suite)
        assert missing.value.reason is Reason.EXEC_NOT_FOUND


async def test_an_exec_outlives_a_restart(suite: Suite) -> None:
    async with suite.running() as tether:
        await create(suite)
        starting = asyncio.create_task(start(suite, detach=True))
        await tether.take_launch()
        await starting
        await suite.restart()
        again = suite.tether()
        states = [
            tether_pb2.ProcessState(process_id=process_id, pid=42, started_at={"seconds": 1})
            for process_id in ("init", EXEC)
        ]
        await again.connect(processes=states)
        assert (await inspect(suite)).running
        await again.exit(6, EXEC)
        assert (await inspect(suite)).exit_code == 6


async def test_fifty_execs_at_once(suite: Suite) -> None:
    async with suite.running() as tether:
        ids = [f"{number:064x}" for number in range(50)]

        async def serve() -> None:
            for number in range(50):
                command = await tether.take_launch()
                stdio = await tether.stdio(command.process_id)
                await stdio.send(command.process_id.encode())
                await stdio.close()
                await tether.say(
                    exited={"process_id": command.process_id, "exit_code": number % 10}
                )

        async def run(exec_id: str) -> bytes:
            await create(suite, exec_id)
            return await (await start(suite, exec_id)).read_all()

        # Exits are acknowledged between launches; the fake takes no notice.
        tether.command = _launches_of(tether)  # type: ignore[method-assign]
        results, _ = await asyncio.gather(asyncio.gather(*map(run, ids)), serve())
        assert [output.decode() for output in results] == ids


def _launches_of(tether: FakeTether) -> Any:
    read = tether.command

    async def command() -> Any:
        while (message := await read()).WhichOneof("message") != "launch":
            pass
        return message

    return command


async def test_execs_that_have_not_ended_are_listed(suite: Suite) -> None:
    async def listed() -> list[str]:
        request = interaction_pb2.ListExecsRequest(container_id=CONTAINER)
        return list((await suite.interaction().ListExecs(request)).exec_ids)

    async with suite.running() as tether:
        assert await listed() == []
        await create(suite)
        assert await listed() == [EXEC]
        await start(suite)
        await tether.take_launch()
        assert await listed() == [EXEC]
        await tether.exit(0, EXEC)
        assert await listed() == []


async def test_an_exec_gives_the_streams_that_were_asked_for(suite: Suite) -> None:
    async with suite.running() as tether:
        request = interaction_pb2.CreateExecRequest(
            container_id=CONTAINER,
            exec_id=EXEC,
            process={"args": ["cat"]},
            streams={"stderr": True, "detach_keys": "ctrl-a"},
        )
        await suite.interaction().CreateExec(request)
        client = await start(suite)
        await tether.take_launch()
        stdio = await tether.stdio(EXEC)
        await stdio.send(b"out")
        await stdio.send(b"err", ERR)
        await stdio.close()
        await tether.exit(0, EXEC)
        assert await client.read_all() == b""
        assert client.output[ERR] == b"err"
        streams = (await inspect(suite)).streams
        assert (streams.stdout, streams.stderr, streams.detach_keys) == (False, True, "ctrl-a")


async def test_exec_the_facet_is_told_what_becomes_of_what_clients_run(suite: Suite) -> None:
    async with suite.running() as tether:
        await create(suite)
        client = await start(suite)
        await tether.take_launch()
        await tether.exit(0, EXEC)
        await client.read_all()
        watch: Any = suite.processes().Watch(interaction_process_pb2.WatchRequest())
        seen = [(await soon(watch.read())).event for _ in range(5)][1:]
        assert [event.process_id for event in seen] == ["init", EXEC, EXEC, EXEC]
        assert [event.WhichOneof("event") for event in seen[1:]] == ["created", "running", "ended"]
        assert [event.command for event in seen] == ["", "cat", "cat", "cat"]
        watch.cancel()


async def test_execs_end_with_their_vm(suite: Suite) -> None:
    async with suite.running() as tether:
        await create(suite)
        client = await start(suite)
        await tether.take_launch()
        await runs(suite)
        assert suite.service is not None
        await suite.service.sessions.get(CONTAINER).retire("b001")
        assert await client.read_all() == b""
        assert (await inspect(suite)).exit_code == 137
        with pytest.raises(VicError):
            await create(suite, "ed" * 32)

"""Terminals of additional processes: their end of input, and their size."""

import asyncio
from typing import Any

import pytest
from vic.interaction.v1 import interaction_pb2

from portlayer.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Reason,
)
from services.interaction import execs
from tests.unit.interaction.fake_tether import soon
from tests.unit.interaction.suite import CONTAINER, Suite
from tests.unit.interaction.test_execs import EXEC, create, runs, start


async def test_the_end_of_input_detaches_a_client_from_an_execs_terminal(suite: Suite) -> None:
    async with suite.running() as tether:
        await create(suite, tty=True)
        client = await start(suite)
        await tether.take_launch()
        await client.call.write(interaction_pb2.StartExecRequest(stdin=b"ls\n"))
        await client.call.done_writing()
        assert await client.read_all() == b""
        await runs(suite)
        stdio = await tether.stdio(EXEC)
        assert await stdio.take_input(3) == b"ls\n"
        # It would come before this acknowledgement.
        await stdio.send(b"$ ")
        assert (await stdio.read()).WhichOneof("message") == "output_acknowledged"


async def test_resize_goes_to_a_terminal_only(suite: Suite) -> None:
    async with suite.running() as tether:
        await create(suite, tty=True)
        await start(suite)
        await tether.take_launch()
        request = interaction_pb2.ResizeRequest(
            container_id=CONTAINER, exec_id=EXEC, window={"rows": 24, "columns": 80}
        )
        resizing = asyncio.ensure_future(suite.interaction().Resize(request))
        command = (await tether.command()).resize
        assert (command.process_id, command.window.rows, command.window.columns) == (EXEC, 24, 80)
        await tether.say(result={"command_id": command.command_id})
        await resizing
        # As with dockerd, without a terminal there is nothing to do.
        request.exec_id = ""
        await suite.interaction().Resize(request)
        request.exec_id = "99" * 32
        with pytest.raises(FailedPrecondition) as caught:
            await suite.interaction().Resize(request)
        assert caught.value.reason is Reason.NOT_RUNNING


async def test_a_resize_waits_for_somebody_to_start_the_exec(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with suite.running() as tether:
        await create(suite, tty=True)
        request = interaction_pb2.ResizeRequest(
            container_id=CONTAINER, exec_id=EXEC, window={"rows": 24, "columns": 80}
        )
        monkeypatch.setattr(execs, "CLAIM_SECONDS", 0.01)
        with pytest.raises(DeadlineExceeded) as caught:
            await suite.interaction().Resize(request)
        assert caught.value.message == "timeout waiting for exec session ready"
        assert caught.value.reason is Reason.EXEC_NOT_STARTED
        monkeypatch.setattr(execs, "CLAIM_SECONDS", 60.0)
        resizing = asyncio.ensure_future(suite.interaction().Resize(request))
        await start(suite)
        await tether.take_launch()
        command = (await tether.command()).resize
        assert (command.window.rows, command.window.columns) == (24, 80)
        await tether.say(result={"command_id": command.command_id})
        await soon(resizing)


async def test_the_terminals_size_may_be_given_at_the_start_and_while_it_starts(
    suite: Suite,
) -> None:
    async with suite.running() as tether:
        await create(suite, tty=True, window={"rows": 1, "columns": 2})
        call: Any = suite.interaction().StartExec()
        begin = interaction_pb2.StartExecStart(exec_id=EXEC, window={"rows": 24, "columns": 80})
        await call.write(interaction_pb2.StartExecRequest(start=begin))
        await soon(call.read())
        resizing = asyncio.ensure_future(
            suite.interaction().Resize(
                interaction_pb2.ResizeRequest(
                    container_id=CONTAINER, exec_id=EXEC, window={"rows": 25, "columns": 90}
                )
            )
        )
        launch = await tether.take_launch()
        assert (launch.process.window.rows, launch.process.window.columns) == (24, 80)
        command = (await tether.command()).resize
        assert (command.window.rows, command.window.columns) == (25, 90)
        await tether.say(result={"command_id": command.command_id})
        await soon(resizing)

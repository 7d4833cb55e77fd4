"""Use of resources and lists of processes, as tethers tell them and clients get them."""

import asyncio
from typing import Any

import grpc
import pytest
from vic.interaction.v1 import interaction_pb2, process_pb2
from vic.tether.v1 import tether_pb2

from portlayer.errors import FailedPrecondition, InvalidArgument, Reason, domain_errors
from services.interaction import watching
from tests.unit.interaction.fake_tether import FakeTether, soon
from tests.unit.interaction.suite import CONTAINER, Suite


def watch(suite: Suite, stream: bool = True) -> Any:
    """Watch the container's use."""
    request = interaction_pb2.StatsRequest(container_id=CONTAINER, stream=stream)
    return suite.interaction().Stats(request)


async def period(tether: FakeTether) -> int:
    """What the tether is asked for next."""
    command = await tether.command()
    assert command.WhichOneof("message") == "stats", command
    return int(command.stats.period_ms)


async def start_watched(tether: FakeTether) -> None:
    """Start the init process when told to, and be asked for samples before that or after."""
    asked: dict[str, Any] = {}
    while asked.keys() != {"launch", "stats"}:
        command = await tether.command()
        kind = command.WhichOneof("message")
        assert kind not in asked
        asked[kind] = command
    assert asked["stats"].stats.period_ms == 1000
    assert asked["launch"].launch.init
    await tether.start(asked["launch"].launch)


async def top(suite: Suite, *ps_args: str) -> interaction_pb2.TopResponse:
    """List the processes."""
    request = interaction_pb2.TopRequest(container_id=CONTAINER, ps_args=ps_args)
    with domain_errors():
        return await suite.interaction().Top(request)


async def test_a_tether_is_asked_only_while_somebody_watches(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None is told again here, however slow the machine is.
    monkeypatch.setattr(watching, "_LATE", 600.0)
    async with suite.running() as tether:
        first = watch(suite)
        assert await period(tether) == 1000
        await tether.say(stats={"pids": 3})
        assert (await soon(first.read())).sample.pids == 3
        second = watch(suite, stream=False)
        # Shared: the tether is not asked again.
        reading = asyncio.ensure_future(second.read())
        while not reading.done():
            await tether.say(stats={"pids": 4})
            assert (await soon(first.read())).sample.pids == 4
            await asyncio.wait([reading], timeout=0.05)
        assert (await reading).sample.pids == 4
        assert await soon(second.read()) is grpc.aio.EOF
        first.cancel()
        assert await period(tether) == 0


async def test_nothing_runs_and_then_it_does(suite: Suite) -> None:
    await suite.register()
    call = watch(suite)
    assert not (await soon(call.read())).HasField("sample")
    tether = suite.tether()
    await tether.connect()
    launching = asyncio.ensure_future(suite.launch())
    await start_watched(tether)
    await launching
    await tether.say(stats={"pids": 9})
    async with asyncio.timeout(60):
        while not (response := await call.read()).HasField("sample"):
            pass
    assert response.sample.pids == 9
    call.cancel()


async def test_a_sample_is_repeated_while_the_machine_stands_still(suite: Suite) -> None:
    async with suite.running() as tether:
        call = watch(suite)
        await period(tether)
        await tether.say(stats={"pids": 5})
        assert [(await soon(call.read())).sample.pids for _ in range(2)] == [5, 5]
        call.cancel()


async def test_a_tether_that_comes_back_is_asked_again(suite: Suite) -> None:
    async with suite.running() as tether:
        call = watch(suite)
        await period(tether)
        state = tether_pb2.ProcessState(process_id="init", pid=42)
        tether.control.cancel()
        await tether.connect(processes=[state])
        assert await period(tether) == 1000
        call.cancel()


async def test_watching_ends_with_the_container(suite: Suite) -> None:
    await suite.register()
    call = watch(suite)
    await soon(call.read())

    await suite.processes().Unregister(process_pb2.UnregisterRequest(container_id=CONTAINER))
    async with asyncio.timeout(60):
        while await call.read() is not grpc.aio.EOF:
            pass
    assert await call.code() is grpc.StatusCode.OK


async def test_a_list_is_put_together_from_its_parts(suite: Suite) -> None:
    async with suite.running() as tether:
        listing = asyncio.ensure_future(top(suite, "-o", "pid"))
        command = (await tether.command()).top
        assert list(command.ps_args) == ["-o", "pid"]
        number = command.command_id
        await tether.say(process_list={"command_id": number + 1, "complete": True})
        part: Any = {"command_id": number, "titles": ["PID"], "rows": [{"columns": ["1"]}]}
        await tether.say(process_list=part)
        last: Any = {"command_id": number, "rows": [{"columns": ["2"]}], "complete": True}
        await tether.say(process_list=last)
        table = await soon(listing)
        assert list(table.titles) == ["PID"]
        assert [list(row.columns) for row in table.rows] == [["1"], ["2"]]


async def test_options_that_are_refused_say_why(suite: Suite) -> None:
    async with suite.running() as tether:
        listing = asyncio.ensure_future(top(suite, "--nope"))
        number = (await tether.command()).top.command_id
        refusal: Any = {"command_id": number, "complete": True, "error": "unknown option --nope"}
        await tether.say(process_list=refusal)
        with pytest.raises(InvalidArgument, match="unknown option --nope"):
            await soon(listing)


async def test_nothing_is_listed_where_nothing_runs(suite: Suite) -> None:
    await suite.register()
    with pytest.raises(FailedPrecondition) as caught:
        await top(suite)
    assert caught.value.reason is Reason.NOT_RUNNING


@pytest.mark.parametrize(
    "message",
    [
        {"stats": {"memory_stat": {f"k{n}": n for n in range(1000)}}},
        {"stats": {"interfaces": [{"name": "eth0"}] * 1000}},
    ],
)
async def test_a_tether_that_tells_too_much_is_cut_off(suite: Suite, message: Any) -> None:
    async with suite.running() as tether:
        await tether.say(**message)
        assert await soon(tether.control.code()) is grpc.StatusCode.INVALID_ARGUMENT

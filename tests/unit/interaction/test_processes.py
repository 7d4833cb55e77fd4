"""What exec asks of processes, and what it hears of them."""

import asyncio
from typing import Any

import grpc
import pytest
from vic.interaction.v1 import process_pb2
from vic.tether.v1 import health_pb2, tether_pb2

from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    Reason,
    Unavailable,
    domain_errors,
)
from services.interaction import launch
from tests.unit.interaction.fake_tether import BOOT, INIT, OUT, FakeTether, soon
from tests.unit.interaction.suite import CONTAINER, OTHER, Suite, give_up_soon


async def watch(suite: Suite, after: int = 0) -> Any:
    """Return a stream of events that has begun."""
    call: Any = suite.processes().Watch(process_pb2.WatchRequest(after_sequence=after))
    assert (await soon(call.read())).WhichOneof("message") == "started"
    return call


async def next_event(call: Any) -> process_pb2.ProcessEvent:
    """Return the next event of a stream."""
    return (await soon(call.read())).event  # type: ignore[no-any-return]


async def test_launch_waits_for_the_tether_and_returns_what_it_says(suite: Suite) -> None:
    await suite.register()
    launching = asyncio.create_task(suite.launch())
    tether = suite.tether()
    await tether.connect()
    command = await tether.take_launch(pid=77)
    assert (command.process_id, command.init, command.limits.pids) == (INIT, True, 7)
    assert command.process.args == ["true"]
    response = await launching
    assert (response.pid, response.kernel_release) == (77, "6.1-test")
    assert response.started_at.ToNanoseconds() == 1000 * 10**9 + 5


async def test_launch_of_a_boot_that_never_comes_says_so(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    await suite.register()
    tether = suite.tether()
    await tether.connect(boot_id="another")
    give_up_soon(monkeypatch)
    with pytest.raises(Unavailable) as caught:
        await suite.launch()
    assert caught.value.reason is Reason.TETHER_AWAY


async def test_launch_of_an_unknown_container_is_not_found(suite: Suite) -> None:
    with pytest.raises(NotFound):
        await suite.launch()


async def test_a_failed_launch_carries_code_and_reason(suite: Suite) -> None:
    await suite.register()
    client = await suite.attach()
    tether = suite.tether()
    await tether.connect()
    launching = asyncio.create_task(suite.launch())
    await tether.command()
    await tether.say(
        launch_failed={
            "process_id": INIT,
            "reason": tether_pb2.LAUNCH_FAILURE_NOT_FOUND,
            "message": 'exec: "nope": executable file not found in $PATH',
            "exit_code": 127,
        }
    )
    with pytest.raises(FailedPrecondition, match="executable file not found") as caught:
        await launching
    assert caught.value.reason is Reason.LAUNCH_FAILED
    assert caught.value.metadata == {"exit_code": "127", "failure": "LAUNCH_FAILURE_NOT_FOUND"}
    # Asked again the answer is the same, and who waited for output waits no longer.
    with pytest.raises(FailedPrecondition):
        await suite.launch()
    assert await client.read_all() == b""


async def test_launch_is_asked_once_however_often_exec_asks(suite: Suite) -> None:
    await suite.register()
    tether = suite.tether()
    await tether.connect()
    first, second, _ = await asyncio.gather(suite.launch(), suite.launch(), tether.take_launch())
    assert first == second == await suite.launch()


async def test_launch_survives_a_tether_that_reconnects(suite: Suite) -> None:
    await suite.register()
    tether = suite.tether()
    await tether.connect()
    launching = asyncio.create_task(suite.launch())
    assert (await tether.command()).WhichOneof("message") == "launch"
    tether.control.cancel()
    again = suite.tether()
    await again.connect()
    await again.take_launch(pid=9)
    assert (await launching).pid == 9


async def test_events_are_numbered_and_resumed(suite: Suite) -> None:
    async with suite.running() as tether:
        await tether.exit(7)
        call = await watch(suite)
        running, ended = await next_event(call), await next_event(call)
        assert (running.process_id, running.running.pid) == (INIT, 42)
        assert (ended.container_id, ended.boot_id) == (CONTAINER, BOOT)
        assert (ended.ended.exit_code, ended.ended.oom_killed) == (7, False)
        assert ended.ended.finished_at.ToNanoseconds() == 2000 * 10**9 + 7
        assert running.sequence < ended.sequence
        resumed = await watch(suite, running.sequence)
        assert await next_event(resumed) == ended


async def test_an_exit_that_is_said_twice_is_one_event(suite: Suite) -> None:
    async with suite.running() as tether:
        call = await watch(suite)
        await next_event(call)
        await tether.exit(1)
        await tether.exit(1)
        ended = await next_event(call)
        await suite.launch(boot_id=BOOT)
        again = suite.tether()
        exited = tether_pb2.ProcessExited(process_id=INIT, exit_code=1)
        state = tether_pb2.ProcessState(process_id=INIT, pid=42, exited=exited)
        await again.connect(processes=[state])
        assert (await again.command()).exit_acknowledged.process_id == INIT
        resumed = await watch(suite, ended.sequence - 1)
        assert await next_event(resumed) == ended
        started = (await soon(suite.processes().Watch(process_pb2.WatchRequest()).read())).started
        assert started.sequence == ended.sequence


async def test_events_survive_restarts_until_they_are_acknowledged(suite: Suite) -> None:
    async with suite.running() as tether:
        await tether.exit(4)
    await suite.restart()
    call = await watch(suite)
    running, ended = await next_event(call), await next_event(call)
    assert ended.ended.exit_code == 4
    acknowledge = process_pb2.AcknowledgeRequest(sequence=running.sequence)
    await suite.processes().Acknowledge(acknowledge)
    await suite.restart()
    assert await next_event(await watch(suite)) == ended
    acknowledge.sequence = ended.sequence
    await suite.processes().Acknowledge(acknowledge)
    # Numbers go on, and a number from a database that was lost is noticed.
    await suite.restart()
    await watch(suite, ended.sequence)
    with pytest.raises(OutOfRange) as caught, domain_errors():
        await watch(suite, ended.sequence + 1)
    assert caught.value.reason is Reason.HISTORY_LOST


async def test_a_signal_is_sent_and_answered(suite: Suite) -> None:
    async with suite.running() as tether:
        request = process_pb2.SignalRequest(container_id=CONTAINER, process_id=INIT, signal=15)
        sending = asyncio.ensure_future(suite.processes().Signal(request))
        command = (await tether.command()).signal
        assert (command.process_id, command.signal) == (INIT, 15)
        await tether.say(result={"command_id": command.command_id})
        await sending
        sending = asyncio.ensure_future(suite.processes().Signal(request))
        command = (await tether.command()).signal
        await tether.say(result={"command_id": command.command_id, "error": "no such process"})
        with pytest.raises(FailedPrecondition) as caught:
            await sending
        assert caught.value.reason is Reason.NOT_RUNNING


async def test_a_tether_that_is_there_has_time_to_answer(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None of what one is given to come.
    monkeypatch.setattr(launch, "AWAY_SECONDS", 0.0)
    async with suite.running() as tether:
        request = process_pb2.SignalRequest(container_id=CONTAINER, process_id=INIT, signal=15)
        sending = asyncio.ensure_future(suite.processes().Signal(request))
        command = (await tether.command()).signal
        await tether.say(result={"command_id": command.command_id})
        await sending
    monkeypatch.setattr(launch, "ANSWER_SECONDS", 0.1)
    with pytest.raises(Unavailable) as caught:
        await suite.processes().Signal(request)
    assert caught.value.reason is Reason.TETHER_AWAY


async def test_a_signal_to_nothing_is_refused(suite: Suite) -> None:
    await suite.register()
    request = process_pb2.SignalRequest(container_id=CONTAINER, process_id=INIT, signal=9)
    with pytest.raises(FailedPrecondition) as caught:
        await suite.processes().Signal(request)
    assert caught.value.reason is Reason.NOT_RUNNING


async def test_a_command_fails_when_its_tether_goes(suite: Suite) -> None:
    async with suite.running() as tether:
        request = process_pb2.SignalRequest(container_id=CONTAINER, process_id=INIT, signal=1)
        sending = asyncio.ensure_future(suite.processes().Signal(request))
        await tether.command()
        tether.control.cancel()
        with pytest.raises(Unavailable) as caught:
            await sending
        assert caught.value.reason is Reason.TETHER_AWAY


async def test_power_off_is_passed_on(suite: Suite) -> None:
    async with suite.running() as tether:
        await suite.processes().PowerOff(process_pb2.PowerOffRequest(container_id=CONTAINER))
        assert (await tether.command()).WhichOneof("message") == "power_off"
        await suite.processes().Retire(
            process_pb2.RetireRequest(container_id=CONTAINER, boot_id=BOOT)
        )
        with pytest.raises(Unavailable):
            await suite.processes().PowerOff(process_pb2.PowerOffRequest(container_id=CONTAINER))


async def test_a_vm_that_is_gone_ends_its_streams_and_processes(suite: Suite) -> None:
    async with suite.running() as tether:
        client = await suite.attach()
        stdio = await tether.stdio()
        await stdio.send(b"last words")
        await client.read_until(OUT, 10)
        await asyncio.gather(suite.launch(process_id="ab" * 32), tether.take_launch())
        call = await watch(suite)
        running = await next_event(call)
        assert (await next_event(call)).process_id == "ab" * 32
        retire = process_pb2.RetireRequest(container_id=CONTAINER, boot_id="former")
        await suite.processes().Retire(retire)
        retire.boot_id = BOOT
        await suite.processes().Retire(retire)
        assert await client.read_all() == b"last words"
        killed = await next_event(call)
        assert (killed.process_id, killed.ended.exit_code) == ("ab" * 32, 137)
        assert running.process_id == INIT
        await suite.processes().Retire(retire)
        with pytest.raises(FailedPrecondition), domain_errors():
            await tether.control.read()


async def test_the_next_start_has_streams_of_its_own(suite: Suite) -> None:
    async with suite.running() as tether:
        stdio = await tether.stdio()
        await stdio.send(b"first run\n")
        await stdio.close()
        await tether.exit(0)
    client = await suite.attach()
    later = suite.tether()
    await later.connect(boot_id="b002")
    await asyncio.gather(suite.launch(boot_id="b002"), later.take_launch())
    stdio = await later.stdio(boot_id="b002")
    await stdio.send(b"second run\n")
    await stdio.close()
    assert await client.read_all() == b"second run\n"
    assert await suite.log_text() == b"first run\nsecond run\n"


async def test_registered_containers_are_listed_through_restarts(suite: Suite) -> None:
    await suite.register()
    await suite.register(OTHER, tty=True)
    await suite.register(OTHER, tty=False)
    await suite.restart()
    request = process_pb2.ListRegisteredRequest()
    response = await suite.processes().ListRegistered(request)
    assert sorted(response.container_ids) == sorted([OTHER, CONTAINER])
    for _ in range(2):
        await suite.processes().Unregister(process_pb2.UnregisterRequest(container_id=OTHER))
    response = await suite.processes().ListRegistered(request)
    assert response.container_ids == [CONTAINER]


async def test_removal_ends_waiting_clients(suite: Suite) -> None:
    await suite.register()
    client = await suite.attach()
    await suite.processes().Unregister(process_pb2.UnregisterRequest(container_id=CONTAINER))
    assert await client.read_all() == b""


@pytest.mark.parametrize("container_id", ["", "../../etc", "C0" * 32, "c0" * 33])
async def test_an_id_that_is_none_is_refused(suite: Suite, container_id: str) -> None:
    with pytest.raises(InvalidArgument):
        await suite.register(container_id)


async def test_health_is_told_and_superseded_while_nobody_listens(suite: Suite) -> None:
    def health(status: Any, exit_code: int) -> Any:
        return {"status": status, "results": [{"exit_code": exit_code}]}

    unhealthy, healthy = health_pb2.HEALTH_STATUS_UNHEALTHY, health_pb2.HEALTH_STATUS_HEALTHY
    async with suite.running() as tether:
        for status, code in ((unhealthy, 1), (unhealthy, 2), (healthy, 0), (unhealthy, 3)):
            await tether.say(health=health(status, code))
        await _heard(suite, tether)
        # Told again by the next stream; what is known already is no news.
        state = tether_pb2.ProcessState(process_id=INIT, pid=42)
        tether.control.cancel()
        await tether.connect(processes=[state], health=health(unhealthy, 3))
        await tether.exit(0)
    await suite.restart()
    call = await watch(suite)
    events = [await next_event(call) for _ in range(5)]
    assert [event.WhichOneof("event") for event in events] == [
        "running",
        "health",
        "health",
        "health",
        "ended",
    ]
    assert [event.health.results[0].exit_code for event in events[1:4]] == [2, 0, 3]


async def _heard(suite: Suite, tether: FakeTether) -> None:
    """Return when all that a tether has said was taken in."""
    request = process_pb2.SignalRequest(container_id=CONTAINER, process_id=INIT, signal=1)
    signalling = asyncio.ensure_future(_signal(suite, request))
    command = await tether.command()
    await tether.say(result={"command_id": command.signal.command_id})
    await signalling


async def _signal(suite: Suite, request: process_pb2.SignalRequest) -> None:
    await suite.processes().Signal(request)


async def test_health_that_cannot_be_is_refused(suite: Suite) -> None:
    async with suite.running() as tether:
        await tether.say(health={"results": [{"output": "x" * 100_000}]})
        assert await soon(tether.control.code()) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_launch_carries_the_health_check(suite: Suite) -> None:
    await suite.register()
    tether = suite.tether()
    await tether.connect()
    request = process_pb2.LaunchRequest(
        container_id=CONTAINER, boot_id=BOOT, process_id=INIT, health={"retries": 7}
    )
    launching = asyncio.create_task(_launch(suite, request))
    assert (await tether.take_launch()).health.retries == 7
    await launching


async def _launch(suite: Suite, request: process_pb2.LaunchRequest) -> None:
    await suite.processes().Launch(request, timeout=60)

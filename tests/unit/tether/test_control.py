"""The tether's control stream, with a double of the call that carries it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from vic.tether.v1.health_pb2 import HEALTH_STATUS_HEALTHY, HEALTH_STATUS_STARTING, Health
from vic.tether.v1.tether_pb2 import (
    ConnectRequest,
    ConnectResponse,
    ProcessExited,
    ProcessState,
    Welcome,
)

from tether.agent.control import ControlStream


class Call:
    """One stream: what is written waits until interaction is there."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.there = asyncio.Event()
        self.sent: asyncio.Queue[ConnectRequest] = asyncio.Queue()
        self.answers: asyncio.Queue[ConnectResponse] = asyncio.Queue()

    async def write(self, request: ConnectRequest) -> None:
        """Send a message, or wait."""
        copy = ConnectRequest.FromString(request.SerializeToString())
        self.opened.set()
        await self.there.wait()
        self.sent.put_nowait(copy)

    async def __aiter__(self) -> AsyncIterator[ConnectResponse]:
        while True:
            yield await self.answers.get()

    def cancel(self) -> None:
        """End it."""

    async def welcome(self) -> None:
        """Be there, and answer to Hello."""
        self.there.set()
        self.answers.put_nowait(ConnectResponse(welcome=Welcome()))

    async def next(self) -> ConnectRequest:
        """Return what was sent next."""
        async with asyncio.timeout(60):
            return await self.sent.get()


class Tether:
    """What a tether has to tell, and its stream."""

    def __init__(self) -> None:
        self.states: dict[str, ProcessState] = {}
        self.health: Health | None = None
        self.obeyed: list[str | None] = []
        self.call = Call()
        self.control = ControlStream(
            "b001",
            lambda: list(self.states.values()),
            self.obey,
            health=lambda: self.health,
        )

    def obey(self, command: ConnectResponse) -> None:
        """Take a command."""
        self.obeyed.append(command.WhichOneof("message"))

    def Connect(self, **_options: Any) -> Call:
        """Open the stream, as the stub does."""
        return self.call

    def start(self, process_id: str) -> None:
        """Have a process run."""
        self.states[process_id] = ProcessState(process_id=process_id, pid=7)

    def end(self, process_id: str, code: int) -> None:
        """Have it end; without a stream that is told by none."""
        exited = ProcessExited(process_id=process_id, exit_code=code)
        self.states[process_id] = ProcessState(process_id=process_id, pid=7, exited=exited)
        self.control.tell(ConnectRequest(exited=exited))


@asynccontextmanager
async def waiting(tether: Tether) -> AsyncIterator[Call]:
    """Have a tether's Hello wait for interaction."""
    serving = asyncio.create_task(tether.control.serve(cast(Any, tether)))
    try:
        async with asyncio.timeout(60):
            await tether.call.opened.wait()
        yield tether.call
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def test_what_ends_while_a_hello_waits_is_told_after_it() -> None:
    tether = Tether()
    tether.start("init")
    tether.start("goes-on")
    async with waiting(tether) as call:
        tether.end("init", 3)
        await call.welcome()
        hello = (await call.next()).hello
        assert [state.HasField("exited") for state in hello.processes] == [False, False]
        told = (await call.next()).exited
        assert (told.process_id, told.exit_code) == ("init", 3)
        # Nothing else was to be told, and what comes then is told as it comes.
        tether.end("goes-on", 4)
        assert (await call.next()).exited.process_id == "goes-on"


async def test_what_starts_while_a_hello_waits_is_told_after_it() -> None:
    tether = Tether()
    async with waiting(tether) as call:
        tether.start("short")
        tether.end("short", 0)
        tether.start("long")
        await call.welcome()
        assert not (await call.next()).hello.processes
        told = [await call.next() for _ in range(3)]
        assert [message.WhichOneof("message") for message in told] == [
            "started",
            "exited",
            "started",
        ]
        assert (told[0].started.process_id, told[0].started.pid) == ("short", 7)
        assert told[2].started.process_id == "long"


async def test_health_that_changes_while_a_hello_waits_is_told_after_it() -> None:
    tether = Tether()
    tether.health = Health(status=HEALTH_STATUS_STARTING)
    async with waiting(tether) as call:
        tether.health = Health(status=HEALTH_STATUS_HEALTHY)
        await call.welcome()
        assert (await call.next()).hello.health.status == HEALTH_STATUS_STARTING
        assert (await call.next()).health.status == HEALTH_STATUS_HEALTHY


@pytest.mark.parametrize("ended", [False, True])
async def test_as_many_processes_as_may_be_are_told_at_once(ended: bool) -> None:
    tether = Tether()
    async with waiting(tether) as call:
        for number in range(4096):
            tether.start(str(number))
            if ended:
                tether.end(str(number), 0)
        await call.welcome()
        assert (await call.next()).WhichOneof("message") == "hello"
        for number in range(4096):
            assert (await call.next()).started.process_id == str(number)
            if ended:
                assert (await call.next()).exited.process_id == str(number)

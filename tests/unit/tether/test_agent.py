"""What passes between supervisor and interaction through the agent."""

import asyncio
from typing import Any, cast

import pytest
from vic.tether.v1.tether_pb2 import ConnectRequest, ConnectResponse, LaunchCommand

from tether.agent import agent as module
from tether.agent.agent import Agent
from tether.link import Link, Message, pair


class Told:
    """In place of the control stream: keeps what is told."""

    def __init__(self) -> None:
        self.messages: list[ConnectRequest] = []
        self.connected = asyncio.Event()
        self.disconnected = asyncio.Event()

    def tell(self, message: ConnectRequest) -> None:
        """Take what would be sent."""
        self.messages.append(message)

    def kinds(self) -> list[str | None]:
        """Return what was told since the last time, by name."""
        messages, self.messages = self.messages, []
        return [message.WhichOneof("message") for message in messages]


class Tether:
    """An agent whose supervisor and interaction a test plays."""

    def __init__(self) -> None:
        ours, theirs = pair()
        self.supervisor: Link = ours
        self.told = Told()
        self.agent = cast(Any, Agent(theirs))
        self.agent._control = self.told

    def say(self, op: str, process_id: str = "ab", **fields: Any) -> None:
        """Be the supervisor."""
        self.agent._take({"op": op, "process_id": process_id, **fields}, [])

    def ask(self, **command: Any) -> None:
        """Be interaction."""
        self.agent._obey(ConnectResponse(**command))

    def asked(self) -> list[Message]:
        """Return what the supervisor was asked for."""
        messages: list[Message] = []
        while True:
            try:
                messages.append(self.supervisor.receive(wait=False)[0])
            except BlockingIOError:
                return messages


class Quiet:
    """A process without streams."""

    def __init__(
        self, process_id: str, pid: int, started_ns: int, streams: object, on_ended: Any
    ) -> None:
        self.process_id = process_id
        self.pid = pid
        self.started_ns = started_ns
        self.ended = False
        self._on_ended = on_ended

    def exited(self, _how: object) -> None:
        """End."""
        self.ended = True
        self._on_ended(self)

    def started_message(self) -> dict[str, Any]:
        """Tell of it."""
        return {"process_id": self.process_id}

    exited_message = started_message

    async def serve(self, *_arguments: object) -> None:
        """Carry nothing."""


@pytest.fixture
async def tether(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One whose processes have no streams."""
    monkeypatch.setattr(module, "WorkloadProcess", Quiet)
    async with asyncio.TaskGroup() as tasks:
        made = Tether()
        made.agent._tasks = tasks
        made.agent._channel = object()
        made.agent._identity.set_result({"boot_id": "b001"})
        yield made


async def test_a_launch_of_what_has_ended_tells_its_end_as_well(tether: Tether) -> None:
    launch = LaunchCommand(process_id="ab")
    tether.ask(launch=launch)
    tether.say("started", pid=7, at=1, streams=[])
    assert tether.told.kinds() == ["started"]
    tether.ask(launch=launch)
    assert tether.told.kinds() == ["started"]
    tether.say("exited", exit_code=3, oom_killed=False, at=2)
    assert tether.told.kinds() == ["exited"]
    tether.ask(launch=launch)
    assert tether.told.kinds() == ["started", "exited"]
    assert [message["op"] for message in tether.asked()] == ["launch"]


async def test_a_launch_that_failed_is_forgotten_once_it_is_on_record(tether: Tether) -> None:
    launch = LaunchCommand(process_id="ab")
    tether.ask(launch=launch)
    tether.say("failed", failure="NOT_FOUND", message="no such file", exit_code=127)
    tether.ask(launch=launch)
    assert tether.told.kinds() == ["launch_failed", "launch_failed"]
    assert [message["op"] for message in tether.asked()] == ["launch"]
    tether.ask(exit_acknowledged={"process_id": "ab"})
    assert tether.asked() == [{"op": "forget", "process_id": "ab"}]
    assert not tether.agent._failed
    tether.ask(exit_acknowledged={"process_id": "ab"})
    assert not tether.asked()


async def test_a_command_that_raises_is_answered_and_ends_nothing(
    tether: Tether, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_arguments: object) -> None:
        raise ValueError("out of bounds")

    monkeypatch.setattr(module, "process_list", broken)
    monkeypatch.setattr(module, "limits", broken)
    monkeypatch.setattr(module, "launch_message", broken)
    tether.ask(top={"command_id": 5})
    tether.ask(update_limits={"command_id": 6})
    tether.ask(launch={"process_id": "ab"})
    listed, limited = (message for message in tether.told.messages)
    assert (listed.process_list.command_id, listed.process_list.complete) == (5, True)
    assert listed.process_list.error == "ValueError: out of bounds"
    assert (limited.result.command_id, limited.result.error) == (6, "ValueError: out of bounds")
    assert capsys.readouterr().err == "agent: launch: ValueError: out of bounds\n"

"""How an additional process begins, as the supervisor's table of processes sees it."""

import os
from collections.abc import Callable

import pytest

from tests.descriptors import open_descriptors
from tether.link import Link, pair
from tether.supervisor.failures import LaunchFailure
from tether.supervisor.processes import Process, ProcessTable, State
from tether.supervisor.request import ProcessRequest

REQUEST = ProcessRequest(["true"])
NOBODY = -1
"""In the place of a pidfd: whoever forks into the namespace of this one gets EBADF."""


class FakeLoop:
    """Watches nothing by itself."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}
        self.later: list[Callable[[], None]] = []

    def watch(self, descriptor: int, reader: Callable[[], None]) -> None:
        """Keep who is to be called."""
        self.readers[descriptor] = reader

    def forget(self, descriptor: int) -> None:
        """Call nobody any more."""
        self.readers.pop(descriptor, None)

    def after(self, _seconds: float, action: Callable[[], None]) -> None:
        """Keep what is to come."""
        self.later.append(action)

    def on_child(self, _action: Callable[[], None]) -> None:
        """The test reaps."""


class FakeSandbox:
    """A container that has ended."""

    pidfd = NOBODY
    pid = 0

    def __init__(self) -> None:
        self.link, self.theirs = pair()


class Table:
    """A process table."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.changes: list[State] = []
        self.table = ProcessTable(
            self.loop,  # type: ignore[arg-type]
            FakeSandbox(),  # type: ignore[arg-type]
            lambda process: self.changes.append(process.state),
        )

    def launch(self, request: ProcessRequest = REQUEST) -> Process:
        """Ask for a process."""
        self.table.launch("one", request, None)
        process = self.table.get("one")
        assert process is not None
        return process


def test_a_launch_in_a_container_that_has_ended_fails() -> None:
    table = Table()
    before = open_descriptors()
    process = table.launch()
    assert (process.state, process.failure) == (State.FAILED, LaunchFailure.SETUP)
    assert table.changes == [State.FAILED]
    assert not open_descriptors() - before


def test_a_process_that_is_not_executed_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table()
    before = open_descriptors()
    ours, theirs = pair()

    def fork(_request: ProcessRequest, _streams: list[int]) -> tuple[Link, int]:
        return ours, os.getpid()

    monkeypatch.setattr(table.table, "_fork", fork)
    process = table.launch()
    theirs.send({"failure": "NOT_FOUND", "message": "no such file"})
    theirs.close()
    table.loop.readers[ours.fileno()]()
    assert (process.state, process.failure) == (State.FAILED, LaunchFailure.NOT_FOUND)
    assert not open_descriptors() - before

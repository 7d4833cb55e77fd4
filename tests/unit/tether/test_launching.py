"""How an additional process begins, as the supervisor's table of processes sees it."""

import os
from collections.abc import Callable

import pytest

from tests.descriptors import open_descriptors
from tether.link import Link, pair
from tether.supervisor import kernelfile, processes
from tether.supervisor.failures import LaunchFailure
from tether.supervisor.processes import Process, ProcessTable, State
from tether.supervisor.request import ProcessRequest
from tether.supervisor.scheduling import give_way

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


@pytest.mark.parametrize("reaped", [False, True])
def test_a_process_may_run_before_it_is_told_of_unless_it_has_ended(
    monkeypatch: pytest.MonkeyPatch, reaped: bool
) -> None:
    table = Table()
    given: list[list[State]] = []
    monkeypatch.setattr(processes, "give_way", lambda: given.append(list(table.changes)))
    monkeypatch.setattr(processes, "_oom_kills", lambda: 0)
    # First, so that it has no copy of what is closed below.
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    ours, theirs = pair()

    def fork(_request: ProcessRequest, _streams: list[int]) -> tuple[Link, int]:
        return ours, pid

    monkeypatch.setattr(table.table, "_fork", fork)
    process = table.launch()
    theirs.close()
    if not reaped:
        table.loop.readers[ours.fileno()]()
        assert given == [[]]
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    table.table.reap()
    assert table.changes == [State.RUNNING, State.EXITED]
    assert len(given) == (0 if reaped else 1)
    process.close_streams()


def test_who_gives_way_has_its_weight_again(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, bytes]] = []
    monkeypatch.setattr(kernelfile, "put", lambda path, text: written.append((path, text)))
    give_way()
    assert written == [
        ("/sys/fs/cgroup/tether/cpu.weight", b"1"),
        ("/sys/fs/cgroup/tether/cpu.weight", b"100"),
    ]

"""Health checks as the tether runs them: Docker's rules."""

import asyncio
import os
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from vic.tether.v1.health_pb2 import (
    HEALTH_STATUS_HEALTHY,
    HEALTH_STATUS_STARTING,
    HEALTH_STATUS_UNHEALTHY,
    Health,
    HealthProbe,
)
from vic.tether.v1.process_pb2 import ProcessSpec

from tether.agent.health import MOST_OUTPUT, HealthMonitor, Outcome, go_duration

SECOND = 10**9
START = 1_000 * SECOND


def plan(**changes: Any) -> HealthProbe:
    """A check as a tether gets it; spans in milliseconds."""
    spans = {"interval": 1, "timeout": 60_000, "start_period": 0, "start_interval": 1}
    spans |= {name: value for name, value in changes.items() if name in spans}
    made = {
        name: Duration(seconds=value // 1000, nanos=value % 1000 * 10**6)
        for name, value in spans.items()
    }
    return HealthProbe(
        process=ProcessSpec(args=["check"]), retries=changes.get("retries", 3), **made
    )


def monitor(probe: HealthProbe) -> HealthMonitor:
    """One that is only told results."""
    return HealthMonitor(probe, START, lambda _id, _spec: None, lambda _id: None, lambda _s: None)


def statuses(probe: HealthProbe, *codes: int, begin: int = START) -> list[int]:
    """The statuses after exit codes, a second between them."""
    health = monitor(probe)
    found: list[int] = []
    for number, code in enumerate(codes):
        moment = begin + number * SECOND
        health.take_result(Outcome(code, ""), moment, moment + 1)
        found.append(health.state.status)
    return found


def test_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() -> None:
    s, h, u = HEALTH_STATUS_STARTING, HEALTH_STATUS_HEALTHY, HEALTH_STATUS_UNHEALTHY
    assert statuses(plan(retries=2), 1, 1, 0, 1, 0, 1, 2, -1) == [s, u, h, h, h, h, u, u]
    assert statuses(plan(retries=1), 0, 1, 0) == [h, u, h]


def test_failures_in_the_start_period_count_once_it_was_healthy() -> None:
    s, h, u = HEALTH_STATUS_STARTING, HEALTH_STATUS_HEALTHY, HEALTH_STATUS_UNHEALTHY
    early = plan(retries=1, start_period=10_000)
    assert statuses(early, 1, 1, 1) == [s, s, s]
    assert statuses(early, 1, 0, 1) == [s, h, u]
    assert statuses(early, 1, begin=START + 11 * SECOND) == [u]


def test_the_last_five_results_are_kept() -> None:
    health = monitor(plan())
    for number in range(7):
        health.take_result(Outcome(number, str(number)), START, START)
    assert [result.output for result in health.state.results] == list("23456")
    assert health.state.failing_streak == 6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250ms"), (1, "1s"), (1.5, "1.5s"), (90, "1m30s"), (3600, "1h0m0s")],
)
def test_spans_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


class Supervised:
    """A monitor with a supervisor that plays probes as a test says."""

    def __init__(self, probe: HealthProbe) -> None:
        self.states: asyncio.Queue[Health] = asyncio.Queue()
        self.launched: asyncio.Queue[str] = asyncio.Queue()
        self.monitor = HealthMonitor(
            probe,
            START,
            lambda process_id, _spec: self.launched.put_nowait(process_id),
            self.kill,
            self.states.put_nowait,
        )

    def kill(self, process_id: str) -> None:
        """End a probe as SIGKILL does."""
        self.say("exited", process_id, exit_code=137)

    def say(self, op: str, process_id: str, descriptors: Any = (), **more: Any) -> None:
        """Have the supervisor say something."""
        self.monitor.take({"op": op, "process_id": process_id, **more}, list(descriptors))

    async def start(self, output: bytes = b"") -> tuple[str, int]:
        """Take the next launch and say that it runs; the writing end of its output stays open."""
        process_id = await self.launched.get()
        reading, writing = os.pipe()
        os.write(writing, output)
        self.say("started", process_id, [reading])
        return process_id, writing


async def test_output_and_code_of_a_probe() -> None:
    checked = Supervised(plan(retries=1))
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(checked.monitor.run())
        process_id, writing = await checked.start(b"x" * MOST_OUTPUT + b"more")
        os.close(writing)
        checked.say("exited", process_id, exit_code=3)
        state = await checked.states.get()
        assert state.status == HEALTH_STATUS_UNHEALTHY
        assert (state.results[0].exit_code, state.results[0].output) == (3, "x" * MOST_OUTPUT)

        checked.say("failed", await checked.launched.get(), message="no such file")
        state = await checked.states.get()
        assert (state.results[1].exit_code, state.results[1].output) == (-1, "no such file")
        running.cancel()


async def test_a_probe_that_takes_too_long_is_killed() -> None:
    checked = Supervised(plan(timeout=50))
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(checked.monitor.run())
        _, writing = await checked.start(b"half")
        state = await checked.states.get()
        assert state.results[0].exit_code == -1
        assert state.results[0].output == "Health check exceeded timeout (50ms): half"
        os.close(writing)
        running.cancel()

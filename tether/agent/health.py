"""Health checks: a command is run now and then; its exit codes make the state that Docker shows.

Source of the rules: dockerd's daemon/health.go. What a probe runs is no process that anybody can
attach to: its output is kept here, and its exit is told to nobody.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from vic.tether.v1.health_pb2 import (
    HEALTH_STATUS_HEALTHY,
    HEALTH_STATUS_STARTING,
    HEALTH_STATUS_UNHEALTHY,
    Health,
    HealthProbe,
    HealthResult,
)
from vic.tether.v1.process_pb2 import ProcessSpec

from tether.agent.process import timestamp
from tether.link import Message

PREFIX = "health:"
"""Of the process IDs of probes; clients' IDs have no colon."""

MOST_RESULTS = 5
MOST_OUTPUT = 4096
_FAILED = -1
# After its exit, how long a probe's pipes may be held open by what it left behind.
_LINGER_SECONDS = 2.0
_KILL_AGAIN_SECONDS = 1.0
_READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Outcome:
    """How a probe ended."""

    exit_code: int
    output: str


class Probe:
    """One run of the command."""

    def __init__(self, process_id: str) -> None:
        """``process_id`` is what the supervisor knows it by."""
        self.process_id = process_id
        self._loop = asyncio.get_running_loop()
        self._output = bytearray()
        self._reading: set[int] = set()
        self._drained = asyncio.Event()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._failure = ""

    def take(self, message: Message, descriptors: list[int]) -> None:
        """What the supervisor says of it."""
        match message["op"]:
            case "started":
                for descriptor in descriptors:
                    os.set_blocking(descriptor, False)
                    self._reading.add(descriptor)
                    self._loop.add_reader(descriptor, self._read, descriptor)
            case "failed":
                self._failure = message["message"]
                self._end(_FAILED)
            case "exited":
                self._end(message["exit_code"])

    def _end(self, code: int) -> None:
        if not self._exit.done():
            self._exit.set_result(code)
        if not self._reading:
            self._drained.set()

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        # What is too much is read and dropped, or the command would wait for a reader.
        self._output += data[: MOST_OUTPUT - len(self._output)]
        if not data:
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        self._reading.discard(descriptor)
        os.close(descriptor)
        if not self._reading:
            self._drained.set()

    async def outcome(self, seconds: float, kill: Callable[[], None]) -> Outcome:
        """Wait for its end, or kill it when its time is up."""
        try:
            try:
                async with asyncio.timeout(seconds):
                    code = await asyncio.shield(self._exit)
            except TimeoutError:
                while not self._exit.done():
                    kill()  # in vain where it isn't executed yet
                    await asyncio.wait([self._exit], timeout=_KILL_AGAIN_SECONDS)
                text = self._text()
                late = f"Health check exceeded timeout ({go_duration(seconds)})"
                return Outcome(_FAILED, f"{late}: {text}" if text else late)
            if self._failure:
                return Outcome(_FAILED, self._failure)
            try:
                async with asyncio.timeout(_LINGER_SECONDS):
                    await self._drained.wait()
            except TimeoutError:
                pass  # somebody else holds its pipes; what it wrote itself is here
            return Outcome(code, self._text())
        finally:
            for descriptor in list(self._reading):
                self._close(descriptor)

    def _text(self) -> str:
        return self._output.decode("utf-8", "replace")


class HealthMonitor:
    """Runs the probes of a workload, one after the other, and keeps the state."""

    def __init__(
        self,
        plan: HealthProbe,
        started_ns: int,
        launch: Callable[[str, ProcessSpec], None],
        kill: Callable[[str], None],
        tell: Callable[[Health], None],
    ) -> None:
        """``started_ns`` is when the workload was started; ``tell`` gets each state."""
        self._plan = plan
        self._started_ns = started_ns
        self._launch = launch
        self._kill = kill
        self._tell = tell
        self._probes = 0
        self._probe: Probe | None = None
        self.state = Health(status=HEALTH_STATUS_STARTING)

    def take(self, message: Message, descriptors: list[int]) -> None:
        """What the supervisor says of a probe; of one that nobody waits for nothing is kept."""
        probe = self._probe
        if probe is not None and probe.process_id == message["process_id"]:
            probe.take(message, descriptors)
        else:
            for descriptor in descriptors:
                os.close(descriptor)

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await asyncio.sleep(self._pause())
            begun = time.time_ns()
            outcome = await self._run_probe()
            self.take_result(outcome, begun, time.time_ns())
            self._tell(self.state)

    def _pause(self) -> float:
        starting = self.state.status == HEALTH_STATUS_STARTING
        if starting and self._within_start_period(time.time_ns()):
            return _seconds(self._plan.start_interval)
        return _seconds(self._plan.interval)

    def _within_start_period(self, moment_ns: int) -> bool:
        return moment_ns - self._started_ns < self._plan.start_period.ToNanoseconds()

    async def _run_probe(self) -> Outcome:
        self._probes += 1
        probe = self._probe = Probe(f"{PREFIX}{self._probes}")
        self._launch(probe.process_id, self._plan.process)
        try:
            return await probe.outcome(
                _seconds(self._plan.timeout), lambda: self._kill(probe.process_id)
            )
        finally:
            self._probe = None

    def take_result(self, outcome: Outcome, begun_ns: int, ended_ns: int) -> None:
        """Make the next state of what a probe gave."""
        state = self.state
        result = HealthResult(
            started_at=timestamp(begun_ns),
            finished_at=timestamp(ended_ns),
            exit_code=outcome.exit_code,
            output=outcome.output,
        )
        kept = [*state.results, result][-MOST_RESULTS:]
        status, streak = state.status, state.failing_streak
        if outcome.exit_code == 0:
            status, streak = HEALTH_STATUS_HEALTHY, 0
        elif status != HEALTH_STATUS_STARTING or not self._within_start_period(begun_ns):
            streak += 1
            if streak >= self._plan.retries:
                status = HEALTH_STATUS_UNHEALTHY
        self.state = Health(status=status, failing_streak=streak, results=kept)


def _seconds(span: Duration) -> float:
    return span.seconds + span.nanos / 1e9


def go_duration(seconds: float) -> str:
    """A span as Go prints it: "1m30s", "1.5s", "250ms"."""
    if seconds < 1:
        return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms"
    whole, rest = divmod(seconds, 60)
    text = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(int(whole), 60)
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text

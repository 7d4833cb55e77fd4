"""A VM's clock, as the tether corrects it by interaction's."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vic.tether.v1.tether_pb2 import ClockAnswer, ConnectRequest

from tether.agent import clock as module
from tether.agent.clock import Clock, least_correction
from tether.agent.control import ControlStream

MS = 10**6
SECOND = 1000 * MS


@pytest.mark.parametrize(
    ("ahead", "trip", "correction"),
    [
        # The other clock was read 100 ms ago at most, and 0 at least: 50 ms, give or take 50.
        (-100 * MS, 100 * MS, 0),
        (0, 100 * MS, 0),
        (10 * SECOND, 100 * MS, 10 * SECOND),
        (-10 * SECOND, 100 * MS, -10 * SECOND + 100 * MS),
        (9 * MS, 0, 0),
        (-30 * MS, 2 * MS, -28 * MS),
    ],
)
def test_a_correction_is_the_least_that_may_be_right(
    ahead: int, trip: int, correction: int
) -> None:
    assert least_correction(ahead, trip) == correction


class Times:
    """The module's clocks; both stand still but where a test moves them."""

    def __init__(self) -> None:
        self.now = 1_000 * SECOND
        self.up = 5 * SECOND

    def time_ns(self) -> int:
        return self.now

    def monotonic_ns(self) -> int:
        return self.up


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    """What the clock is, as the tether sees it."""
    made = Times()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module, "_FIRST_SECONDS", 0.0)
    return made


async def asked(corrections: list[tuple[str, int]]) -> tuple[Clock, int, asyncio.Task[None]]:
    """A clock that has asked once, and what it asked with."""
    questions: asyncio.Queue[ConnectRequest] = asyncio.Queue()
    connected = asyncio.Event()
    connected.set()
    control: Any = SimpleNamespace(connected=connected, tell=questions.put_nowait)
    clock = Clock(
        cast(ControlStream, control),
        lambda ns: corrections.append(("step", ns)),
        lambda ns: corrections.append(("slew", ns)),
    )
    running = asyncio.create_task(clock.run())
    async with asyncio.timeout(60):
        question = await questions.get()
    return clock, question.clock.asked_ns, running


def answer(asked_ns: int, time_ns: int) -> ClockAnswer:
    """What interaction says."""
    time = Timestamp()
    time.FromNanoseconds(time_ns)
    return ClockAnswer(asked_ns=asked_ns, time=time)


async def test_much_is_set_and_little_is_led(times: Times) -> None:
    corrections: list[tuple[str, int]] = []
    for error in (-20 * SECOND, 20 * SECOND, 50 * MS, 0):
        clock, asked_ns, running = await asked(corrections)
        clock.take(answer(asked_ns, times.now + error))
        running.cancel()
    assert corrections == [
        ("step", 980 * SECOND),
        ("step", 1_020 * SECOND),
        ("slew", 50 * MS),
    ]


async def test_only_the_answer_to_the_last_question_counts_and_once(times: Times) -> None:
    corrections: list[tuple[str, int]] = []
    clock, asked_ns, running = await asked(corrections)
    clock.take(answer(asked_ns - 1, 0))
    clock.take(answer(0, 0))
    assert corrections == []
    times.up += 2 * SECOND
    for _ in range(2):
        clock.take(answer(asked_ns, times.now + 20 * SECOND))
    running.cancel()
    # It may have been read as much as two seconds ago.
    assert corrections == [("step", 1_020 * SECOND)]

"""Keeps the VM's clock to interaction's.

A guest's clock runs as fast as its processor's frequency seemed to be at boot, is set a moment
after its host read the time, and stands still whenever its VM does: paused, suspended, moved. So
interaction, whose host keeps the time, is asked for it now and then, as a client of NTP asks (RFC
5905, section 8): the time it takes there and back bounds what is not known.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from vic.tether.v1.tether_pb2 import ClockAnswer, ClockQuestion, ConnectRequest

from tether.agent.control import ControlStream
from tether.supervisor.syscalls import slew_clock

# A start is not held up by it, and most short runs have ended by then.
_FIRST_SECONDS = 1.0
_EVERY_SECONDS = 60.0
# Of a small error nobody takes note, and to ask more exactly would take a better clock than a VM's.
_GOOD_ENOUGH_NS = 10_000_000
# Below it the clock is led there, 0.5 ms a second; above it's set (RFC 5905's step threshold).
_STEP_NS = 128_000_000


class Clock:
    """Asks interaction for the time, and corrects ours by its answers."""

    def __init__(
        self,
        control: ControlStream,
        step: Callable[[int], None] | None = None,
        slew: Callable[[int], None] = slew_clock,
    ) -> None:
        """``step`` sets the clock to a time, ``slew`` leads it by a difference; nanoseconds."""
        self._control = control
        self._step = step or _set_clock
        self._slew = slew
        self._asked_ns = 0

    async def run(self) -> None:
        """Serve for ever."""
        seconds = _FIRST_SECONDS
        while True:
            await asyncio.sleep(seconds)
            await self._control.connected.wait()
            self._asked_ns = time.monotonic_ns()
            question = ClockQuestion(asked_ns=self._asked_ns)
            self._control.tell(ConnectRequest(clock=question))
            seconds = _EVERY_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 — no secret

    def take(self, answer: ClockAnswer) -> None:
        """Correct the clock, by the least that makes it possible that it is right."""
        if not self._asked_ns or answer.asked_ns != self._asked_ns:
            return
        trip_ns = time.monotonic_ns() - self._asked_ns
        self._asked_ns = 0
        now_ns = time.time_ns()
        correction = least_correction(answer.time.ToNanoseconds() - now_ns, trip_ns)
        if abs(correction) >= _STEP_NS:
            self._step(now_ns + correction)
        elif correction:
            self._slew(correction)


def _set_clock(time_ns: int) -> None:
    time.clock_settime_ns(time.CLOCK_REALTIME, time_ns)


def least_correction(ahead_ns: int, trip_ns: int) -> int:
    """Return by how much a clock is wrong at least, in nanoseconds; zero where it may be right.

    Its answer says that the other one is ahead by ``ahead_ns`` now, and was read at any moment of
    the time that question and answer took, ``trip_ns``.
    """
    unknown = trip_ns // 2
    offset = ahead_ns + unknown
    if abs(offset) <= max(unknown, _GOOD_ENOUGH_NS):
        return 0
    return offset - unknown if offset > 0 else offset + unknown

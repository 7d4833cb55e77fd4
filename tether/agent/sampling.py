"""Sends samples of the workload's use of resources, for as long as they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vic.tether.v1.tether_pb2 import ConnectRequest, StatsSample

from tether.agent.control import ControlStream

# A sample costs milliseconds under emulation; more often it would measure itself.
_SHORTEST_SECONDS = 0.1


class Sampling:
    """A sample at once, then one a period."""

    def __init__(self, control: ControlStream, sample: Callable[[], StatsSample | None]) -> None:
        """``sample`` gives none while nothing runs."""
        self._control = control
        self._sample = sample
        self._seconds = 0.0
        self._changed = asyncio.Event()

    def set_period(self, milliseconds: int) -> None:
        """Send so often from now on; zero sends none."""
        self._seconds = max(_SHORTEST_SECONDS, milliseconds / 1000) if milliseconds else 0.0
        self._changed.set()

    async def run(self) -> None:
        """Serve for ever."""
        while True:
            self._changed.clear()
            if self._seconds:
                self._send()
            try:
                async with asyncio.timeout(self._seconds or None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _send(self) -> None:
        # Where a former message has not left yet, a sample would only be late: the next one tells.
        if self._control.idle and (sample := self._sample()) is not None:
            self._control.tell(ConnectRequest(stats=sample))

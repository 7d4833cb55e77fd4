"""Holding back a tether that sends more than its share of messages."""

import asyncio
import time
from typing import Final

# A message costs the service some 0.1 ms, whatever its size; so one tether takes a fifth of a core
# at most. One that has much to send puts more into each message.
RATE: Final = 4000
BURST: Final = 4000


class Pace:
    """Lets so many messages a second pass, and so many at once after a rest."""

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = time.monotonic()

    async def message(self) -> None:
        """Return when the next message may be taken in."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        self._left -= 1
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)

"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from ``first`` to ``longest`` seconds, each time with a random share taken off.

    Jitter keeps a thousand tethers from dialling a restarted service at the same moment. A tether
    is to be back within two seconds of the service, however long that was away.
    """

    def __init__(self, first: float = 0.1, longest: float = 1.0) -> None:
        """Start anew."""
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        """The last try was a success."""
        self._next = self._first

    def delay(self) -> float:
        """Seconds to wait now: between half of the present step and all of it."""
        step, self._next = self._next, min(self._longest, self._next * 2)
        return step * random.uniform(0.5, 1.0)  # noqa: S311 — nothing secret about it

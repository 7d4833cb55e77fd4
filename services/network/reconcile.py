"""The reconciler: compares the host with the database on a period and after any doubt."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from portlayer.errors import Unavailable
from services.network.drivers import Driver

log = logging.getLogger("vic.network.reconcile")

SHORTEST_PAUSE = 1.0
"""Seconds between two runs, so that a storm of news (or another program that keeps undoing our
repairs) costs a bounded share of a core."""


class Reconciler:
    """Runs the driver's `restore`, logs what it found, and calls what else is to be done then."""

    def __init__(
        self, driver: Driver, period: float, *others: Callable[[], Awaitable[None]]
    ) -> None:
        self._driver = driver
        self._others = others
        self._period = period

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await self._doubt_or_period()
            await self.once()
            for other in self._others:
                await other()
            await asyncio.sleep(SHORTEST_PAUSE)

    async def once(self) -> list[str]:
        """Compare and repair once; returns what was repaired."""
        try:
            repaired = await self._driver.restore()
        except Unavailable as error:
            # The next run, on the period at the latest, begins from the start.
            log.error("cannot compare the host with the database: %s", error.message)
            return []
        if repaired:
            log.warning("somebody changed our networks; repaired", extra={"repaired": repaired})
        return repaired

    async def _doubt_or_period(self) -> None:
        try:
            async with asyncio.timeout(self._period):
                await self._driver.doubt.wait()
        except TimeoutError:
            return

"""What one who watches a container's use of resources is told, and when."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Final

from vic.tether.v1 import tether_pb2

from services.interaction.control import tether_away
from services.interaction.sessions import Session
from services.interaction.usage import PERIOD_MS

_PERIOD: Final = PERIOD_MS / 1000
# A sample that is late: its VM is short of CPU, its tether on its way back, or the VM stands still.
_LATE: Final = 1.5 * _PERIOD
# So many samples are told as they come: who wants one with its predecessor waits for no more. From
# then on all watchers are told at the same moment of each second: what costs is a wake-up of each
# process on the way, not a sample.
AT_ONCE: Final = 2
# Before the first sample: a tether that was cut off is back within two seconds.
FIRST_SECONDS: Final = 5.0


async def follow(session: Session) -> AsyncGenerator[tether_pb2.StatsSample | None, None]:
    """Yield samples until the container is removed; None about once a second while nothing runs.

    What was told last is repeated while nothing new comes. Raises Unavailable (TETHER_AWAY) when
    there is nothing to repeat.
    """
    usage = session.usage
    with usage.watch():
        seen, waiting_since, told = usage.count, time.monotonic(), 0
        while not session.removed:
            if not session.running:
                yield None
                await _holds(session, _PERIOD, lambda: session.running)
                waiting_since, told = time.monotonic(), 0
                continue
            if told >= AT_ONCE:
                await _until_all_are_told(session)
            seen = await _newer(session, seen)
            if not session.running:
                continue
            told += 1
            sample = usage.newest(session.boot_id)
            if sample is not None:
                yield sample
            elif session.running and time.monotonic() - waiting_since > FIRST_SECONDS:
                raise tether_away(session.container_id)


async def _until_all_are_told(session: Session) -> None:
    """Return at the next moment that is the same for all who watch, or when nothing runs."""
    now = asyncio.get_running_loop().time()
    moment = (now // _PERIOD + 1) * _PERIOD
    await _holds(session, moment - now, lambda: not session.running)


async def _newer(session: Session, seen: int) -> int:
    """Return the number of the newest sample when there is a newer one, or it is late."""
    usage = session.usage
    await _holds(session, _LATE, lambda: usage.count > seen or not session.running)
    return usage.count


async def _holds(session: Session, seconds: float, holds: Callable[[], bool]) -> None:
    """Return when something holds, the container is removed, or time is up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await session.changed.wait_for(lambda: session.removed or holds())

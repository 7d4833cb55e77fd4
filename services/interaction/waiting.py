"""Tethers that wait under names of their own, until exec gives each to one boot of a container.

A clone that is kept ready has a certificate for its own name, since nobody knows yet whose it will
be. Its control stream is held here meanwhile: it has no log and no clients, and nothing that it
says is read. Who it speaks for from then on is on record before anything is told to it, is never
changed, and is found again by its certificate's name, wherever and whenever it comes back.
"""

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    Reason,
    ResourceExhausted,
    Unavailable,
    VicError,
)
from services.interaction.store import TETHERS_CHANNEL, Given, InteractionStore

log = logging.getLogger("vic.interaction.waiting")

# No container's ID has this form; see the certificates that the host agent makes.
_NAME: Final = re.compile(r"ready-[0-9a-f]{16}")
# 64 clones wait at most (exec's setting), some of them dying while their successors come.
MOST_WAITING: Final = 256
# What is on record is read again when it was dropped here.
_MOST_REMEMBERED: Final = 4096


def waits_by_name(tether_id: str) -> bool:
    """Tell whether a certificate's name is that of a tether which waited, or waits."""
    return _NAME.fullmatch(tether_id) is not None


class WaitingTethers:
    """All tethers that have names of their own. Used from the event loop alone."""

    def __init__(self, store: InteractionStore) -> None:
        self._store = store
        self._waiting: dict[str, asyncio.Future[Given]] = {}
        self._given: dict[str, Given] = {}

    @property
    def waiting(self) -> int:
        """How many are here and nobody's."""
        return len(self._waiting)

    async def given(self, tether_id: str) -> Given | None:
        """Return the boot that a tether speaks for, or None while it is nobody's."""
        known = self._given.get(tether_id)
        if known is None and (known := await self._store.given(tether_id)) is not None:
            self._remember(tether_id, known)
        return known

    async def give(self, tether_id: str, container_id: str, boot_id: str) -> None:
        """Make a tether that of a boot, for good. Idempotent.

        Raises InvalidArgument for what is no such tether's name, FailedPrecondition (WRONG_STATE)
        where it is another boot's.
        """
        if not waits_by_name(tether_id):
            raise InvalidArgument("tether_id: no name of a tether that waits")
        wanted = Given(container_id, boot_id)
        given = await self._store.give(tether_id, wanted)
        if given != wanted:
            raise FailedPrecondition(
                f"tether {tether_id} is not container {container_id}'s", Reason.WRONG_STATE
            )
        self._remember(tether_id, given)
        waiting = self._waiting.get(tether_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(given)

    @contextmanager
    def wait(self, tether_id: str) -> Iterator[asyncio.Future[Given]]:
        """Hold a tether's stream meanwhile; the future tells whose it has become.

        A newer stream takes an older one's place. Raises ResourceExhausted where too many wait.
        """
        former = self._waiting.pop(tether_id, None)
        if former is not None and not former.done():
            former.set_exception(FailedPrecondition("a newer control stream has replaced this one"))
        if len(self._waiting) >= MOST_WAITING:
            raise ResourceExhausted(f"more than {MOST_WAITING} virtual machines wait")
        future: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        self._waiting[tether_id] = future
        try:
            yield future
        finally:
            future.cancel()
            if self._waiting.get(tether_id) is future:
                del self._waiting[tether_id]

    async def follow_replicas(self) -> None:
        """Let go, for ever, of tethers that wait here and were given away by another replica.

        They come back at once, and are carried to who has their container.
        """
        told: asyncio.Queue[str] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store.neighbours.listen(TETHERS_CHANNEL, told.put_nowait))
            while True:
                tether_id = await told.get()
                # Without a name: what was told for a while is lost.
                for name in [tether_id] if tether_id else list(self._waiting):
                    await self._let_go(name)

    async def _let_go(self, tether_id: str) -> None:
        waiting = self._waiting.get(tether_id)
        if waiting is None or waiting.done():
            return
        try:
            given = await self._store.given(tether_id)
        except VicError as error:
            log.warning("cannot tell whose %s is: %s", tether_id, error.message)
            given = None
        if given is not None and not waiting.done():
            waiting.set_exception(Unavailable("the container is another replica's"))

    def _remember(self, tether_id: str, given: Given) -> None:
        if len(self._given) >= _MOST_REMEMBERED:
            self._given.clear()
        self._given[tether_id] = given

"""The history of events, and those who wait for the next ones."""

import asyncio
import time
from collections.abc import AsyncGenerator

from portlayer.errors import OutOfRange, Reason, Unavailable
from services.exec.history import READ_AT_ONCE, History, NewEvent, StoredEvent

_ALL = ""


class EventLog:
    """Lets any number of watchers follow the stored events in their order, each at its own pace.

    A watcher reads from the database, so a slow one costs no memory and loses nothing but what the
    history no longer has. It is woken only by events that it wants: of a hundred who wait for the
    end of their container, one looks when one ends.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        # Those who wait, by the container that they wait for.
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._ending = False

    async def append(self, new_event: NewEvent) -> None:
        """Store an event that changes no record, and announce it."""
        await self._history.append(new_event)
        self.announce(new_event.container_id)

    async def range(self) -> tuple[int, int]:
        """Return the numbers of the oldest and the newest event; zeros when there is none."""
        return await self._history.range()

    def announce(self, container_id: str) -> None:
        """Wake the watchers of a container, or without one all of them.

        Called after a transaction that stored events, here or in another replica.
        """
        keys = (container_id, _ALL) if container_id else tuple(self._watchers)
        for key in keys:
            for watcher in self._watchers.get(key, ()):
                watcher.set()

    def end_streams(self) -> None:
        """Send all watchers away, for the service stops."""
        self._ending = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.set()

    async def newest(self) -> int:
        """Return the number of the newest event."""
        return (await self._history.range())[1]

    async def follow(
        self, after: int, *, container_id: str = _ALL, since_ns: int = 0, until_ns: int = 0
    ) -> AsyncGenerator[StoredEvent, None]:
        """Yield the events after a number, then new ones as they come; close it at the end.

        With ``container_id`` only that container's; with ``until_ns`` it ends at that moment.
        Raises Unavailable when the service stops, and OutOfRange (HISTORY_LOST) when who follows
        all was so slow that the history no longer has what comes next.
        """
        watcher = asyncio.Event()
        watchers = self._watchers.setdefault(container_id, set())
        watchers.add(watcher)
        try:
            while True:
                watcher.clear()
                batch = await self._history.after(
                    after, since_ns=since_ns, container_id=container_id
                )
                if batch and container_id == _ALL:
                    await self._check_unbroken(after, batch[0].sequence)
                for event in batch:
                    if until_ns and event.time_ns > until_ns:
                        return
                    after = event.sequence
                    yield event
                if len(batch) == READ_AT_ONCE:
                    continue
                # What came since this look has woken the watcher.
                left = (until_ns - time.time_ns()) / 1e9 if until_ns else None
                if left is not None and left <= 0:
                    return
                if self._ending:
                    raise Unavailable("the service is stopping")
                try:
                    async with asyncio.timeout(left):
                        await watcher.wait()
                except TimeoutError:
                    continue
        finally:
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[container_id]

    async def _check_unbroken(self, after: int, following: int) -> None:
        """Raise when events between two numbers have been removed; a gap alone may be none."""
        if after and following > after + 1:
            oldest, newest = await self._history.range()
            if oldest > after + 1:
                raise OutOfRange(
                    f"the history has events {oldest} to {newest}, not {after + 1}",
                    Reason.HISTORY_LOST,
                )

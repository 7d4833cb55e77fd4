"""The facets' events as one stream: what was, in the order of time, then what is, as it comes."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.facets import AWAY, RETRY_SECONDS, read
from portlayer.errors import NotImplementedYet, leaf_error

logger = logging.getLogger("vic.events")

# Events that wait for a slow client before the facets' streams are held.
_BACKLOG = 256
# After the epoch, before everything else.
_EVER = Timestamp(nanos=1)

Event = dict[str, Any]


class Source:
    """One facet's events; a facet that restarts is asked again from where it stopped."""

    def __init__(
        self, watch: Callable[..., Any], request: Any, shape: Callable[[Any], Event]
    ) -> None:
        """``request`` has ``since``, where that was asked for, and ``until``."""
        self._watch = watch
        self._request = request
        self._shape = shape
        self._responses: AsyncGenerator[Any, None] | None = None
        # Number of the last event given, or of the newest one when we began; None before that.
        self._reached: int | None = None

    async def begin(self, end: Timestamp | None = None) -> None:
        """Return when the facet has said that it watches; with ``end`` for the history until then.

        Raises what it refuses.
        """
        responses = read(self._watch(self._next_request(end)))
        try:
            self._started(await anext(responses))
        except BaseException:
            await responses.aclose()
            raise
        self._responses = responses

    def from_moment(self, moment: Timestamp) -> None:
        """Begin with what happened at or after a moment."""
        self._request.since.CopyFrom(moment)

    async def history(self, end: Timestamp, *, patient: bool) -> AsyncGenerator[Event, None]:
        """Docker's events until a moment that is past.

        Where the facet goes away meanwhile, who is patient waits for it; else :meth:`events` tells
        the rest.
        """
        while True:
            responses = self._responses or read(self._watch(self._next_request(end)))
            self._responses = None
            try:
                async for response in responses:
                    if response.HasField("event"):
                        yield self._event(response.event)
                    else:
                        self._started(response)
            except AWAY as error:
                logger.info("a facet's events are late: %s", error.message)
                if not patient:
                    return
                await asyncio.sleep(RETRY_SECONDS)
            except NotImplementedYet:
                return
            else:
                return
            finally:
                await responses.aclose()

    async def events(self) -> AsyncGenerator[Event, None]:
        """Docker's events, until the moment asked for; none where the facet has no events yet.

        Raises OutOfRange where the facet's history no longer reaches back to what comes next: a
        client that goes on would never know what it has missed, so its stream is cut off.
        """
        while True:
            responses = self._responses or read(self._watch(self._next_request()))
            self._responses = None
            try:
                async for response in responses:
                    if response.HasField("event"):
                        yield self._event(response.event)
                    else:
                        self._started(response)
            except AWAY as error:
                logger.info("asking for events again: %s", error.message)
                await asyncio.sleep(RETRY_SECONDS)
            except NotImplementedYet:
                return
            else:
                return
            finally:
                await responses.aclose()

    def _next_request(self, end: Timestamp | None = None) -> Any:
        request = type(self._request)()
        request.CopyFrom(self._request)
        if end is not None:
            request.until.CopyFrom(end)
        if self._reached is not None:
            request.after_sequence = self._reached
            if not self._reached:
                # There was nothing when we began, so that all there is now is new.
                request.since.CopyFrom(_EVER)
        return request

    def _started(self, response: Any) -> None:
        # Asked for the past, all that it has since then is still to be told.
        if self._reached is None and not self._request.HasField("since"):
            self._reached = response.started.sequence

    def _event(self, event: Any) -> Event:
        self._reached = event.sequence
        return self._shape(event)


async def in_order(sources: Sequence[AsyncGenerator[Event, None]]) -> AsyncGenerator[Event, None]:
    """Sources that end, merged by time; each is in order by itself."""

    async def following(source: AsyncGenerator[Event, None]) -> Event | None:
        return await anext(source, None)

    try:
        heads = await asyncio.gather(*map(following, sources))
        while found := [(head["timeNano"], n) for n, head in enumerate(heads) if head is not None]:
            _, first = min(found)
            event = heads[first]
            assert event is not None
            yield event
            heads[first] = await following(sources[first])
    finally:
        for source in sources:
            await source.aclose()


async def merged(sources: Sequence[AsyncGenerator[Event, None]]) -> AsyncGenerator[Event, None]:
    """All sources' events as they come, until all have ended. The first failure ends it."""
    queue: asyncio.Queue[Event | BaseException | None] = asyncio.Queue(_BACKLOG)

    async def pump(source: AsyncGenerator[Event, None]) -> None:
        async with aclosing(source):
            async for event in source:
                await queue.put(event)

    async def pump_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for source in sources:
                    group.create_task(pump(source))
        except ExceptionGroup as failures:
            await queue.put(leaf_error(failures))
        else:
            await queue.put(None)

    pumping = asyncio.create_task(pump_all())
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        pumping.cancel()
        await asyncio.wait({pumping})

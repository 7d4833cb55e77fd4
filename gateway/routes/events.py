"""What happens, as it happens: the facets' events in one stream."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.exec_pb2 import WatchEventsRequest
from vic.network.v1.network_pb2 import WatchEventsRequest as NetworkEventsRequest
from vic.storage.v1.image_pb2 import ImageServiceWatchEventsRequest
from vic.storage.v1.volume_pb2 import VolumeServiceWatchEventsRequest

from gateway.call import Call, json_line
from gateway.facets import AWAY, RETRY_SECONDS, Facets, read
from gateway.routes.endpoint import endpoint
from gateway.streams import StreamResponse
from gateway.translate.events import (
    FILTERS,
    container_event,
    fits,
    image_event,
    network_event,
    volume_event,
)
from gateway.translate.filters import Filters
from gateway.translate.times import from_query
from portlayer.errors import NotImplementedYet, leaf_error

logger = logging.getLogger("vic.events")

# Events that wait for a slow client before the facets' streams are held.
_BACKLOG = 256


class EventRoutes:
    """GET /events."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [endpoint("GET", "/events", self.events)]

    async def events(self, call: Call) -> Response:
        """Send events between two moments, and go on until the client leaves."""
        filters = Filters.parse(call.text("filters"), FILTERS)
        since = from_query("since", call.text("since"))
        until = from_query("until", call.text("until"))
        containers, *others = self._sources(since, until)
        # What happens to a container after the head went out must be told.
        await containers.begin()
        sources = [source.events() for source in (containers, *others)]
        return StreamResponse(_lines(merged(sources), filters), "application/json")

    def _sources(self, since: Timestamp | None, until: Timestamp | None) -> "list[_Source]":
        facets = self._facets
        return [
            _Source(
                facets.exec.WatchEvents,
                WatchEventsRequest(since=since, until=until),
                container_event,
            ),
            _Source(
                facets.images.WatchEvents,
                ImageServiceWatchEventsRequest(since=since, until=until),
                image_event,
            ),
            _Source(
                facets.network.WatchEvents,
                NetworkEventsRequest(since=since, until=until),
                network_event,
            ),
            _Source(
                facets.volumes.WatchEvents,
                VolumeServiceWatchEventsRequest(since=since, until=until),
                volume_event,
            ),
        ]


class _Source:
    """One facet's events; a facet that restarts is asked again from where it stopped."""

    def __init__(
        self, watch: Callable[..., Any], request: Any, shape: Callable[[Any], dict[str, Any]]
    ) -> None:
        self._watch = watch
        self._request = request
        self._shape = shape
        self._responses: AsyncGenerator[Any, None] | None = None

    async def begin(self) -> None:
        """Return when the facet has said that it watches. Raises what it refuses."""
        self._responses = read(self._watch(self._request))
        self._started(await anext(self._responses))

    def _started(self, response: Any) -> None:
        if not self._request.HasField("since"):
            self._request.after_sequence = response.started.sequence

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Docker's events, until the moment asked for; none where the facet has no events yet.

        Raises OutOfRange where the facet's history no longer reaches back to what comes next: a
        client that goes on would never know what it has missed, so its stream is cut off.
        """
        while True:
            responses = self._responses or read(self._watch(self._request))
            self._responses = None
            try:
                async for response in responses:
                    if not response.HasField("event"):
                        self._started(response)
                        continue
                    self._request.after_sequence = response.event.sequence
                    yield self._shape(response.event)
            except AWAY as error:
                logger.info("asking for events again: %s", error.message)
                await asyncio.sleep(RETRY_SECONDS)
            except NotImplementedYet:
                return
            else:
                return
            finally:
                await responses.aclose()


async def merged(
    sources: list[AsyncGenerator[dict[str, Any], None]],
) -> AsyncGenerator[dict[str, Any], None]:
    """All sources' events as they come, until all have ended. The first failure ends it."""
    queue: asyncio.Queue[dict[str, Any] | BaseException | None] = asyncio.Queue(_BACKLOG)

    async def pump(source: AsyncGenerator[dict[str, Any], None]) -> None:
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


async def _lines(
    events: AsyncGenerator[dict[str, Any], None], filters: Filters
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for event in events:
            if fits(event, filters):
                yield json_line(event)

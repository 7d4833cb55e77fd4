"""What happens, as it happens: the facets' events in one stream."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.exec_pb2 import WatchEventsRequest
from vic.network.v1.network_pb2 import WatchEventsRequest as NetworkEventsRequest
from vic.storage.v1.image_pb2 import ImageServiceWatchEventsRequest
from vic.storage.v1.volume_pb2 import VolumeServiceWatchEventsRequest

from gateway.call import Call, json_line
from gateway.errors import bad_parameter
from gateway.event_sources import Event, Source, in_order, merged
from gateway.facets import AWAY, Facets
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
from gateway.translate.times import from_query, nanoseconds
from portlayer.errors import NotImplementedYet


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
        if since and until and nanoseconds(until) < nanoseconds(since):
            raise bad_parameter(
                f"`since` time ({call.text('since')}) cannot be after `until` time "
                f"({call.text('until')})"
            )
        now = Timestamp()
        now.FromNanoseconds(time.time_ns())
        sources = self._sources(since, until)
        past = until if until is not None and nanoseconds(until) < nanoseconds(now) else None
        if since is None:
            await _begin(sources, now)
            events = merged([source.events() for source in sources])
        else:
            # Without exec there is next to nothing to tell: it is asked before the head goes out.
            await sources[0].begin(past or now)
            events = _since(sources, past or now, goes_on=past is None)
        return StreamResponse(_lines(events, filters), "application/json")

    def _sources(self, since: Timestamp | None, until: Timestamp | None) -> list[Source]:
        facets = self._facets
        return [
            Source(
                facets.exec.WatchEvents,
                WatchEventsRequest(since=since, until=until),
                container_event,
            ),
            Source(
                facets.images.WatchEvents,
                ImageServiceWatchEventsRequest(since=since, until=until),
                image_event,
            ),
            Source(
                facets.network.WatchEvents,
                NetworkEventsRequest(since=since, until=until),
                network_event,
            ),
            Source(
                facets.volumes.WatchEvents,
                VolumeServiceWatchEventsRequest(since=since, until=until),
                volume_event,
            ),
        ]


async def _begin(sources: Sequence[Source], now: Timestamp) -> None:
    """Return when all watch: what happens after the head went out must be told.

    Without exec, the first, there is next to nothing to tell; another facet that is away is asked
    later, from now on.
    """

    async def begin(source: Source) -> None:
        try:
            await source.begin()
        except NotImplementedYet:
            return
        except AWAY:
            source.from_moment(now)

    containers, *others = sources
    await asyncio.gather(containers.begin(), *map(begin, others))


async def _since(
    sources: Sequence[Source], end: Timestamp, *, goes_on: bool
) -> AsyncGenerator[Event, None]:
    """What was, in order, and then what comes."""
    histories = [source.history(end, patient=not goes_on) for source in sources]
    async with aclosing(in_order(histories)) as events:
        async for event in events:
            yield event
    if goes_on:
        async with aclosing(merged([source.events() for source in sources])) as events:
            async for event in events:
                yield event


async def _lines(
    events: AsyncGenerator[Event, None], filters: Filters
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for event in events:
            if fits(event, filters):
                yield json_line(event)

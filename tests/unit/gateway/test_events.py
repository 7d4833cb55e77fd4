"""Events of all facets in one stream: in order, each once, and only those asked for."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vic.exec.v1 import exec_pb2
from vic.network.v1 import network_pb2

from gateway.event_sources import Source, in_order, merged
from gateway.translate.events import FILTERS, container_event, fits, network_event
from gateway.translate.filters import Filters
from portlayer.errors import Unavailable
from tests.unit.gateway.conftest import Endpoint
from tests.unit.gateway.fake_facets import FakeSuite

CREATE = exec_pb2.EVENT_KIND_CREATE


def at(seconds: int) -> Timestamp:
    return Timestamp(seconds=seconds)


class FakeFacet:
    """Events with their moments; it restarts after each that `cuts` names."""

    def __init__(self, *moments: int, cuts: tuple[int, ...] = ()) -> None:
        self.moments = list(moments)
        self.cuts = set(cuts)
        self.asked: list[int] = []
        self.more = asyncio.Event()

    def watch(self, request: exec_pb2.WatchEventsRequest) -> Any:
        return FakeCall(self._answer(request))

    async def _answer(
        self, request: exec_pb2.WatchEventsRequest
    ) -> AsyncIterator[exec_pb2.WatchEventsResponse]:
        self.asked.append(request.after_sequence)
        newest = len(self.moments)
        started = exec_pb2.WatchEventsStarted(sequence=newest)
        yield exec_pb2.WatchEventsResponse(started=started)
        sent = request.after_sequence or (0 if request.HasField("since") else newest)
        while True:
            for sequence, moment in list(enumerate(self.moments, 1))[sent:]:
                if request.HasField("until") and moment > request.until.seconds:
                    return
                sent = sequence
                if moment >= request.since.seconds or request.after_sequence:
                    event = exec_pb2.Event(sequence=sequence, time=at(moment), kind=CREATE)
                    yield exec_pb2.WatchEventsResponse(event=event)
                if moment in self.cuts:
                    self.cuts.discard(moment)
                    raise Unavailable("stopping")
            if request.HasField("until"):
                return
            await self.more.wait()


class FakeCall:
    def __init__(self, answers: AsyncIterator[Any]) -> None:
        self._answers = answers

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._answers

    def cancel(self) -> bool:
        return True


def source(facet: FakeFacet, since: int | None = None) -> Source:
    request = exec_pb2.WatchEventsRequest(since=None if since is None else at(since))
    return Source(facet.watch, request, container_event)


async def test_the_past_of_all_facets_is_told_in_the_order_of_time() -> None:
    facets = [FakeFacet(1, 4, 5), FakeFacet(), FakeFacet(2, 3, 6)]
    histories = [source(f, 2).history(at(9), patient=True) for f in facets]
    assert [event["time"] async for event in in_order(histories)] == [2, 3, 4, 5, 6]


async def test_a_facet_that_restarts_loses_and_repeats_nothing() -> None:
    facet = FakeFacet(1, 2, 3, 4, 5, cuts=(2, 4))
    past = source(facet, 1).history(at(9), patient=True)
    assert [event["time"] async for event in past] == [1, 2, 3, 4, 5]
    assert facet.asked == [0, 2, 4]


async def test_what_comes_after_the_past_is_told_once() -> None:
    facet = FakeFacet(1, 2)
    one = source(facet, 2)
    assert [event["time"] async for event in one.history(at(9), patient=False)] == [2]
    facet.moments += [3, 4]
    live = merged([one.events()])
    assert [(await anext(live))["time"] for _ in range(2)] == [3, 4]
    await live.aclose()


async def test_what_comes_before_a_facet_is_reached_is_told() -> None:
    """Nothing since 5 at 9, and an event at 10, before the facet answered."""
    facet = FakeFacet(10)
    one = source(facet, 5)
    assert [event async for event in one.history(at(9), patient=False)] == []
    live = merged([one.events()])
    async with asyncio.timeout(60):
        assert (await anext(live))["time"] == 10
    await live.aclose()


async def test_a_first_event_is_told_though_its_facet_restarted_before() -> None:
    facet = FakeFacet()
    one = source(facet)
    await one.begin()
    facet.moments, facet.cuts = [1, 2], {1}
    facet.more.set()
    live = one.events()
    assert [(await anext(live))["time"] for _ in range(2)] == [1, 2]
    await live.aclose()


def event(**attributes: str) -> dict[str, Any]:
    return container_event(
        exec_pb2.Event(
            kind=exec_pb2.EVENT_KIND_EXEC_START,
            container_id="c0ffee" * 10,
            attributes={"name": "web", "image": "localhost:5000/a/busybox:1", **attributes},
            detail="sh -c true",
        )
    )


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, True),
        ({"container": ["web"]}, True),
        ({"container": ["we"]}, True),
        ({"container": ["c0ffee"]}, True),
        ({"container": ["eb"]}, False),
        ({"container": ["db", "web"]}, True),
        ({"event": ["exec_start"]}, True),
        ({"event": ["exec_create", "exec_start: sh"]}, True),
        ({"event": ["die"]}, False),
        ({"type": ["container", "image"]}, True),
        ({"type": ["network"]}, False),
        ({"type": ["container"], "event": ["die"]}, False),
        ({"image": ["localhost:5000/a/busybox"]}, True),
        ({"image": ["localhost:5000/a/busybox:1"]}, True),
        ({"image": ["localhost"]}, False),
        ({"label": ["tier=front", "zone"]}, True),
        ({"label": ["tier=front", "other"]}, False),
        ({"scope": ["local"]}, True),
        ({"scope": ["swarm"]}, False),
        ({"network": ["web"]}, False),
        ({"service": ["x"]}, False),
    ],
)
def test_filters_are_dockers(filters: dict[str, list[str]], expected: bool) -> None:
    parsed = Filters.parse(json.dumps(filters), FILTERS)
    assert fits(event(tier="front", zone="a"), parsed) is expected


def test_actions_are_dockers() -> None:
    assert event()["Action"] == "exec_start: sh -c true"
    archived = exec_pb2.Event(kind=exec_pb2.EVENT_KIND_ARCHIVE_PATH)
    assert container_event(archived)["Action"] == "archive-path"
    network = network_pb2.Event(
        kind=network_pb2.EVENT_KIND_CONNECT,
        network_id="n",
        attributes={"container": "c", "name": "bridge", "type": "bridge"},
    )
    assert network_event(network) == {
        "Type": "network",
        "Action": "connect",
        "Actor": {
            "ID": "n",
            "Attributes": {"container": "c", "name": "bridge", "type": "bridge"},
        },
        "scope": "local",
        "time": 0,
        "timeNano": 0,
    }


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"filters": '{"colour":["red"]}'}, "invalid filter 'colour'"),
        ({"filters": "red"}, "invalid filter"),
        ({"since": "yesterday"}, 'invalid value for "since": yesterday is not a Unix time'),
        ({"since": "20", "until": "10"}, "`since` time (20) cannot be after `until` time (10)"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    engine: Endpoint, suite: FakeSuite, query: dict[str, str], message: str
) -> None:
    async with engine.http() as client:
        answer = await client.get("/events", params=cast(Any, query))
    assert answer.status_code == 400
    assert answer.json()["message"] == message

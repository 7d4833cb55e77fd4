"""Waiting for a container's end, also across a restart of the exec facet."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.exec_pb2 import (
    EventKind,
    GetRequest,
    WaitCondition,
    WaitRequest,
    WaitResponse,
    WaitResult,
    WatchEventsRequest,
)

from gateway.call import Call, json_line, json_response
from gateway.errors import bad_parameter
from gateway.facets import AWAY, RETRY_SECONDS, Facets, read
from gateway.routes.containers import reference
from gateway.routes.endpoint import endpoint
from gateway.streams import StreamResponse, unless_gone
from gateway.translate import states
from portlayer.errors import Internal, NotFound

logger = logging.getLogger("vic.waiting")

_CONDITIONS = {
    "": WaitCondition.WAIT_CONDITION_NOT_RUNNING,
    "not-running": WaitCondition.WAIT_CONDITION_NOT_RUNNING,
    "next-exit": WaitCondition.WAIT_CONDITION_NEXT_EXIT,
    "removed": WaitCondition.WAIT_CONDITION_REMOVED,
}

_HEAD_AT_ONCE_SINCE = (1, 30)


class WaitRoutes:
    """POST /containers/{id}/wait."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [endpoint("POST", "/containers/{container:path}/wait", self.wait)]

    async def wait(self, call: Call) -> Response:
        """Answer with the head as soon as exec is watching, with the exit code when it is there."""
        condition = ""
        if call.version >= _HEAD_AT_ONCE_SINCE:
            condition = call.text("condition")
        if condition not in _CONDITIONS:
            raise bad_parameter(f'invalid condition: "{condition}"')
        waiting = Waiting(self._facets, reference(call), _CONDITIONS[condition])
        await waiting.begin()
        if call.version < _HEAD_AT_ONCE_SINCE:
            result = await unless_gone(waiting.result(), call.request.receive)
            return json_response(_answer(result))
        return StreamResponse(_line(waiting), "application/json")


class Waiting:
    """One wait. What exec can't tell because it was restarted is read from its events."""

    def __init__(self, facets: Facets, name: str, condition: WaitCondition) -> None:
        self._facets = facets
        self._condition = condition
        self._began = Timestamp()
        self._began.GetCurrentTime()
        self._messages: AsyncGenerator[WaitResponse, None] = read(
            facets.exec.Wait(WaitRequest(reference=name, condition=condition))
        )
        self._container_id = ""

    async def begin(self) -> None:
        """Return when exec is watching. Raises what it refuses."""
        message = await anext(self._messages, None)
        if message is None or not message.HasField("waiting"):
            raise Internal("the wait began without its first message")
        self._container_id = message.waiting.container_id

    async def result(self) -> WaitResult:
        """Return how it ended."""
        try:
            async with aclosing(self._messages):
                message = await anext(self._messages, None)
            if message is None or not message.HasField("result"):
                raise Internal("the wait ended without a result")
        except AWAY as error:
            logger.info("a wait goes on without its stream: %s", error.message)
            return await self._result_of_history()
        return message.result

    async def _result_of_history(self) -> WaitResult:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                return await self._result_at_rest() or await self._result_of_events()
            except AWAY as error:
                logger.info("exec is still away: %s", error.message)

    async def _result_at_rest(self) -> WaitResult | None:
        """The result of a container that doesn't run, where that is all that was waited for."""
        if self._condition != WaitCondition.WAIT_CONDITION_NOT_RUNNING:
            return None
        try:
            got = await self._facets.exec.Get(GetRequest(reference=self._container_id))
        except NotFound:
            return None  # it is gone altogether; its events tell how it ended
        if states.is_running(got.container):
            return None
        return WaitResult(exit_code=got.container.status.exit_code)

    async def _result_of_events(self) -> WaitResult:
        """Follow the events since the wait began, those of exec's absence included."""
        code = 0
        request = WatchEventsRequest(since=self._began)
        async with aclosing(read(self._facets.exec.WatchEvents(request))) as messages:
            async for message in messages:
                event = message.event
                if event.container_id != self._container_id:
                    continue
                if event.kind == EventKind.EVENT_KIND_DIE:
                    code = int(event.attributes.get("exitCode", "0"))
                    if self._condition != WaitCondition.WAIT_CONDITION_REMOVED:
                        break
                if event.kind == EventKind.EVENT_KIND_DESTROY:
                    break
                given_up = event.kind == EventKind.EVENT_KIND_STOP
                if given_up and self._condition != WaitCondition.WAIT_CONDITION_REMOVED:
                    # Without an end since: it waited for its restart, and had ended before.
                    return await self._last_result()
        return WaitResult(exit_code=code)

    async def _last_result(self) -> WaitResult:
        """Return how the container ended the last time."""
        try:
            got = await self._facets.exec.Get(GetRequest(reference=self._container_id))
        except NotFound:
            return WaitResult()
        return WaitResult(exit_code=got.container.status.exit_code)


async def _line(waiting: Waiting) -> AsyncGenerator[bytes, None]:
    yield json_line(_answer(await waiting.result()))


def _answer(result: WaitResult) -> dict[str, object]:
    answer: dict[str, object] = {"StatusCode": result.exit_code}
    if result.error:
        answer["Error"] = {"Message": result.error}
    return answer

"""Samples of containers' use for everybody whom this process tells of it, from one stream.

`docker stats` asks for each container by itself. Interaction is asked for all of them on one
stream, whose messages carry what is due of all; a sample is written once, however many watch.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from contextvars import Context
from typing import TYPE_CHECKING, Final

import grpc
from vic.exec.v1.container_pb2 import Container
from vic.interaction.v1 import interaction_pb2
from vic.interaction.v1.interaction_pb2 import (
    WATCH_END_UNSPECIFIED,
    StatsRequest,
    WatchedSample,
    WatchStatsRequest,
    WatchStatsResponse,
)

from gateway.call import json_line
from gateway.facets import AWAY, RETRY_SECONDS, read
from gateway.streams import until_first
from gateway.translate.stats import StatsForm
from portlayer.errors import Reason, Unavailable, VicError, domain_errors

if TYPE_CHECKING:  # the type stubs alone tell gRPC's two kinds of client apart
    from vic.interaction.v1.interaction_pb2_grpc import InteractionServiceAsyncStub

    _Call = grpc.aio.StreamStreamCall[WatchStatsRequest, WatchStatsResponse]

logger = logging.getLogger("vic.stats")

# A facet that is restarted is back sooner, and who watches notices nothing but a pause.
_AWAY_SECONDS: Final = 10.0


class _NotHere(Exception):
    """The container is another replica's of interaction."""


class _Watcher:
    """One client that watches a container: what it has not taken yet, of which only the newest."""

    def __init__(self) -> None:
        self.begun = False
        self._line: bytes | None = None
        self._end: Exception | None = None
        self._ended = False
        self._changed = asyncio.Event()

    def put(self, line: bytes) -> None:
        """Tell of a sample."""
        self.begun = True
        self._line = line
        self._changed.set()

    def end(self, error: Exception | None) -> None:
        """Tell that no more come, and why."""
        self._end, self._ended = error, True
        self._changed.set()

    async def next(self) -> bytes | None:
        """Return the newest sample, or None at the end. Raises what it ended with."""
        while self._line is None:
            if self._ended:
                if self._end is not None:
                    raise self._end
                return None
            self._changed.clear()
            await self._changed.wait()
        line, self._line = self._line, None
        return line


class _Container:
    """One container that is watched."""

    def __init__(self, container: Container) -> None:
        self.proto = container
        self.form = StatsForm(container)
        self.watchers: set[_Watcher] = set()

    def tell(self, told: WatchedSample) -> None:
        """Give a sample to all who watch."""
        sample = told.sample if told.HasField("sample") else None
        line = json_line(self.form.json(sample))
        first: bytes | None = None
        for watcher in self.watchers:
            if watcher.begun:
                watcher.put(line)
                continue
            # Who begins has seen none before.
            if first is None:
                first = json_line(StatsForm(self.proto).json(sample))
            watcher.put(first)

    def end(self, error: Exception | None) -> None:
        """Tell all who watch that it is over."""
        for watcher in self.watchers:
            watcher.end(error)


class WatchedContainers:
    """All whose use somebody is told of. The stream is open while there are any."""

    def __init__(self, interaction: "InteractionServiceAsyncStub") -> None:
        self._interaction = interaction
        self._containers: dict[str, _Container] = {}
        self._changed = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._heard = 0.0

    async def lines(self, container: Container) -> AsyncGenerator[bytes, None]:
        """Yield a container's samples as lines of JSON until it is removed.

        A reader that is slow skips samples, and holds up nobody. Raises Unavailable.
        """
        watcher = _Watcher()
        watched = self._containers.get(container.id)
        if watched is None:
            watched = self._containers[container.id] = _Container(container)
        watched.watchers.add(watcher)
        self._changed.set()
        if self._reading is None:
            self._heard = time.monotonic()
            # It is no part of the request that happened to be the first.
            self._reading = asyncio.create_task(self._read(), context=Context())
        try:
            while (line := await watcher.next()) is not None:
                yield line
            return
        except _NotHere:
            pass
        finally:
            self._leave(container.id, watched, watcher)
        async with aclosing(self._carried(container)) as lines:
            async for line in lines:
                yield line

    async def _carried(self, container: Container) -> AsyncGenerator[bytes, None]:
        """Yield what whichever replica has the container tells."""
        form = StatsForm(container)
        request = StatsRequest(container_id=container.id, stream=True)
        async with aclosing(read(self._interaction.Stats(request))) as responses:
            async for response in responses:
                sample = response.sample if response.HasField("sample") else None
                yield json_line(form.json(sample))

    def _leave(self, container_id: str, watched: _Container, watcher: _Watcher) -> None:
        watched.watchers.discard(watcher)
        if not watched.watchers and self._containers.get(container_id) is watched:
            del self._containers[container_id]
            self._changed.set()
        if not self._containers and self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self) -> None:
        """Keep a stream open; a new one where interaction was away for a while."""
        while True:
            try:
                await self._stream()
            except AWAY as error:
                if time.monotonic() - self._heard > _AWAY_SECONDS:
                    self._end_all(error)
            except Exception as error:
                # Whatever it is, those who wait are told.
                if not isinstance(error, VicError):
                    logger.error("samples could not be passed on", exc_info=error)
                self._end_all(error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _stream(self) -> None:
        """Serve one stream to its end, which is an error."""
        call = self._interaction.WatchStats()
        asked: set[str] = set()
        try:
            with domain_errors():
                await until_first(self._ask(call, asked), self._take(call, asked))
        finally:
            call.cancel()

    async def _ask(self, call: "_Call", asked: set[str]) -> None:
        """Have those watched whom somebody watches here."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                self._changed.clear()
                wanted = self._containers.keys()
                watch, leave = wanted - asked, asked - wanted
                if watch or leave:
                    asked |= watch
                    asked -= leave
                    await call.write(WatchStatsRequest(watch=watch, leave=leave))
                else:
                    await self._changed.wait()
        # It has ended; how, the answers tell.
        await asyncio.get_running_loop().create_future()

    async def _take(self, call: "_Call", asked: set[str]) -> None:
        while isinstance(response := await call.read(), WatchStatsResponse):
            self._heard = time.monotonic()
            for told in response.samples:
                watched = self._containers.get(told.container_id)
                if told.end == WATCH_END_UNSPECIFIED:
                    if watched is not None:
                        watched.tell(told)
                    continue
                asked.discard(told.container_id)
                if watched is not None:
                    del self._containers[told.container_id]
                    watched.end(_why(told))
        raise Unavailable("interaction tells no more of the use of resources")

    def _end_all(self, error: Exception) -> None:
        containers, self._containers = self._containers, {}
        for watched in containers.values():
            watched.end(error)


def _why(told: WatchedSample) -> Exception | None:
    """Return the error that an end is, if it is one."""
    match told.end:
        case interaction_pb2.WATCH_END_REMOVED:
            return None
        case interaction_pb2.WATCH_END_NOT_HERE:
            return _NotHere()
        case _:
            return Unavailable(
                f"the agent in the VM of container {told.container_id} does not answer",
                Reason.TETHER_AWAY,
            )

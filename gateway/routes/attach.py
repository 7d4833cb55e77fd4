"""Attaching to a container's streams, on a hijacked connection."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.container_pb2 import ContainerState
from vic.exec.v1.exec_pb2 import GetRequest
from vic.interaction.v1.interaction_pb2 import AttachRequest, AttachResponse, AttachStart

from gateway.call import Call
from gateway.errors import bad_parameter, conflict
from gateway.facets import Facets, read
from gateway.hijack import HijackedConnection, HijackResponse
from gateway.hijack.protocol import EXTENSION
from gateway.routes.containers import reference
from gateway.routes.endpoint import endpoint
from gateway.streams import until_first
from gateway.translate.detach import DetachKeys
from gateway.translate.framing import frame, media_type
from portlayer.errors import Internal, VicError

logger = logging.getLogger("vic.attach")

# How long a process may take over what a client sent before it went away.
_LEFT_OVER_INPUT_SECONDS = 10.0


class AttachRoutes:
    """POST /containers/{id}/attach."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [endpoint("POST", "/containers/{container:path}/attach", self.attach)]

    async def attach(self, call: Call) -> Response:
        """Join the client to the container; the head goes out once no byte can be missed."""
        if EXTENSION not in call.request.scope.get("extensions", {}):
            raise bad_parameter("attach needs HTTP/1.1 on a connection of its own")
        start = AttachStart(
            stdin=call.flag("stdin"),
            stdout=call.flag("stdout"),
            stderr=call.flag("stderr"),
            logs=call.flag("logs"),
            stream=call.flag("stream"),
        )
        keys = DetachKeys.parse(call.text("detachKeys"))
        name = reference(call)
        container = (await self._facets.exec.Get(GetRequest(reference=name))).container
        if container.status.state == ContainerState.CONTAINER_STATE_PAUSED:
            raise conflict(f"container {name} is paused, unpause the container before attach")
        if container.status.state == ContainerState.CONTAINER_STATE_RESTARTING:
            raise conflict(f"container {name} is restarting, wait until the container is running")
        start.container_id = container.id
        start.stdin = start.stdin and container.spec.process.stdin
        tty = container.spec.process.tty
        client = _Client(keys if tty else None)
        responses = read(self._facets.interaction.Attach(client.requests(start)))
        first = await anext(responses, None)
        if first is None or not first.HasField("ready"):
            raise Internal("attach began without its first message")
        client.tty = first.ready.tty

        async def carry(connection: HijackedConnection) -> None:
            await client.carry(connection, responses)

        return HijackResponse(carry, media_type(call.version, client.tty), {})


class _Client:
    """One attached client: its input to the facet, the facet's output to it."""

    def __init__(self, keys: DetachKeys | None) -> None:
        self.tty = False
        self._keys = keys
        self._connection: asyncio.Future[HijackedConnection] = (
            asyncio.get_running_loop().create_future()
        )
        self._input_ended = asyncio.Event()
        self._detached = asyncio.Event()

    async def requests(self, start: AttachStart) -> AsyncIterator[AttachRequest]:
        """What the facet reads: the start, then input; its end is the client's half-close."""
        yield AttachRequest(start=start)
        try:
            if not start.stdin:
                return
            connection = await self._connection
            while data := await connection.read():
                if self._keys is not None:
                    data, detached = self._keys.scan(data)
                    if detached:
                        self._detached.set()
                        # The session goes on without this client: its input isn't at its end.
                        await asyncio.Event().wait()
                if data:
                    yield AttachRequest(stdin=data)
        finally:
            self._input_ended.set()

    async def carry(
        self, connection: HijackedConnection, responses: AsyncGenerator[AttachResponse, None]
    ) -> None:
        """Carry bytes both ways until the output ends, the client goes or detaches."""
        self._connection.set_result(connection)
        try:
            await until_first(
                self._output(connection, responses),
                self._until_gone(connection),
                self._until_detached(),
            )
        except VicError as error:
            logger.warning("an attached client was cut off: %s", error.message)
        finally:
            await responses.aclose()

    async def _output(
        self, connection: HijackedConnection, responses: AsyncGenerator[AttachResponse, None]
    ) -> None:
        async for response in responses:
            if response.HasField("output"):
                output = response.output
                data = output.data if self.tty else frame(output.stream, output.data)
                await connection.write(data)

    async def _until_gone(self, connection: HijackedConnection) -> None:
        """Until nobody reads the output any more and what the client had sent is delivered."""
        await connection.gone.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEFT_OVER_INPUT_SECONDS):
                await self._input_ended.wait()

    async def _until_detached(self) -> None:
        await self._detached.wait()

"""Attaching to a container's streams, on a hijacked connection."""

import logging

from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.container_pb2 import ContainerState
from vic.exec.v1.exec_pb2 import EventKind, GetRequest
from vic.interaction.v1.interaction_pb2 import AttachRequest, AttachStart, Output
from vic.tether.v1.process_pb2 import STD_STREAM_STDERR

from gateway.call import Call
from gateway.errors import bad_parameter, conflict
from gateway.facets import Facets, read
from gateway.hijack import HijackedConnection, HijackResponse
from gateway.hijack.protocol import EXTENSION
from gateway.hijack.websocket import HandshakeError, WebSocketConnection, handshake
from gateway.process_client import Answers, Connection, ProcessClient
from gateway.routes.containers import reference
from gateway.routes.endpoint import endpoint
from gateway.streams import until_first
from gateway.tellings import tell, told
from gateway.translate import states
from gateway.translate.detach import DetachKeys
from gateway.translate.framing import RAW, media_type
from portlayer.errors import Internal, VicError

logger = logging.getLogger("vic.attach")

# The docker CLI waits for the container's end when output has ended; without a word its user would
# sit before a terminal that is dead.
_CUT_OFF = b"vic: this client was cut off: the container goes on, attach again\r\n"


class AttachRoutes:
    """POST /containers/{id}/attach, GET /containers/{id}/attach/ws."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("POST", "/containers/{container:path}/attach", self.attach),
            endpoint("GET", "/containers/{container:path}/attach/ws", self.attach_websocket),
        ]

    async def attach(self, call: Call) -> Response:
        """Join the client to the container; the head goes out once no byte can be missed."""
        start, client, answers = await self._join(call)

        async def carry(connection: HijackedConnection) -> None:
            await self._carry(start, client, connection, answers)

        return HijackResponse(carry, media_type(call.version, client.raw), {})

    async def attach_websocket(self, call: Call) -> Response:
        """The same in a WebSocket's messages, both output streams raw in one."""
        try:
            headers = handshake(call.request.headers)
        except HandshakeError as error:
            raise bad_parameter(str(error)) from error
        start, client, answers = await self._join(call)
        client.raw = True

        async def carry(connection: HijackedConnection) -> None:
            websocket = WebSocketConnection(connection)
            if client.takes_input:
                await self._carry(start, client, websocket, answers)
            else:
                # Somebody has to answer pings, and to see the peer close.
                carrying = self._carry(start, client, websocket, answers)
                await until_first(carrying, _drain(websocket))
            await websocket.close()

        return HijackResponse(carry, RAW, headers)

    async def _join(self, call: Call) -> tuple[AttachStart, ProcessClient[AttachRequest], Answers]:
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
        if states.is_restarting(container):
            raise conflict(f"container {name} is restarting, wait until the container is running")
        start.container_id = container.id
        start.stdin = start.stdin and container.spec.process.stdin
        tty = container.spec.process.tty
        client = ProcessClient(
            AttachRequest, raw=tty, takes_input=start.stdin, keys=keys if tty else None
        )
        responses = read(self._facets.interaction.Attach(client.requests(start)))
        first = await anext(responses, None)
        if first is None or not first.HasField("ready"):
            raise Internal("attach began without its first message")
        client.raw = first.ready.tty
        return start, client, responses

    async def _carry(
        self,
        start: AttachStart,
        client: ProcessClient[AttachRequest],
        connection: Connection,
        answers: Answers,
    ) -> None:
        async with told(self._facets, start.container_id, EventKind.EVENT_KIND_ATTACH):
            try:
                await client.carry(connection, answers)
            except VicError as error:
                logger.warning("an attached client was cut off: %s", error.message)
                if client.raw or start.stderr:
                    told_so = Output(stream=STD_STREAM_STDERR, data=_CUT_OFF)
                    await connection.write(client.form(told_so))
        if client.detached:
            await tell(self._facets, start.container_id, EventKind.EVENT_KIND_DETACH)


async def _drain(connection: Connection) -> None:
    """Read to the end what nobody wants."""
    while await connection.read():
        pass

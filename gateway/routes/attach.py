"""Attaching to a container's streams, on a hijacked connection."""

import logging

from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.container_pb2 import ContainerState
from vic.exec.v1.exec_pb2 import GetRequest
from vic.interaction.v1.interaction_pb2 import AttachRequest, AttachStart

from gateway.call import Call
from gateway.errors import bad_parameter, conflict
from gateway.facets import Facets, read
from gateway.hijack import HijackedConnection, HijackResponse
from gateway.hijack.protocol import EXTENSION
from gateway.process_client import ProcessClient
from gateway.routes.containers import reference
from gateway.routes.endpoint import endpoint
from gateway.translate.detach import DetachKeys
from gateway.translate.framing import media_type
from portlayer.errors import Internal, VicError

logger = logging.getLogger("vic.attach")


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
        client = ProcessClient(
            AttachRequest, tty=tty, takes_input=start.stdin, keys=keys if tty else None
        )
        responses = read(self._facets.interaction.Attach(client.requests(start)))
        first = await anext(responses, None)
        if first is None or not first.HasField("ready"):
            raise Internal("attach began without its first message")
        client.tty = first.ready.tty

        async def carry(connection: HijackedConnection) -> None:
            try:
                await client.carry(connection, responses)
            except VicError as error:
                logger.warning("an attached client was cut off: %s", error.message)

        return HijackResponse(carry, media_type(call.version, client.tty), {})

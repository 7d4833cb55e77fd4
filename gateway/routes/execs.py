"""Additional processes in running containers: ``docker exec``."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator

from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.container_pb2 import Container, ContainerState
from vic.exec.v1.exec_pb2 import EventKind, GetRequest
from vic.interaction.v1.interaction_pb2 import (
    InspectExecRequest,
    InspectExecResponse,
    Output,
    ResizeRequest,
    StartExecRequest,
    StartExecStart,
)
from vic.tether.v1.process_pb2 import STD_STREAM_STDOUT

from gateway.call import Call, json_response
from gateway.errors import bad_parameter, conflict
from gateway.facets import Facets, read
from gateway.hijack import HijackedConnection, HijackResponse
from gateway.hijack.protocol import EXTENSION
from gateway.process_client import ProcessClient
from gateway.routes.containers import reference
from gateway.routes.endpoint import endpoint
from gateway.tellings import tell
from gateway.translate import states
from gateway.translate.detach import DetachKeys
from gateway.translate.execs import (
    exec_json,
    failure_sentence,
    read_exec_request,
    read_start_request,
)
from gateway.translate.framing import media_type
from gateway.translate.terminals import window_size
from portlayer.errors import Internal, NotFound, Reason, VicError

# Created here and not started here yet; of those beyond it the facet is asked.
_MOST_REMEMBERED = 256


class ExecRoutes:
    """Endpoints below /exec, and /containers/{id}/exec."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets
        # What was created, for the start that follows: it saves a call. Who starts one that was
        # created by way of another gateway, or twice, has the facet asked.
        self._created: OrderedDict[str, InspectExecResponse] = OrderedDict()

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("POST", "/containers/{container:path}/exec", self.create),
            endpoint("POST", "/exec/{exec}/start", self.start),
            endpoint("GET", "/exec/{exec}/json", self.inspect),
            endpoint("POST", "/exec/{exec}/resize", self.resize),
        ]

    async def create(self, call: Call) -> Response:
        """POST /containers/{id}/exec."""
        body = await call.json()
        container = await self._container(reference(call))
        request = read_exec_request(body, container, call.version)
        _check_running(container)
        created = await self._facets.interaction.CreateExec(request)
        self._created[created.exec_id] = InspectExecResponse(
            exec_id=created.exec_id,
            container_id=container.id,
            process=request.process,
            streams=request.streams,
        )
        if len(self._created) > _MOST_REMEMBERED:
            self._created.popitem(last=False)
        return json_response({"Id": created.exec_id}, 201)

    async def start(self, call: Call) -> Response:
        """POST /exec/{id}/start: runs it, and carries its streams unless detached."""
        detach, raw, window = read_start_request(await call.json(), call.version)
        info = self._created.pop(call.path("exec"), None) or await self._inspect(call)
        start = StartExecStart(exec_id=info.exec_id, detach=detach, window=window)
        if detach:
            await self._check_start(call, info)
            return await self._start_detached(start)
        if EXTENSION not in call.request.scope.get("extensions", {}):
            raise bad_parameter("exec start needs HTTP/1.1 on a connection of its own")
        process = info.process
        client = ProcessClient(
            StartExecRequest,
            raw=raw,
            takes_input=process.stdin,
            keys=DetachKeys.parse(info.streams.detach_keys) if process.tty else None,
        )
        # The stream is opened meanwhile; nothing is said on it before that is known.
        checking = asyncio.ensure_future(self._check_start(call, info))
        starting = self._facets.interaction.StartExec(client.requests(start, checking))
        try:
            await checking
        except BaseException:
            starting.cancel()
            raise
        answers = read(starting)
        first = await anext(answers, None)
        if first is None or not first.HasField("ready"):
            raise Internal("an exec began without its first message")

        async def carry(connection: HijackedConnection) -> None:
            try:
                await client.carry(connection, answers)
            except VicError as error:
                # The head is out: the client learns it as output, and from the exit code.
                told = Output(stream=STD_STREAM_STDOUT, data=_line(failure_sentence(error)))
                await connection.write(client.form(told))
            if client.detached:
                kind = EventKind.EVENT_KIND_EXEC_DETACH
                await tell(self._facets, info.container_id, kind, execID=info.exec_id)

        return HijackResponse(carry, media_type(call.version, raw), {})

    async def _check_start(self, call: Call, info: InspectExecResponse) -> None:
        """Raise what keeps an exec from being started."""
        try:
            container = await self._container(info.container_id)
        except NotFound:
            await self._inspect(call)  # it has gone with its container
            raise
        _check_running(container)

    async def _start_detached(self, start: StartExecStart) -> Response:
        async def requests() -> AsyncIterator[StartExecRequest]:
            yield StartExecRequest(start=start)

        answers = read(self._facets.interaction.StartExec(requests()))
        try:
            async for _ in answers:
                pass
        except VicError as error:
            if error.reason is not Reason.LAUNCH_FAILED:
                raise
            raise bad_parameter(failure_sentence(error)) from error
        return Response(status_code=200)

    async def inspect(self, call: Call) -> Response:
        """GET /exec/{id}/json."""
        return json_response(exec_json(await self._inspect(call)))

    async def resize(self, call: Call) -> Response:
        """POST /exec/{id}/resize."""
        window = window_size(call.text("h"), call.text("w"))
        info = await self._inspect(call)
        _check_running(await self._container(info.container_id))
        request = ResizeRequest(container_id=info.container_id, exec_id=info.exec_id, window=window)
        await self._facets.interaction.Resize(request)
        return Response(status_code=200)

    async def _inspect(self, call: Call) -> InspectExecResponse:
        return await self._facets.interaction.InspectExec(
            InspectExecRequest(exec_id=call.path("exec"))
        )

    async def _container(self, name: str) -> Container:
        return (await self._facets.exec.Get(GetRequest(reference=name))).container


def _check_running(container: Container) -> None:
    """Refuse what can't run anything, in Docker's words."""
    state = container.status.state
    if state == ContainerState.CONTAINER_STATE_PAUSED:
        raise conflict(f"Container {container.id} is paused, unpause the container before exec")
    if states.is_restarting(container):
        raise conflict(
            f"Container {container.id} is restarting, wait until the container is running"
        )
    if not states.is_running(container):
        raise conflict(f"container {container.id} is not running")


def _line(sentence: str) -> bytes:
    return sentence.encode() + b"\r\n"

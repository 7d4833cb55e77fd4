"""What runs in a container, and what it uses: ``docker stats`` and ``docker top``."""

from contextlib import aclosing

from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.container_pb2 import Container, ContainerState
from vic.exec.v1.exec_pb2 import EventKind, GetRequest
from vic.interaction.v1.interaction_pb2 import StatsRequest, TopRequest

from gateway.call import Call, json_response
from gateway.errors import bad_parameter, conflict
from gateway.facets import Facets, read
from gateway.routes.containers import reference
from gateway.routes.endpoint import endpoint
from gateway.streams import StreamResponse
from gateway.tellings import tell
from gateway.translate import states
from gateway.translate.stats import StatsForm
from gateway.watched import WatchedContainers
from portlayer.errors import Reason, VicError


class StatsRoutes:
    """GET /containers/{id}/stats and /containers/{id}/top."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets
        self._watched = WatchedContainers(facets.interaction)

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/containers/{container:path}/stats", self.stats),
            endpoint("GET", "/containers/{container:path}/top", self.top),
        ]

    async def stats(self, call: Call) -> Response:
        """Send samples as they come, or one whose share of the CPU can be told."""
        stream, one_shot = call.flag("stream", default=True), call.flag("one-shot")
        if stream and one_shot and call.version >= (1, 41):
            raise bad_parameter("cannot have stream=true and one-shot=true")
        container = await self._container(call)
        form = StatsForm(container)
        if not stream and not states.is_running(container):
            return json_response(form.json(None))
        if stream:
            return StreamResponse(self._watched.lines(container), "application/json")
        request = StatsRequest(container_id=container.id, stream=not one_shot)
        samples = read(self._facets.interaction.Stats(request))
        async with aclosing(samples):
            told = form.json(None)
            # Without one-shot the first sample only gives the second one its "precpu".
            wanted = 1 if one_shot else 2
            try:
                async for response in samples:
                    told = form.json(response.sample if response.HasField("sample") else None)
                    wanted -= 1
                    if not wanted or not response.HasField("sample"):
                        break
            except VicError as error:
                # One that was paused before anybody watched stands still, and has told nothing.
                if error.reason is not Reason.TETHER_AWAY or not _is_paused(container):
                    raise
        return json_response(told)

    async def top(self, call: Call) -> Response:
        """List the processes as ps does, with its options."""
        container = await self._container(call)
        if not states.is_running(container):
            raise conflict(f"container {container.id} is not running")
        if _is_paused(container):
            raise conflict(
                f"Container {container.id} is paused, and its virtual machine stands still: "
                "unpause the container before top"
            )
        if states.is_restarting(container):
            raise conflict(
                f"Container {container.id} is restarting, wait until the container is running"
            )
        request = TopRequest(container_id=container.id, ps_args=call.text("ps_args").split())
        table = await self._facets.interaction.Top(request)
        await tell(self._facets, container.id, EventKind.EVENT_KIND_TOP)
        processes = [list(row.columns) for row in table.rows]
        return json_response({"Titles": list(table.titles), "Processes": processes})

    async def _container(self, call: Call) -> Container:
        return (await self._facets.exec.Get(GetRequest(reference=reference(call)))).container


def _is_paused(container: Container) -> bool:
    return container.status.state == ContainerState.CONTAINER_STATE_PAUSED

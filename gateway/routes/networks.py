"""Networks: create, list, inspect, remove, prune, and who is in them."""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.container_pb2 import ContainerState
from vic.exec.v1.exec_pb2 import ConnectNetworkRequest, DisconnectNetworkRequest
from vic.network.v1.network_pb2 import (
    GetRequest,
    ListRequest,
    Network,
    PruneRequest,
    RemoveRequest,
)

from gateway.call import Call, json_response, no_content
from gateway.errors import bad_parameter
from gateway.facets import Facets
from gateway.fields import Fields
from gateway.routes.endpoint import endpoint
from gateway.translate.attachments import read_attachment
from gateway.translate.filters import Filters
from gateway.translate.networks import LIST_FILTERS, network_json, prunable, select
from gateway.translate.plans import PRUNE_FILTERS, label_filters, read_network
from gateway.translate.until import until_of
from portlayer.errors import FailedPrecondition, Reason

# A guest on a busy host takes its time to let interfaces come and go.
_PLUG_SECONDS = 120.0
# For the VMs of ended containers to be gone, which have two minutes to flush their disks.
_LEAVING_SECONDS = 180.0
_LOOK_SECONDS = 0.1

_ALIVE = (
    ContainerState.CONTAINER_STATE_STARTING,
    ContainerState.CONTAINER_STATE_RUNNING,
    ContainerState.CONTAINER_STATE_PAUSED,
    ContainerState.CONTAINER_STATE_STOPPING,
)


class NetworkRoutes:
    """Endpoints below /networks."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/networks", self.list),
            endpoint("GET", "/networks/", self.list),
            endpoint("POST", "/networks/create", self.create),
            endpoint("POST", "/networks/prune", self.prune),
            endpoint("POST", "/networks/{network}/connect", self.connect),
            endpoint("POST", "/networks/{network}/disconnect", self.disconnect),
            endpoint("GET", "/networks/{network}", self.inspect),
            endpoint("DELETE", "/networks/{network}", self.remove),
        ]

    async def list(self, call: Call) -> Response:
        """GET /networks."""
        filters = Filters.parse(call.text("filters"), LIST_FILTERS)
        request = ListRequest(with_endpoints="dangling" in filters)
        listed = await self._facets.network.List(request)
        return json_response([network_json(n, {}) for n in select(listed.networks, filters)])

    async def create(self, call: Call) -> Response:
        """POST /networks/create."""
        created = await self._facets.network.Create(read_network(await call.json()))
        answer = {"Id": created.network.id, "Warning": "\n".join(created.warnings)}
        return json_response(answer, 201)

    async def prune(self, call: Call) -> Response:
        """POST /networks/prune."""
        filters = Filters.parse(call.text("filters"), PRUNE_FILTERS)
        until = until_of(filters)
        request = PruneRequest(until=until, label_filters=label_filters(filters))
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING_SECONDS):
                while await self._left_by_all(filters, until):  # noqa: ASYNC110 — nothing tells of it
                    await asyncio.sleep(_LOOK_SECONDS)
        pruned = await self._facets.network.Prune(request)
        return json_response({"NetworksDeleted": list(pruned.removed_names) or None})

    async def connect(self, call: Call) -> Response:
        """POST /networks/{id}/connect."""
        if call.path("network") == "host":
            raise bad_parameter(
                "cannot connect container to host network - container must be created in host "
                "network mode"
            )
        fields = Fields(await call.json())
        request = ConnectNetworkRequest(
            reference=_container(fields),
            request_id=secrets.token_hex(16),
            attachment=read_attachment(call.path("network"), fields.child("EndpointConfig")),
        )
        fields.finish()
        await self._facets.exec.ConnectNetwork(request, timeout=_PLUG_SECONDS)
        return Response(status_code=200)

    async def disconnect(self, call: Call) -> Response:
        """POST /networks/{id}/disconnect."""
        fields = Fields(await call.json())
        # A guest is never asked whether it likes to; and who is gone is in no network.
        fields.flag("Force")
        request = DisconnectNetworkRequest(
            reference=_container(fields),
            request_id=secrets.token_hex(16),
            network=call.path("network"),
        )
        fields.finish()
        await self._facets.exec.DisconnectNetwork(request, timeout=_PLUG_SECONDS)
        return Response(status_code=200)

    async def remove(self, call: Call) -> Response:
        """DELETE /networks/{id}."""
        request = RemoveRequest(reference=call.path("network"))
        try:
            async with asyncio.timeout(_LEAVING_SECONDS):
                while not await self._removed(request):  # noqa: ASYNC110 — nothing tells of it
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            await self._facets.network.Remove(request)
        return no_content()

    async def _removed(self, request: RemoveRequest) -> bool:
        """Remove a network; return False while all that is in it are VMs of ended containers.

        dockerd takes a container off its networks before it tells of its end. Here its VM still
        flushes its disk then, and is on its network until it is gone.
        """
        try:
            await self._facets.network.Remove(request)
        except FailedPrecondition as error:
            if error.reason is not Reason.ACTIVE_ENDPOINTS:
                raise
            got = await self._facets.network.Get(GetRequest(reference=request.reference))
            if _used(got.network, await self._states()):
                raise
            return False
        return True

    async def _left_by_all(self, filters: Filters, until: Timestamp | None) -> bool:
        """Tell whether a network that fits has nothing in it but VMs of ended containers."""
        listed = await self._facets.network.List(ListRequest(with_endpoints=True))
        having = [
            network
            for network in prunable(listed.networks, filters, until)
            if any(member.bound for member in network.endpoints)
        ]
        if not having:
            return False
        states = await self._states()
        return any(not _used(network, states) for network in having)

    async def _states(self) -> Mapping[str, int]:
        return {one.id: one.status.state for one in await self._facets.containers()}

    async def inspect(self, call: Call) -> Response:
        """GET /networks/{id}."""
        request = GetRequest(reference=call.path("network"))
        network = (await self._facets.network.Get(request)).network
        names = await self._container_names() if network.endpoints else {}
        return json_response(network_json(network, names))

    async def _container_names(self) -> Mapping[str, str]:
        containers = await self._facets.containers()
        return {container.id: container.spec.name for container in containers}


def _used(network: Network, states: Mapping[str, int]) -> bool:
    """Tell whether a container that runs, or what is no container, is in a network."""
    for member in network.endpoints:
        state = states.get(member.container_id)
        if state in _ALIVE or (state is None and member.bound):
            return True
    return False


def _container(fields: Fields) -> str:
    name = fields.text("Container")
    if not name:
        raise bad_parameter("invalid JSON: Container names no container")
    return name.removeprefix("/")

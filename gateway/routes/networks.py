"""Networks: list and inspect."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.exec_pb2 import ListRequest as ContainersRequest
from vic.network.v1.network_pb2 import GetRequest, ListRequest

from gateway.call import Call, json_response
from gateway.facets import Facets
from gateway.routes.endpoint import endpoint
from gateway.translate.filters import Filters
from gateway.translate.networks import LIST_FILTERS, network_json, select


class NetworkRoutes:
    """Endpoints below /networks."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/networks", self.list),
            endpoint("GET", "/networks/", self.list),
            endpoint("GET", "/networks/{network}", self.inspect),
        ]

    async def list(self, call: Call) -> Response:
        """GET /networks."""
        filters = Filters.parse(call.text("filters"), LIST_FILTERS)
        listed = await self._facets.network.List(ListRequest())
        return json_response([network_json(n, {}) for n in select(listed.networks, filters)])

    async def inspect(self, call: Call) -> Response:
        """GET /networks/{id}."""
        request = GetRequest(reference=call.path("network"))
        network = (await self._facets.network.Get(request)).network
        names = await self._container_names() if network.endpoints else {}
        return json_response(network_json(network, names))

    async def _container_names(self) -> Mapping[str, str]:
        listed = await self._facets.exec.List(ContainersRequest())
        return {container.id: container.spec.name for container in listed.containers}

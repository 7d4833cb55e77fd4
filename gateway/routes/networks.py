"""Networks: create, list, inspect, remove, prune."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.routing import Route
from vic.network.v1.network_pb2 import GetRequest, ListRequest, PruneRequest, RemoveRequest

from gateway.call import Call, json_response, no_content
from gateway.facets import Facets
from gateway.routes.endpoint import endpoint
from gateway.translate.filters import Filters
from gateway.translate.networks import LIST_FILTERS, network_json, select
from gateway.translate.plans import PRUNE_FILTERS, label_filters, read_network, until_of


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
        request = PruneRequest(until=until_of(filters), label_filters=label_filters(filters))
        pruned = await self._facets.network.Prune(request)
        return json_response({"NetworksDeleted": list(pruned.removed_names) or None})

    async def remove(self, call: Call) -> Response:
        """DELETE /networks/{id}."""
        await self._facets.network.Remove(RemoveRequest(reference=call.path("network")))
        return no_content()

    async def inspect(self, call: Call) -> Response:
        """GET /networks/{id}."""
        request = GetRequest(reference=call.path("network"))
        network = (await self._facets.network.Get(request)).network
        names = await self._container_names() if network.endpoints else {}
        return json_response(network_json(network, names))

    async def _container_names(self) -> Mapping[str, str]:
        containers = await self._facets.containers()
        return {container.id: container.spec.name for container in containers}

"""Networks: create, list, inspect, remove, prune, and who is in them."""

import secrets
from collections.abc import Mapping

from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.exec_pb2 import ConnectNetworkRequest, DisconnectNetworkRequest
from vic.network.v1.network_pb2 import GetRequest, ListRequest, PruneRequest, RemoveRequest

from gateway.call import Call, json_response, no_content
from gateway.errors import bad_parameter
from gateway.facets import Facets
from gateway.fields import Fields
from gateway.routes.endpoint import endpoint
from gateway.translate.attachments import read_attachment
from gateway.translate.filters import Filters
from gateway.translate.networks import LIST_FILTERS, network_json, select
from gateway.translate.plans import PRUNE_FILTERS, label_filters, read_network
from gateway.translate.until import until_of

# A guest on a busy host takes its time to let interfaces come and go.
_PLUG_SECONDS = 120.0


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
        request = PruneRequest(until=until_of(filters), label_filters=label_filters(filters))
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


def _container(fields: Fields) -> str:
    name = fields.text("Container")
    if not name:
        raise bad_parameter("invalid JSON: Container names no container")
    return name.removeprefix("/")

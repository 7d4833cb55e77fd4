"""Volumes: list and inspect. A storage facet that has no volumes yet has none to show."""

from starlette.responses import Response
from starlette.routing import Route
from vic.storage.v1.volume_pb2 import (
    Volume,
    VolumeServiceGetRequest,
    VolumeServiceListRequest,
    VolumeServiceListResponse,
)

from gateway.call import Call, json_response
from gateway.errors import not_found
from gateway.facets import Facets
from gateway.routes.endpoint import endpoint
from gateway.translate.filters import Filters
from gateway.translate.volumes import LIST_FILTERS, volume_json
from portlayer.errors import NotImplementedYet


class VolumeRoutes:
    """Endpoints below /volumes."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/volumes", self.list),
            endpoint("GET", "/volumes/{volume}", self.inspect),
        ]

    async def list(self, call: Call) -> Response:
        """GET /volumes."""
        filters = Filters.parse(call.text("filters"), LIST_FILTERS)
        try:
            listed = await self._facets.volumes.List(VolumeServiceListRequest())
        except NotImplementedYet:
            listed = VolumeServiceListResponse()
        chosen = [volume_json(volume) for volume in listed.volumes if _fits(volume, filters)]
        return json_response({"Volumes": chosen, "Warnings": None})

    async def inspect(self, call: Call) -> Response:
        """GET /volumes/{name}. ``docker inspect`` asks it for every name that is no container."""
        name = call.path("volume")
        try:
            got = await self._facets.volumes.Get(VolumeServiceGetRequest(name=name))
        except NotImplementedYet:
            raise not_found(f"get {name}: no such volume") from None
        return json_response(volume_json(got.volume))


def _fits(volume: Volume, filters: Filters) -> bool:
    unused = not volume.container_ids
    return (
        filters.pattern("name", volume.name)
        and filters.exact("driver", volume.driver or "local")
        and filters.labels(volume.labels)
        and ("dangling" not in filters or filters.flag("dangling") == unused)
    )

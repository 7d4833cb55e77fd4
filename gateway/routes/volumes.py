"""Volumes: create, list, inspect, remove, prune."""

from starlette.responses import Response
from starlette.routing import Route
from vic.storage.v1.volume_pb2 import (
    Volume,
    VolumeServiceGetRequest,
    VolumeServiceListRequest,
    VolumeServicePruneRequest,
    VolumeServiceRemoveRequest,
)

from gateway.call import Call, json_response, no_content
from gateway.facets import Facets
from gateway.routes.endpoint import endpoint
from gateway.translate.filters import Filters
from gateway.translate.plans import label_filters
from gateway.translate.volumes import LIST_FILTERS, PRUNE_FILTERS, read_volume, volume_json

# A large one takes a while to be deleted, and there may be many.
_REMOVE_SECONDS = 120.0
_PRUNE_SECONDS = 600.0


class VolumeRoutes:
    """Endpoints below /volumes."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/volumes", self.list),
            endpoint("POST", "/volumes/create", self.create),
            endpoint("POST", "/volumes/prune", self.prune),
            endpoint("GET", "/volumes/{volume}", self.inspect),
            endpoint("DELETE", "/volumes/{volume}", self.remove),
        ]

    async def list(self, call: Call) -> Response:
        """GET /volumes."""
        filters = Filters.parse(call.text("filters"), LIST_FILTERS)
        listed = await self._facets.volumes.List(VolumeServiceListRequest())
        chosen = [volume_json(volume) for volume in listed.volumes if _fits(volume, filters)]
        return json_response({"Volumes": chosen, "Warnings": None})

    async def create(self, call: Call) -> Response:
        """POST /volumes/create."""
        created = await self._facets.volumes.Create(read_volume(await call.json()))
        return json_response(volume_json(created.volume), 201)

    async def inspect(self, call: Call) -> Response:
        """GET /volumes/{name}. ``docker inspect`` asks it for every name that is no container."""
        request = VolumeServiceGetRequest(name=call.path("volume"))
        return json_response(volume_json((await self._facets.volumes.Get(request)).volume))

    async def remove(self, call: Call) -> Response:
        """DELETE /volumes/{name}."""
        request = VolumeServiceRemoveRequest(name=call.path("volume"), force=call.flag("force"))
        await self._facets.volumes.Remove(request, timeout=_REMOVE_SECONDS)
        return no_content()

    async def prune(self, call: Call) -> Response:
        """POST /volumes/prune: anonymous volumes, or all; before API 1.42 it was always all."""
        filters = Filters.parse(call.text("filters"), PRUNE_FILTERS)
        request = VolumeServicePruneRequest(
            all=filters.flag("all", default=call.version < (1, 42)),
            label_filters=label_filters(filters),
        )
        pruned = await self._facets.volumes.Prune(request, timeout=_PRUNE_SECONDS)
        return json_response(
            {
                "VolumesDeleted": list(pruned.removed_names) or None,
                "SpaceReclaimed": pruned.reclaimed_bytes,
            }
        )


def _fits(volume: Volume, filters: Filters) -> bool:
    unused = not volume.container_ids
    return (
        filters.pattern("name", volume.name)
        and filters.exact("driver", volume.driver or "local")
        and filters.labels(volume.labels)
        and ("dangling" not in filters or filters.flag("dangling") == unused)
    )

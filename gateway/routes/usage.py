"""What is taken on the disk, and the prunes that belong to no other resource."""

import asyncio
from collections.abc import Collection

from starlette.responses import Response
from starlette.routing import Route
from vic.storage.v1.image_pb2 import DiskUsageRequest
from vic.storage.v1.volume_pb2 import VolumeServiceListRequest, VolumeServiceListResponse

from gateway.call import Call, json_response
from gateway.errors import bad_parameter
from gateway.facets import Facets
from gateway.routes.endpoint import endpoint
from gateway.translate.filters import Filters
from gateway.translate.usage import KINDS, usage_json

_BUILD_PRUNE_FILTERS = frozenset(
    {
        *("description", "id", "inuse", "parent", "private", "shared", "type"),
        *("unused-for", "until", "label", "label!"),
    }
)


class UsageRoutes:
    """``docker system df``, and what ``docker system prune`` asks besides the other prunes."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/system/df", self.df),
            endpoint("POST", "/build/prune", self.prune_builds),
        ]

    async def df(self, call: Call) -> Response:
        """GET /system/df."""
        kinds = frozenset(call.texts("type")) or KINDS
        for kind in sorted(kinds - KINDS):
            raise bad_parameter(f"unknown object type: {kind}")
        disk, containers, volumes = await asyncio.gather(
            self._facets.images.DiskUsage(DiskUsageRequest()),
            self._facets.containers(),
            self._volumes(kinds),
        )
        return json_response(usage_json(kinds, disk, containers, volumes.volumes, call.version))

    async def _volumes(self, kinds: Collection[str]) -> VolumeServiceListResponse:
        if "volume" not in kinds:
            return VolumeServiceListResponse()
        return await self._facets.volumes.List(VolumeServiceListRequest())

    async def prune_builds(self, call: Call) -> Response:
        """POST /build/prune: nothing is ever kept of a build."""
        Filters.parse(call.text("filters"), _BUILD_PRUNE_FILTERS)
        return json_response({"CachesDeleted": None, "SpaceReclaimed": 0})

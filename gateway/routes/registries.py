"""What registries are asked besides images: search, distribution inspect."""

from starlette.responses import Response
from starlette.routing import Route
from vic.storage.v1.image_pb2 import InspectDistributionRequest, SearchRequest, SearchResult

from gateway.call import Call, json_response
from gateway.errors import bad_parameter
from gateway.facets import Facets
from gateway.routes.endpoint import endpoint
from gateway.translate.credentials import from_header
from gateway.translate.filters import Filters

_FILTERS = frozenset({"is-automated", "is-official", "stars"})
_MAX_RESULTS = 100
# A registry may be asked for a token first, and each request has its own limit.
_SECONDS = 60.0


class RegistryRoutes:
    """Endpoints that ask registries."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/images/search", self.search),
            endpoint("GET", "/distribution/{image:path}/json", self.inspect),
        ]

    async def search(self, call: Call) -> Response:
        """GET /images/search."""
        filters = Filters.parse(call.text("filters"), _FILTERS)
        limit = call.optional_number("limit") or 0
        if not 0 <= limit <= _MAX_RESULTS:
            raise bad_parameter(f"limit {limit} is outside the range of [1, {_MAX_RESULTS}]")
        stars = max((_stars(value) for value in filters.get("stars")), default=0)
        found = await self._facets.images.Search(
            SearchRequest(
                term=call.text("term"),
                limit=limit,
                credentials=from_header(call.header("x-registry-auth")),
            ),
            timeout=_SECONDS,
        )
        return json_response(
            [_hit(hit) for hit in found.results if hit.stars >= stars and _fits(hit, filters)]
        )

    async def inspect(self, call: Call) -> Response:
        """GET /distribution/{name}/json."""
        found = await self._facets.images.InspectDistribution(
            InspectDistributionRequest(
                reference=call.path("image"),
                credentials=from_header(call.header("x-registry-auth")),
            ),
            timeout=_SECONDS,
        )
        return json_response(
            {
                "Descriptor": {
                    "mediaType": found.media_type,
                    "digest": found.digest,
                    "size": found.size_bytes,
                },
                "Platforms": [_platform(platform) for platform in found.platforms],
            }
        )


def _fits(hit: SearchResult, filters: Filters) -> bool:
    # Nothing is built automatically any more, as Docker Hub itself says.
    if filters.flag("is-automated", default=False):
        return False
    return "is-official" not in filters or filters.flag("is-official") == hit.official


def _hit(hit: SearchResult) -> dict[str, object]:
    return {
        "star_count": hit.stars,
        "is_official": hit.official,
        "name": hit.name,
        "is_automated": False,
        "description": hit.description,
    }


def _stars(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise bad_parameter(f"invalid filter 'stars=[{text}]'")
    return int(text)


def _platform(text: str) -> dict[str, str]:
    os, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    platform = {"architecture": architecture, "os": os}
    return {**platform, "variant": variant} if variant else platform

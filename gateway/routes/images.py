"""Images: pull, push, import, list, inspect, tag, history, remove, prune."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.routing import Route
from vic.storage.v1.image_pb2 import (
    HistoryRequest,
    Image,
    ImageServiceGetRequest,
    ImageServiceListRequest,
    ImageServicePruneRequest,
    ImageServiceRemoveRequest,
    PullRequest,
    PullResponse,
    PushRequest,
    PushResponse,
    TagRequest,
)

from gateway.call import Call, json_line, json_response
from gateway.errors import bad_parameter, describe, not_implemented
from gateway.facets import Facets, read
from gateway.routes.archives import ArchiveRoutes, platform_of
from gateway.routes.endpoint import endpoint
from gateway.streams import StreamResponse, told
from gateway.translate.credentials import from_header
from gateway.translate.filters import Filters
from gateway.translate.images import (
    LIST_FILTERS,
    history_json,
    inspect_json,
    removed_json,
    select,
    summary_json,
)
from gateway.translate.plans import PRUNE_FILTERS, label_filters
from gateway.translate.progress import (
    error_line,
    outcome_line,
    progress_line,
    pushed_lines,
    result_lines,
)
from gateway.translate.references import is_name_only, tag_target, with_tag_or_digest
from gateway.translate.states import RUNNING_STATES
from gateway.translate.until import until_of
from portlayer.errors import VicError

# Removing an image may wait for one that is being pulled on top of its layers.
_REMOVE_SECONDS = 120.0
# As many as there are.
_PRUNE_SECONDS = 600.0


class ImageRoutes:
    """Endpoints below /images."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets
        self._archives = ArchiveRoutes(facets)

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/images/json", self.list),
            endpoint("POST", "/images/create", self.create),
            endpoint("POST", "/images/prune", self.prune),
            *self._archives.routes(),
            endpoint("GET", "/images/{image:path}/json", self.inspect),
            endpoint("GET", "/images/{image:path}/history", self.history),
            endpoint("POST", "/images/{image:path}/tag", self.tag),
            endpoint("POST", "/images/{image:path}/push", self.push),
            endpoint("DELETE", "/images/{image:path}", self.remove),
        ]

    async def list(self, call: Call) -> Response:
        """GET /images/json."""
        filters = Filters.parse(call.text("filters"), LIST_FILTERS)
        listed = await self._facets.images.List(ImageServiceListRequest())
        shared = call.flag("shared-size")
        chosen = select(listed.images, filters, everything=call.flag("all"))
        return json_response(
            [summary_json(item, call.version, shared_size=shared) for item in chosen]
        )

    async def inspect(self, call: Call) -> Response:
        """GET /images/{name}/json."""
        return json_response(inspect_json(await self._get(call), call.version))

    async def _get(self, call: Call, name: str = "") -> Image:
        """The image that is named, which must be of the platform that is asked for, if any."""
        request = ImageServiceGetRequest(
            reference=name or call.path("image"), platform=platform_of(call)
        )
        return (await self._facets.images.Get(request)).image

    async def history(self, call: Call) -> Response:
        """GET /images/{name}/history."""
        if call.text("platform"):
            await self._get(call)
        told = await self._facets.images.History(HistoryRequest(reference=call.path("image")))
        return json_response(history_json(told.entries))

    async def tag(self, call: Call) -> Response:
        """POST /images/{name}/tag."""
        target = tag_target(call.text("repo"), call.text("tag"))
        await self._facets.images.Tag(TagRequest(source=call.path("image"), target=target))
        return Response(status_code=201)

    async def push(self, call: Call) -> Response:
        """POST /images/{name}/push."""
        name, tag = call.path("image"), call.text("tag")
        if tag and not is_name_only(name):
            raise bad_parameter("invalid reference format")
        reference = with_tag_or_digest(name, tag)
        if call.text("platform"):
            await self._get(call, reference)
        request = PushRequest(
            reference=reference,
            credentials=from_header(call.header("x-registry-auth")),
            all_tags=is_name_only(reference),
        )
        messages = read(self._facets.images.Push(request))
        first = await anext(messages, None)  # a name that can't be one is a plain status
        return StreamResponse(_push_lines(first, messages), "application/json")

    async def prune(self, call: Call) -> Response:
        """POST /images/prune."""
        filters = Filters.parse(call.text("filters"), PRUNE_FILTERS | {"dangling"})
        pruned = await self._facets.images.Prune(
            ImageServicePruneRequest(
                all=not filters.flag("dangling", default=True),
                until=until_of(filters),
                label_filters=label_filters(filters),
            ),
            timeout=_PRUNE_SECONDS,
        )
        return json_response(
            {
                "ImagesDeleted": removed_json(pruned.removed) or None,
                "SpaceReclaimed": pruned.reclaimed_bytes,
            }
        )

    async def remove(self, call: Call) -> Response:
        """DELETE /images/{name}."""
        if call.texts("platforms"):
            raise not_implemented("Removing an image's platforms (platforms)")
        running = await self._facets.containers(*RUNNING_STATES)
        removed = await self._facets.images.Remove(
            ImageServiceRemoveRequest(
                reference=call.path("image"),
                force=call.flag("force"),
                no_prune=call.flag("noprune"),
                running_container_ids=[container.id for container in running],
            ),
            timeout=_REMOVE_SECONDS,
        )
        return json_response(removed_json(removed.removed))

    async def create(self, call: Call) -> Response:
        """POST /images/create: a pull, or an import."""
        name = call.text("fromImage")
        if call.has("fromSrc") and not name:
            return await self._archives.import_image(call)
        if not name:
            raise bad_parameter("invalid reference format")
        reference = with_tag_or_digest(name, call.text("tag"))
        request = PullRequest(
            reference=reference,
            credentials=from_header(call.header("x-registry-auth")),
            platform=call.text("platform"),
            all_tags=is_name_only(reference),
        )
        messages = read(self._facets.images.Pull(request))
        first = await anext(messages, None)  # a refusal before anything happened is a plain status
        lines = _lines(first, messages, all_of=name if request.all_tags else "")
        return StreamResponse(lines, "application/json")


async def _lines(
    first: PullResponse | None, messages: AsyncGenerator[PullResponse, None], *, all_of: str
) -> AsyncGenerator[bytes, None]:
    """Lines of a pull. Of all tags of a repository (`all_of`) the end is told once."""
    downloaded = failed = False
    async with aclosing(told(first, messages)) as items:
        async for message in items:
            if isinstance(message, VicError):
                failed = True
                lines = [error_line(describe(message, {}).message)]
            elif message.HasField("result"):
                downloaded = downloaded or message.result.downloaded
                lines = result_lines(message.result)[: 1 if all_of else 2]
            else:
                lines = [progress_line(message.progress)]
            yield b"".join(json_line(line) for line in lines)
    if all_of and not failed:
        yield json_line(outcome_line(all_of, downloaded=downloaded))


async def _push_lines(
    first: PushResponse | None, messages: AsyncGenerator[PushResponse, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(told(first, messages)) as items:
        async for message in items:
            if isinstance(message, VicError):
                lines = [error_line(describe(message, {}).message)]
            elif message.HasField("result"):
                lines = pushed_lines(message.result)
            else:
                lines = [progress_line(message.progress)]
            yield b"".join(json_line(line) for line in lines)

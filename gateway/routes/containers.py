"""Containers: create, list, inspect, and the verbs that change their state."""

import secrets
from collections.abc import Sequence
from contextlib import suppress

from google.protobuf.duration_pb2 import Duration
from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.container_pb2 import Container
from vic.exec.v1.exec_pb2 import (
    CreateRequest,
    EventKind,
    GetRequest,
    PauseRequest,
    PruneRequest,
    RemoveRequest,
    RenameRequest,
    RestartRequest,
    SignalRequest,
    StartRequest,
    StopRequest,
    UnpauseRequest,
    UpdateRequest,
)
from vic.interaction.v1.interaction_pb2 import ListExecsRequest, ResizeRequest
from vic.storage.v1.image_pb2 import DiskUsageRequest, ImageServiceListRequest
from vic.storage.v1.volume_pb2 import Volume, VolumeServiceListRequest

from gateway.call import Call, json_response, no_content
from gateway.errors import bad_parameter, conflict, not_implemented
from gateway.facets import Facets
from gateway.fields import Fields
from gateway.joining import join_each_once
from gateway.listed import ListedContainers
from gateway.routes.endpoint import endpoint
from gateway.tellings import tell
from gateway.translate import states
from gateway.translate.containers import inspect_json
from gateway.translate.create import checked_name, deprecations, read_create_request
from gateway.translate.filters import Filters
from gateway.translate.host_config import read_restart_policy
from gateway.translate.images import is_named
from gateway.translate.listing import FILTERS, Selection
from gateway.translate.plans import PRUNE_FILTERS, label_filters
from gateway.translate.resources import read_resources
from gateway.translate.terminals import window_size
from gateway.translate.until import until_of
from gateway.translate.usage import sizes_json
from portlayer.errors import NotFound, Reason, VicError

# What an inspect may wait for its least part.
_LOOK_SECONDS = 2.0
# A start may have to build the parent VM first, under emulation.
START_SECONDS = 900.0
# Beyond the time that the container is given to end by itself: a hundred at once take their turns,
# which on two cores that have much else to do was seen to take half a minute and more.
STOP_SLACK_SECONDS = 600.0
# Where the container's own time-out, which isn't known here, decides; and for "without end".
_STOP_AT_MOST_SECONDS = 24 * 3600.0

# For some thousands of containers, one after another.
_PRUNE_SECONDS = 600.0


class ContainerRoutes:
    """Endpoints below /containers that answer at once."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets
        self._listed = ListedContainers()

    def routes(self) -> list[Route]:
        """The routes."""
        one = "/containers/{container:path}"
        return [
            endpoint("GET", "/containers/json", self.list),
            endpoint("POST", "/containers/create", self.create),
            endpoint("POST", "/containers/prune", self.prune),
            endpoint("GET", f"{one}/json", self.inspect),
            endpoint("POST", f"{one}/start", self.start),
            endpoint("POST", f"{one}/stop", self.stop),
            endpoint("POST", f"{one}/restart", self.restart),
            endpoint("POST", f"{one}/kill", self.kill),
            endpoint("POST", f"{one}/pause", self.pause),
            endpoint("POST", f"{one}/unpause", self.unpause),
            endpoint("POST", f"{one}/update", self.update),
            endpoint("POST", f"{one}/rename", self.rename),
            endpoint("POST", f"{one}/resize", self.resize),
            endpoint("DELETE", "/containers/{container}", self.remove),
        ]

    async def list(self, call: Call) -> Response:
        """GET /containers/json."""
        filters = Filters.parse(call.text("filters"), FILTERS)
        ancestors = await self._image_ids(filters) if "ancestor" in filters else set()
        limit = call.optional_number("limit")
        selection = Selection(filters, ancestors, call.flag("all"), limit or 0)
        containers = selection.of(await self._facets.containers())
        taken = await self._taken(call, containers)
        entries = [self._listed.summary(one) | taken.get(one.id, {}) for one in containers]
        return json_response(entries)

    async def create(self, call: Call) -> Response:
        """POST /containers/create."""
        body = await call.json()
        spec = read_create_request(body, call.text("name"), call.text("platform"), call.version)
        await join_each_once(self._facets, spec)
        request = CreateRequest(container_id=new_container_id(), spec=spec)
        try:
            created = await self._facets.exec.Create(request)
        except NotFound as error:
            if error.reason is not Reason.NETWORK_NOT_FOUND:
                raise
            # dockerd says it when the container is started, by a 404. Here that would have the
            # docker CLI believe that the image is missing, and pull.
            raise bad_parameter(error.message) from error
        warnings = [*created.warnings, *deprecations(body, call.version)]
        answer = {"Id": created.container.id, "Warnings": warnings}
        return json_response(answer, 201)

    async def prune(self, call: Call) -> Response:
        """POST /containers/prune."""
        filters = Filters.parse(call.text("filters"), PRUNE_FILTERS)
        request = PruneRequest(until=until_of(filters), label_filters=label_filters(filters))
        pruned = await self._facets.exec.Prune(request, timeout=_PRUNE_SECONDS)
        return json_response(
            {
                "ContainersDeleted": list(pruned.removed_ids) or None,
                "SpaceReclaimed": pruned.reclaimed_bytes,
            }
        )

    async def inspect(self, call: Call) -> Response:
        """GET /containers/{id}/json."""
        container = await self._get(call)
        taken = await self._taken(call, (container,))
        exec_ids: Sequence[str] = ()
        if states.is_running(container):
            with suppress(VicError):  # a container can be shown while interaction is away
                request = ListExecsRequest(container_id=container.id)
                listed = await self._facets.interaction.ListExecs(request, timeout=_LOOK_SECONDS)
                exec_ids = listed.exec_ids
        volumes = await self._volumes(container)
        shape = inspect_json(container, exec_ids, call.version, volumes)
        return json_response(shape | taken.get(container.id, {}))

    async def _taken(
        self, call: Call, containers: Sequence[Container]
    ) -> dict[str, dict[str, int]]:
        """Return what containers' disks take, by their IDs, where the client asks for it."""
        if not call.flag("size") or not containers:
            return {}
        request = DiskUsageRequest(containers_only=True)
        request.container_ids.extend(container.id for container in containers)
        return sizes_json(await self._facets.images.DiskUsage(request))

    async def _volumes(self, container: Container) -> dict[str, Volume]:
        names = {mount.source for mount in container.spec.mounts if mount.source}
        if names:
            with suppress(VicError):  # a container can be shown while storage is away
                request = VolumeServiceListRequest()
                listed = await self._facets.volumes.List(request, timeout=_LOOK_SECONDS)
                return {volume.name: volume for volume in listed.volumes if volume.name in names}
        return {}

    async def start(self, call: Call) -> Response:
        """POST /containers/{id}/start."""
        if call.text("checkpoint") or call.text("checkpoint-dir"):
            raise not_implemented("Starting from a checkpoint")
        if int(call.header("content-length") or 0) > 7 or call.header("transfer-encoding"):
            raise bad_parameter(
                "starting container with non-empty request body was deprecated "
                "since API v1.22 and removed in v1.24"
            )
        request = StartRequest(reference=reference(call), request_id=request_id())
        await self._facets.exec.Start(request, timeout=START_SECONDS)
        return no_content()

    async def stop(self, call: Call) -> Response:
        """POST /containers/{id}/stop."""
        seconds = call.optional_number("t")
        request = StopRequest(
            reference=reference(call),
            request_id=request_id(),
            timeout=_span(seconds),
            signal=_stop_signal(call),
        )
        await self._facets.exec.Stop(request, timeout=_stop_deadline(seconds))
        return no_content()

    async def restart(self, call: Call) -> Response:
        """POST /containers/{id}/restart."""
        seconds = call.optional_number("t")
        request = RestartRequest(
            reference=reference(call),
            request_id=request_id(),
            timeout=_span(seconds),
            signal=_stop_signal(call),
        )
        await self._facets.exec.Restart(request, timeout=_stop_deadline(seconds) + START_SECONDS)
        return no_content()

    async def kill(self, call: Call) -> Response:
        """POST /containers/{id}/kill."""
        await self._facets.exec.Signal(
            SignalRequest(
                reference=reference(call), request_id=request_id(), signal=call.text("signal")
            ),
            timeout=STOP_SLACK_SECONDS,
        )
        return no_content()

    async def pause(self, call: Call) -> Response:
        """POST /containers/{id}/pause."""
        await self._facets.exec.Pause(
            PauseRequest(reference=reference(call), request_id=request_id())
        )
        return no_content()

    async def unpause(self, call: Call) -> Response:
        """POST /containers/{id}/unpause."""
        await self._facets.exec.Unpause(
            UnpauseRequest(reference=reference(call), request_id=request_id())
        )
        return no_content()

    async def update(self, call: Call) -> Response:
        """POST /containers/{id}/update."""
        fields = Fields(await call.json())
        policy = read_restart_policy(fields.child("RestartPolicy"))
        resources = read_resources(fields)
        fields.finish()
        updated = await self._facets.exec.Update(
            UpdateRequest(
                reference=reference(call),
                request_id=request_id(),
                restart_policy=policy,
                resources=resources,
            )
        )
        return json_response({"Warnings": list(updated.warnings) or None})

    async def rename(self, call: Call) -> Response:
        """POST /containers/{id}/rename."""
        name = call.text("name")
        if not name:
            raise bad_parameter("Neither old nor new names may be empty")
        await self._facets.exec.Rename(
            RenameRequest(
                reference=reference(call), request_id=request_id(), new_name=checked_name(name)
            )
        )
        return no_content()

    async def resize(self, call: Call) -> Response:
        """POST /containers/{id}/resize."""
        window = window_size(call.text("h"), call.text("w"))
        container = await self._get(call)
        if not states.is_running(container):
            raise conflict(f"container {container.id} is not running")
        await self._facets.interaction.Resize(
            ResizeRequest(container_id=container.id, window=window)
        )
        size = {"height": str(window.rows), "width": str(window.columns)}
        await tell(self._facets, container.id, EventKind.EVENT_KIND_RESIZE, **size)
        return Response(status_code=200)

    async def remove(self, call: Call) -> Response:
        """DELETE /containers/{id}."""
        if call.flag("link"):
            raise not_implemented("Removing a link (link=1)")
        await self._facets.exec.Remove(
            RemoveRequest(
                reference=reference(call),
                request_id=request_id(),
                force=call.flag("force"),
                remove_volumes=call.flag("v"),
            ),
            timeout=STOP_SLACK_SECONDS,
        )
        return no_content()

    async def _get(self, call: Call) -> Container:
        got = await self._facets.exec.Get(GetRequest(reference=reference(call)))
        return got.container

    async def _image_ids(self, filters: Filters) -> set[str]:
        """The images that the "ancestor" filter names, and those that were made of them."""
        images = [
            summary.image
            for summary in (await self._facets.images.List(ImageServiceListRequest())).images
        ]
        found = {
            image.id
            for image in images
            if any(is_named(image, name) for name in filters.get("ancestor"))
        }
        while made := {image.id for image in images if image.parent_id in found} - found:
            found |= made
        return found


def reference(call: Call) -> str:
    """How the client called a container; Docker shows names with a slash and takes them so."""
    return call.path("container").removeprefix("/")


def new_container_id() -> str:
    """A random ID whose short form is no number, which command lines would mistake for a PID."""
    while True:
        container_id = secrets.token_hex(32)
        if not container_id[:12].isdigit():
            return container_id


def request_id() -> str:
    return secrets.token_hex(16)


def _stop_signal(call: Call) -> str:
    return call.text("signal") if call.version >= (1, 42) else ""


def _span(seconds: int | None) -> Duration | None:
    if seconds is not None and abs(seconds) > 2**31:
        raise bad_parameter('invalid value for "t": it is out of range')
    return None if seconds is None else Duration(seconds=seconds)


def _stop_deadline(seconds: int | None) -> float:
    if seconds is None or seconds < 0:
        return _STOP_AT_MOST_SECONDS
    return seconds + STOP_SLACK_SECONDS

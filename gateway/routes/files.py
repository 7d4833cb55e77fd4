"""`docker cp`: a container's paths described, read and written as tar."""

import base64
import json
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.container_pb2 import CONTAINER_STATE_PAUSED, Container
from vic.exec.v1.exec_pb2 import EventKind, GetRequest
from vic.interaction.v1.interaction_pb2 import (
    GetArchiveRequest,
    GetArchiveResponse,
    PathStat,
    PutArchiveRequest,
    PutArchiveStart,
    StatPathRequest,
)

from gateway.call import Call
from gateway.errors import ApiError, bad_parameter, describe
from gateway.facets import Facets, read
from gateway.routes.containers import reference
from gateway.routes.endpoint import endpoint
from gateway.streams import StreamResponse
from gateway.tellings import tell
from gateway.translate.times import rfc3339
from portlayer.errors import Internal, Reason, VicError, domain_errors

_STAT = "X-Docker-Container-Path-Stat"
_PATH = "/containers/{container:path}/archive"
_PIECE = 256 * 1024
"""The most bytes of a body in one message."""
# Source: the constants of Go's io/fs.FileMode.
_GO_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


class FileRoutes:
    """HEAD, GET and PUT /containers/{id}/archive; GET /containers/{id}/export."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("HEAD", _PATH, self.stat),
            endpoint("GET", _PATH, self.get),
            endpoint("PUT", _PATH, self.put),
            endpoint("GET", "/containers/{container:path}/export", self.export),
        ]

    async def stat(self, call: Call) -> Response:
        """Describe a path in a header."""
        path, container = await self._target(call)
        request = StatPathRequest(container_id=container.id, path=path)
        try:
            got = await self._facets.interaction.StatPath(request)
        except VicError as error:
            raise _refused(error, call, path) from error
        return Response(headers={_STAT: stat_header(got.stat)})

    async def get(self, call: Call) -> Response:
        """Send a path as tar, described in a header."""
        path, container = await self._target(call)
        messages = read(
            self._facets.interaction.GetArchive(
                GetArchiveRequest(container_id=container.id, path=path)
            )
        )
        try:
            stat = await _begun(messages)
        except VicError as error:
            raise _refused(error, call, path) from error
        await tell(self._facets, container.id, EventKind.EVENT_KIND_ARCHIVE_PATH)
        response = StreamResponse(_bytes(messages), "application/x-tar")
        response.headers[_STAT] = stat_header(stat)
        return response

    async def export(self, call: Call) -> Response:
        """Send the whole root file system as tar."""
        container = await self._container(call)
        request = GetArchiveRequest(container_id=container.id, path="/", export=True)
        messages = read(self._facets.interaction.GetArchive(request))
        await _begun(messages)
        await tell(self._facets, container.id, EventKind.EVENT_KIND_EXPORT)
        return StreamResponse(_bytes(messages), "application/octet-stream")

    async def put(self, call: Call) -> Response:
        """Unpack the body below a path."""
        path, container = await self._target(call)
        # Owners are the archive's, or with this flag the container's own user.
        owner = container.spec.process.user if call.flag("copyUIDGID") else ""
        start = PutArchiveStart(
            container_id=container.id,
            path=path,
            no_overwrite_dir_non_dir=call.flag("noOverwriteDirNonDir"),
            owner=owner,
        )
        try:
            # As long as the client sends, and the VM writes.
            with domain_errors():
                await self._facets.interaction.PutArchive(_upload(call, start))
        except VicError as error:
            raise _refused(error, call, path) from error
        await tell(self._facets, container.id, EventKind.EVENT_KIND_EXTRACT_TO_DIR)
        return Response()

    async def _target(self, call: Call) -> tuple[str, Container]:
        path = call.text("path")
        if not path:
            raise bad_parameter("bad parameter: path cannot be empty")
        return path, await self._container(call)

    async def _container(self, call: Call) -> Container:
        return await with_files(self._facets, reference(call))


async def with_files(facets: Facets, reference: str) -> Container:
    """Return a container whose files can be reached: its VM doesn't stand still."""
    got = await facets.exec.Get(GetRequest(reference=reference))
    if got.container.status.state == CONTAINER_STATE_PAUSED:
        raise ApiError(
            409,
            f"container {reference} is paused, and with it the kernel that knows its "
            "files: unpause it first",
        )
    return got.container


async def _upload(call: Call, start: PutArchiveStart) -> AsyncIterator[PutArchiveRequest]:
    """The body as messages. One whose client went away has no end, so its call is cancelled."""
    yield PutArchiveRequest(start=start)
    try:
        async for piece in call.request.stream():
            for at in range(0, len(piece), _PIECE):
                yield PutArchiveRequest(data=piece[at : at + _PIECE])
    except ClientDisconnect:
        raise bad_parameter("the client went away before it had sent its request") from None


async def _begun(messages: AsyncGenerator[GetArchiveResponse, None]) -> PathStat:
    """Return the description that comes before a tar. Raises why there is neither."""
    first = await anext(messages, None)
    if first is None or not first.HasField("stat"):
        raise Internal("the archive began without its path's description")
    return first.stat


async def _bytes(
    messages: AsyncGenerator[GetArchiveResponse, None],
) -> AsyncGenerator[bytes, None]:
    async with aclosing(messages):
        async for message in messages:
            yield message.data


def _refused(error: VicError, call: Call, path: str) -> Exception:
    if error.reason is not Reason.PATH_NOT_FOUND:
        return error
    return describe(error, {"path": path, "container": reference(call)})


def stat_header(value: PathStat) -> str:
    """A path's description as Docker's clients read it: JSON in base64."""
    fields = {
        "name": value.name,
        "size": value.size,
        "mode": go_mode(value.mode),
        "mtime": rfc3339(value.modified_at),
        "linkTarget": value.link_target,
    }
    return base64.b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()


def go_mode(mode: int) -> int:
    """Linux's st_mode as Go's FileMode."""
    go = mode & 0o777 | _GO_KINDS.get(stat.S_IFMT(mode), 0)
    return go | sum(bit for own, bit in _GO_BITS.items() if mode & own)

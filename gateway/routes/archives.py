"""Images as archives: save, load, import."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route
from vic.storage.v1.image_pb2 import (
    ImportRequest,
    ImportResponse,
    ImportStart,
    LoadRequest,
    LoadResponse,
    LoadStart,
    SaveRequest,
    SaveResponse,
)

from gateway.call import Call, json_line
from gateway.decoding import decode_json
from gateway.errors import bad_parameter, describe
from gateway.facets import Facets, read
from gateway.routes.endpoint import endpoint
from gateway.streams import StreamResponse, told
from gateway.translate.progress import error_line, loaded_lines, progress_line
from gateway.translate.references import tag_target
from portlayer.errors import Reason, VicError

Message = TypeVar("Message")
Answer = TypeVar("Answer")

_ARCHIVES_FAULT = frozenset(
    {
        *(Reason.INVALID_ARCHIVE, Reason.INVALID_MANIFEST, Reason.INVALID_LAYER),
        *(Reason.DIGEST_MISMATCH, Reason.STORE_FULL, Reason.MANIFEST_NOT_FOUND),
    }
)

_PIECE = 256 * 1024
"""The most bytes of a body in one message."""


class ArchiveRoutes:
    """Endpoints below /images whose bodies are archives."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/images/get", self.save_several),
            endpoint("POST", "/images/load", self.load),
            endpoint("GET", "/images/{image:path}/get", self.save),
        ]

    async def save(self, call: Call) -> Response:
        """GET /images/{name}/get."""
        return await self._save(call, [call.path("image")])

    async def save_several(self, call: Call) -> Response:
        """GET /images/get."""
        names = [name for name in call.texts("names") if name]
        if not names:
            raise bad_parameter("no image to save is named (names)")
        return await self._save(call, names)

    async def _save(self, call: Call, names: list[str]) -> Response:
        request = SaveRequest(references=names, platform=platform_of(call))
        messages = read(self._facets.images.Save(request))
        first = await anext(messages, None)  # a refusal is a plain status
        return StreamResponse(_bytes(first, messages), "application/x-tar")

    async def load(self, call: Call) -> Response:
        """POST /images/load."""
        start = LoadRequest(start=LoadStart(platform=platform_of(call)))
        last = LoadRequest(complete=True)
        upload = _Upload(call, start, lambda data: LoadRequest(data=data), last)
        messages = read(self._facets.images.Load(aiter(upload)))
        try:
            first = await upload.first(messages)
        except VicError as error:
            if error.reason not in _ARCHIVES_FAULT:
                raise
            # What is wrong with an archive is told in the stream, from its first byte on.
            line = json_line(error_line(describe(error, {}).message))
            return Response(line, media_type="application/json")
        lines = _load_lines(first, messages, quiet=call.flag("quiet"))
        return StreamResponse(lines, "application/json")

    async def import_image(self, call: Call) -> Response:
        """POST /images/create?fromSrc=…."""
        source = call.text("fromSrc")
        repository = call.text("repo")
        start = ImportStart(
            reference=tag_target(repository, call.text("tag")) if repository else "",
            message=call.text("message"),
            changes=call.texts("changes"),
            platform=call.text("platform"),
            source_url="" if source == "-" else source,
        )
        if not source:
            raise bad_parameter("no source to import from is named (fromSrc)")
        first, last = ImportRequest(start=start), ImportRequest(complete=True)
        upload = _Upload(call, first, lambda data: ImportRequest(data=data), last)
        messages = read(self._facets.images.Import(aiter(upload)))
        answer = await upload.first(messages)
        return StreamResponse(_import_lines(answer, messages), "application/json")


class _Upload(Generic[Message]):
    """A body as messages: the first says what it is, the last that this was all of it."""

    def __init__(
        self, call: Call, start: Message, make: Callable[[bytes], Message], complete: Message
    ) -> None:
        self._call = call
        self._start = start
        self._make = make
        self._complete = complete
        self._gone = False

    async def __aiter__(self) -> AsyncIterator[Message]:
        yield self._start
        try:
            async for piece in self._call.request.stream():
                for at in range(0, len(piece), _PIECE):
                    yield self._make(piece[at : at + _PIECE])
            yield self._complete
        except ClientDisconnect:
            self._gone = True
            raise  # which cancels the call: what has come isn't all

    async def first(self, answers: AsyncGenerator[Answer, None]) -> Answer | None:
        """The first answer. Raises ApiError when the client went away before it had sent all."""
        try:
            return await anext(answers, None)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._gone and task is not None and not task.cancelling():
                raise bad_parameter("the client went away before it had sent its request") from None
            raise


def platform_of(call: Call) -> str:
    """The platform that these endpoints take as JSON, as others write it."""
    text = call.text("platform")
    if not text:
        return ""
    try:
        value: Any = decode_json(text)
    except ValueError:
        value = None
    parts = [value.get(n) or "" for n in ("os", "architecture", "variant")] if _is(value) else []
    if not parts or not all(isinstance(part, str) for part in parts) or not all(parts[:2]):
        raise bad_parameter("invalid platform: it must be JSON with os and architecture")
    return "/".join(part for part in parts if part)


def _is(value: object) -> bool:
    return isinstance(value, dict)


async def _bytes(
    first: SaveResponse | None, messages: AsyncGenerator[SaveResponse, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(messages):
        if first is not None:
            yield first.data
        async for message in messages:
            yield message.data


async def _load_lines(
    first: LoadResponse | None, messages: AsyncGenerator[LoadResponse, None], *, quiet: bool
) -> AsyncGenerator[bytes, None]:
    async with aclosing(told(first, messages)) as items:
        async for item in items:
            yield b"".join(json_line(line) for line in _load_lines_of(item, quiet=quiet))


def _load_lines_of(item: LoadResponse | VicError, *, quiet: bool) -> Iterator[dict[str, Any]]:
    if isinstance(item, VicError):
        yield error_line(describe(item, {}).message)
    elif item.HasField("loaded"):
        yield from loaded_lines(item.loaded)
    elif not quiet:
        yield progress_line(item.progress)


async def _import_lines(
    first: ImportResponse | None, messages: AsyncGenerator[ImportResponse, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(told(first, messages)) as items:
        async for item in items:
            if isinstance(item, VicError):
                yield json_line(error_line(describe(item, {}).message))
            elif item.HasField("progress"):
                yield json_line(progress_line(item.progress))
            else:
                yield json_line({"status": item.image_id})

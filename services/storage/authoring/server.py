"""The RPC shell of what makes images and takes them out: import, commit, load, save."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import grpc
from vic.storage.v1 import image_pb2, image_pb2_grpc

from portlayer.dockerfile.defaults import from_message
from portlayer.errors import InvalidArgument, Reason
from services.storage import messages
from services.storage.authoring.archive_contents import ArchivedImage
from services.storage.authoring.loading import Loaded, Loader, OpenArchive
from services.storage.authoring.maker import ImageMaker, NewImage
from services.storage.authoring.saving import save
from services.storage.authoring.source_url import NewTransport, downloaded, source_address
from services.storage.authoring.trees import Place, read_tree
from services.storage.image_events import ImageEvents
from services.storage.image_records import StoredImage
from services.storage.image_store import ImageStore
from services.storage.imagec.errors import InvalidArchive, InvalidLayer, InvalidManifest
from services.storage.imagec.progress import Progress, ProgressLines
from services.storage.imagec.pull import HOST_PLATFORM
from services.storage.imagec.reference import Reference
from services.storage.images import Images, parse_new_name
from services.storage.platforms import parse_platform
from services.storage.watched import watched

Context = grpc.aio.ServicerContext[Any, Any]

M = TypeVar("M", bound="_Upload")


class _Upload(Protocol):
    """A message of an upload: what it is comes first, then all of it, then that this was all."""

    @property
    def data(self) -> bytes: ...
    @property
    def complete(self) -> bool: ...
    def HasField(self, field_name: Any) -> bool: ...


class AuthoringServicer(image_pb2_grpc.ImageServiceServicer):
    """Part of vic.storage.v1.ImageService."""

    def __init__(
        self,
        store: ImageStore,
        images: Images,
        maker: ImageMaker,
        loader: Loader,
        new_transport: NewTransport,
        events: ImageEvents,
    ) -> None:
        self._store = store
        self._images = images
        self._maker = maker
        self._loader = loader
        self._new_transport = new_transport
        self._events = events

    async def Import(
        self, request: AsyncIterable[image_pb2.ImportRequest], context: Context
    ) -> AsyncIterator[image_pb2.ImportResponse]:
        """See the contract."""
        first, rest = await _opened(request)
        start = first.start
        names = parse_new_name(start.reference)
        url = source_address(start.source_url) if start.source_url else ""
        new = NewImage(
            changes=start.changes,
            platform=parse_platform(start.platform) or HOST_PLATFORM,
            comment=start.message or f"Imported from {start.source_url or '-'}",
        )

        async def work(lines: ProgressLines) -> StoredImage:
            if not url:
                return await self._made(new, rest, names)
            async with downloaded(self._new_transport, url, lines.put) as body:
                return await self._made(new, body, names)

        async with aclosing(watched(work)) as items:
            async for item in items:
                if isinstance(item, Progress):
                    yield image_pb2.ImportResponse(progress=messages.progress(item))
                else:
                    self._events.imported(item)
                    yield image_pb2.ImportResponse(image_id=item.id)

    async def Commit(
        self, request: AsyncIterable[image_pb2.CommitRequest], context: Context
    ) -> image_pb2.CommitResponse:
        """See the contract: a layer that comes as a tar on top of an image, and what is said of it.

        What `docker commit` does with a container's changes.
        """
        first, rest = await _opened(request)
        start = first.start
        names = parse_new_name(start.reference)
        parent = self._images.usable(start.parent) if start.parent else None
        inherited = parent.config if parent is not None else None
        new = NewImage(
            parent=parent,
            changes=start.changes,
            platform=HOST_PLATFORM if inherited is None else inherited.platform,
            author=start.author,
            comment=start.message,
            created_by=start.created_by,
            container=start.container_id,
            container_config=_json_object(start.container_config),
        )
        if start.HasField("config"):
            new = new.saying(from_message(start.config))
        elif inherited is not None:
            new = new.saying(inherited.defaults)
        return image_pb2.CommitResponse(image_id=(await self._made(new, rest, names)).id)

    async def ReadTree(
        self, request: image_pb2.ReadTreeRequest, context: Context
    ) -> AsyncIterator[image_pb2.ReadTreeResponse]:
        """See the contract."""
        image = self._images.usable(request.reference)
        # A removal meanwhile takes nothing away: the disks are open.
        disk = self._store.layers.disk(image.layers[-1].chain_id if image.layers else None)
        tree = read_tree(disk, request.path, stat_only=request.stat_only)
        async with aclosing(tree) as parts:
            async for part in parts:
                if isinstance(part, Place):
                    where = image_pb2.TreePath(path=part.path, missing=part.missing, mode=part.mode)
                    yield image_pb2.ReadTreeResponse(path=where)
                else:
                    yield image_pb2.ReadTreeResponse(data=part)

    async def _made(
        self, new: NewImage, tar: AsyncIterable[bytes], names: list[Reference]
    ) -> StoredImage:
        with _archive_faults():
            image = await self._maker.make(new, tar, names)
        for name in names:
            self._events.tagged(image, name)
        return image

    async def Load(
        self, request: AsyncIterable[image_pb2.LoadRequest], context: Context
    ) -> AsyncIterator[image_pb2.LoadResponse]:
        """See the contract."""
        first, rest = await _opened(request)
        platform = parse_platform(first.start.platform) or HOST_PLATFORM
        with _archive_faults():
            async with self._loader.opened(rest, platform) as archive:
                for archived in archive.images:
                    work = partial(_load, archive, archived)
                    async with aclosing(watched(work)) as items:
                        async for item in items:
                            if isinstance(item, Progress):
                                yield image_pb2.LoadResponse(progress=messages.progress(item))
                            else:
                                self._events.loaded([item.image])
                                for message in _loaded(item):
                                    yield message

    async def Save(
        self, request: image_pb2.SaveRequest, context: Context
    ) -> AsyncIterator[image_pb2.SaveResponse]:
        """See the contract."""
        chosen = self._images.to_save(request.references)
        platform = parse_platform(request.platform)
        async with aclosing(save(self._store, chosen, platform)) as pieces:
            async for piece in pieces:
                yield image_pb2.SaveResponse(data=piece)
        self._events.saved(saved.image for saved in chosen)


async def _opened(requests: AsyncIterable[M]) -> tuple[M, AsyncIterator[bytes]]:
    """The first message of an upload, and what the others carry. Raises InvalidArgument.

    gRPC ends the stream of a call that its client has broken off as if that was all, so that an
    upload is whole only when it says so.
    """
    upload = aiter(requests)
    first = await anext(upload, None)
    if first is None or not first.HasField("start"):
        raise InvalidArgument("the first message must be start")

    async def rest() -> AsyncIterator[bytes]:
        async for message in upload:
            if message.complete:
                return
            if not message.HasField("data"):
                raise InvalidArgument("after start there can be only data")
            yield message.data
        raise InvalidArgument("not all of the archive has come", Reason.INVALID_ARCHIVE)

    return first, rest()


def _json_object(text: str) -> str:
    """The same text. Raises InvalidArgument where it is something else than a JSON object."""
    if text:
        try:
            whole = isinstance(json.loads(text), dict)
        except (ValueError, RecursionError):
            whole = False
        if not whole:
            raise InvalidArgument("the container's configuration isn't a JSON object")
    return text


@contextmanager
def _archive_faults() -> Iterator[None]:
    """What was sent is at fault, and no registry."""
    try:
        yield
    except (InvalidLayer, InvalidManifest) as error:
        raise InvalidArchive(error.message) from error


async def _load(archive: OpenArchive, archived: ArchivedImage, lines: ProgressLines) -> Loaded:
    return await archive.load(archived, lines.put)


def _loaded(loaded: Loaded) -> Iterator[image_pb2.LoadResponse]:
    for name in loaded.archived.names:
        replaced = loaded.replaced.get(str(name), "")
        yield image_pb2.LoadResponse(
            loaded=image_pb2.LoadedImage(
                image_id=loaded.image.id, reference=name.familiar, replaced_image_id=replaced
            )
        )
    if not loaded.archived.names:
        yield image_pb2.LoadResponse(loaded=image_pb2.LoadedImage(image_id=loaded.image.id))

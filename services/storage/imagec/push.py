"""Pushing an image: layers, configuration, and the manifest last, all as they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from portlayer.errors import leaf_error
from portlayer.threads import in_thread
from services.storage.blobs import BlobStore
from services.storage.image_records import ImageLayer, StoredImage, with_digest
from services.storage.image_store import ImageStore
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import RegistryMisbehaves, RegistryUnavailable
from services.storage.imagec.progress import Progress, Report, Status
from services.storage.imagec.reference import Reference, parse_reference
from services.storage.imagec.registries import Registries
from services.storage.imagec.registry import Repository

CONCURRENT = 5
"""Layers at once (dockerd's max-concurrent-uploads)."""

ATTEMPTS = 5
CHUNK = 1 << 20
MAX_SOURCES = 3
"""Repositories that a blob may be mounted from: a token server is asked about each."""

_BACKOFF = 1.0
"""Seconds before the second try; doubled for each further one."""


@dataclass(frozen=True)
class Pushed:
    """What a push ended with."""

    tag: str
    digest: Digest
    size: int
    """Bytes of the manifest."""


class Pusher:
    """Sends images of the store to registries."""

    def __init__(
        self, registries: Registries, store: ImageStore, backoff: float = _BACKOFF
    ) -> None:
        self._registries = registries
        self._store = store
        self._backoff = backoff

    async def push(
        self,
        image: StoredImage,
        reference: Reference,
        credentials: Credentials,
        report: Report,
    ) -> Pushed:
        """Push an image under a tag; the digest that it has there becomes one of its names.

        Nothing is sent that the registry has, and the bytes are those that were pulled.

        Raises:
            RegistryUnauthorized, RegistryUnavailable, HostNotFound.
        """
        layers = {layer.blob: layer for layer in image.layers}
        for layer in layers.values():
            report(Progress(layer.diff_id.short, Status.PREPARING))
        async with self._store.lease() as lease:
            await lease.hold(blobs=layers)
            # Read at once: somebody may remove the image meanwhile.
            config = self._store.catalogue.config(image.id)
            manifest = self._store.catalogue.manifest(image.id)
            sources = self._sources(reference, set(layers))
            repository = await self._registries.for_push(reference, credentials, sources)
            push = _Push(repository, self._store.blobs, sources, report, self._backoff)
            try:
                async with asyncio.TaskGroup() as group:
                    for layer in layers.values():
                        group.create_task(push.layer(layer))
            except BaseExceptionGroup as group_error:
                raise leaf_error(group_error) from group_error
            await push.config(image.id, config)
            await repository.put_manifest(reference.target, manifest, image.manifest_type)
            name = str(reference.with_digest(image.manifest_digest))
            await self._store.add_names(image.id, partial(with_digest, digest=name))
        return Pushed(reference.target, image.manifest_digest, len(manifest))

    def _sources(self, reference: Reference, blobs: set[Digest]) -> dict[str, frozenset[Digest]]:
        """Other repositories of the registry that are known to have some of the blobs."""
        found: dict[str, frozenset[Digest]] = {}
        for image, use in self._store.catalogue.all():
            shared = blobs.intersection(layer.blob for layer in image.layers)
            for name in use.digests if shared else ():
                other = parse_reference(name)
                if other.domain == reference.domain and other.path != reference.path:
                    found[other.path] = found.get(other.path, frozenset()) | shared
        best = sorted(found, key=lambda path: len(found[path]), reverse=True)
        return {path: found[path] for path in best[:MAX_SOURCES]}


class _Push:
    """One image on its way to one repository."""

    def __init__(
        self,
        repository: Repository,
        blobs: BlobStore,
        sources: dict[str, frozenset[Digest]],
        report: Report,
        backoff: float,
    ) -> None:
        self._repository = repository
        self._blobs = blobs
        self._sources = sources
        self._report = report
        self._backoff = backoff
        self._slots = asyncio.Semaphore(CONCURRENT)

    async def layer(self, layer: ImageLayer) -> None:
        """Have a layer's blob in the repository."""
        async with self._slots:
            for attempt in range(ATTEMPTS):
                try:
                    await self._layer(layer)
                except RegistryMisbehaves:
                    raise
                except RegistryUnavailable:
                    if attempt == ATTEMPTS - 1:
                        raise
                    await asyncio.sleep(self._backoff * 2**attempt)
                else:
                    return

    async def _layer(self, layer: ImageLayer) -> None:
        name = layer.diff_id.short
        if await self._repository.has_blob(layer.blob):
            self._report(Progress(name, Status.LAYER_EXISTS))
            return
        location = None
        for source in self._of(layer.blob):
            location = await self._repository.begin_upload(layer.blob, source)
            if location is None:
                self._report(Progress(name, Status.MOUNTED, text=source))
                return
        if location is None:
            location = await self._repository.begin_upload(layer.blob, None)
        assert location is not None
        size = self._blobs.size(layer.blob)
        body = partial(self._read, self._blobs.path(layer.blob), name, size)
        await self._repository.upload(location, layer.blob, size, body)
        self._report(Progress(name, Status.PUSHED))

    def _of(self, blob: Digest) -> Sequence[str]:
        return [path for path, blobs in self._sources.items() if blob in blobs]

    async def _read(self, path: Path, name: str, size: int) -> AsyncIterator[bytes]:
        sent = 0
        with path.open("rb") as file:
            while data := await in_thread(file.read, CHUNK):
                yield data
                sent += len(data)
                self._report(Progress(name, Status.PUSHING, sent, size))

    async def config(self, digest: Digest, body: bytes) -> None:
        """Have the configuration in the repository."""
        if await self._repository.has_blob(digest):
            return
        location = await self._repository.begin_upload(digest, None)
        assert location is not None

        async def whole() -> AsyncIterator[bytes]:
            yield body

        await self._repository.upload(location, digest, len(body), whole)

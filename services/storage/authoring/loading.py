"""Images out of an archive: an OCI layout, or what has a manifest.json instead.

Source: OCI image specification 1.1, "Image Layout"; what `docker save` writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from portlayer.threads import in_thread
from services.storage.archive_work import ArchiveWork, Unpacked
from services.storage.authoring.archive_contents import (
    ArchivedImage,
    archived_images,
    read_member,
)
from services.storage.authoring.config_json import manifest_json
from services.storage.authoring.maker import ImageMaker, WholeImage
from services.storage.authoring.saving import blob_name
from services.storage.faults import storage_faults
from services.storage.image_records import StoredImage
from services.storage.image_store import ImageStore
from services.storage.imagec.config import parse_config
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import DigestMismatch, InvalidArchive, InvalidManifest
from services.storage.imagec.manifest import (
    MAX_CONFIG,
    MAX_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
    parse_manifest,
)
from services.storage.imagec.progress import Progress, Report, Status
from services.storage.leases import Lease


@dataclass(frozen=True)
class Loaded:
    """An image that came out of an archive."""

    image: StoredImage
    archived: ArchivedImage
    replaced: dict[str, Digest]
    """Images that had one of its names until then, by that name in full."""


class OpenArchive:
    """An archive that was taken apart; its images are not in the store yet."""

    def __init__(
        self,
        store: ImageStore,
        maker: ImageMaker,
        archives: ArchiveWork,
        lease: Lease,
        members: Unpacked,
        images: list[ArchivedImage],
    ) -> None:
        self.images = images
        self._store = store
        self._maker = maker
        self._archives = archives
        self._lease = lease
        self._members = members

    async def load(self, archived: ArchivedImage, report: Report) -> Loaded:
        """Bring one of the images into the store, under its names.

        Raises:
            InvalidArchive, InvalidManifest, InvalidLayer, DigestMismatch, StoreFull.
        """
        if archived.manifest is not None:
            whole = await self._of_layout(archived.manifest)
        else:
            whole = await self._of_docker(archived)
        diff_ids = parse_config(whole.config).diff_ids
        names = {
            layer.digest.short: diff_id.short
            for layer, diff_id in zip(whole.layers, diff_ids, strict=False)
        }

        def tell(line: Progress) -> None:
            if line.status is Status.EXTRACTING:
                name = names.get(line.id, line.id)
                report(replace(line, id=name, status=Status.LOADING_LAYER))

        before = {
            str(name): image_id
            for name in archived.names
            if (image_id := self._store.catalogue.tagged(str(name))) is not None
        }
        image = await self._maker.add(self._lease, whole, archived.names, tell)
        replaced = {name: other for name, other in before.items() if other != image.id}
        return Loaded(image, archived, replaced)

    async def _of_layout(self, descriptor: Descriptor) -> WholeImage:
        body = await read_member(
            self._members, blob_name(descriptor.digest), MAX_MANIFEST, descriptor.digest
        )
        manifest = parse_manifest(body, descriptor.media_type)
        if not isinstance(manifest, Manifest):
            raise InvalidArchive("invalid archive: an index where an image must be")
        config = await read_member(
            self._members, blob_name(manifest.config.digest), MAX_CONFIG, manifest.config.digest
        )
        for layer in manifest.layers:
            await self._adopt(layer)
        return WholeImage(config, body, descriptor.media_type, manifest.layers)

    async def _adopt(self, layer: Descriptor) -> None:
        """Move a layer's blob into the store."""
        await self._lease.hold(blobs=[layer.digest])
        if layer.digest in self._store.blobs:
            return
        name = blob_name(layer.digest)
        if name not in self._members:
            raise InvalidArchive(f"invalid archive: {name} is missing")
        if self._members.digest(name) != layer.digest:
            raise DigestMismatch(
                f"filesystem layer verification failed for digest {layer.digest}: "
                f"it is {self._members.digest(name)}"
            )
        path, size = self._members.path(name), self._members.size(name)
        if size != layer.size:
            raise InvalidManifest(
                f"invalid manifest: blob {layer.digest} has {size} bytes, not {layer.size}"
            )
        self._store.quota.check(size)
        with storage_faults():
            await in_thread(self._store.blobs.adopt, path, layer.digest, size)

    async def _of_docker(self, archived: ArchivedImage) -> WholeImage:
        """Give an image without a manifest one; layers that aren't compressed become so."""
        config = await read_member(self._members, archived.config, MAX_CONFIG)
        diff_ids = parse_config(config).diff_ids
        if len(diff_ids) != len(archived.layers):
            raise InvalidArchive(
                "invalid manifest, layers length mismatch: "
                f"expected {len(diff_ids)}, got {len(archived.layers)}"
            )
        layers = []
        for name, diff_id in zip(archived.layers, diff_ids, strict=True):
            if name not in self._members:
                raise InvalidArchive(f"invalid archive: {name} is missing")
            async with self._archives.taken(self._members.path(name)) as blob:
                if blob.diff_id != diff_id:
                    raise DigestMismatch(
                        f'invalid diffID for layer: expected "{diff_id}", got "{blob.diff_id}"'
                    )
                layers.append(await self._maker.add_blob(self._lease, blob))
        return WholeImage(config, manifest_json(config, layers), "", layers)


class Loader:
    """Opens archives of images."""

    def __init__(self, store: ImageStore, maker: ImageMaker, archives: ArchiveWork) -> None:
        self._store = store
        self._maker = maker
        self._archives = archives

    @asynccontextmanager
    async def opened(
        self, source: AsyncIterable[bytes], platform: Platform
    ) -> AsyncIterator[OpenArchive]:
        """Take an archive apart; what no image came to need of it is deleted in the end.

        Raises:
            InvalidArchive, InvalidLayer, InvalidManifest: it isn't one of images.
            StoreFull. What the source raises.
        """
        async with self._archives.unpacked(source) as members, self._store.lease() as lease:
            images = await archived_images(members, platform)
            yield OpenArchive(self._store, self._maker, self._archives, lease, members, images)

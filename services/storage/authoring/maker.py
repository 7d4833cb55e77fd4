"""Making an image of a layer: what import, load and commit have in common."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from portlayer.dockerfile.changes import apply_changes
from portlayer.dockerfile.defaults import ContainerDefaults
from portlayer.threads import in_thread
from services.storage.archive_work import ArchiveWork, TakenBlob
from services.storage.authoring.config_json import config_json, manifest_json
from services.storage.faults import storage_faults
from services.storage.image_records import ImageLayer, ImageUse, StoredImage, with_tag
from services.storage.image_store import ImageStore
from services.storage.imagec.config import (
    HistoryStep,
    ImageConfig,
    parse_config,
)
from services.storage.imagec.digest import Digest, chain_ids
from services.storage.imagec.errors import InvalidManifest
from services.storage.imagec.inflate import Compression
from services.storage.imagec.layer_work import LayerPlan, LayerWork
from services.storage.imagec.manifest import MAX_LAYERS, Descriptor, Platform, parse_manifest
from services.storage.imagec.progress import Report, ignore_progress
from services.storage.imagec.reference import Reference
from services.storage.leases import Lease

LAYER_TYPES = {
    Compression.GZIP: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    Compression.ZSTD: "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
"""Media types of what `ArchiveWork.taken` makes."""


@dataclass(frozen=True)
class NewImage:
    """An image to make: one more layer, and what is said of it."""

    parent: StoredImage | None = None
    """The image below; its layers and its history go on."""

    defaults: ContainerDefaults = field(default_factory=ContainerDefaults)
    """What the image says of its containers, before the changes."""

    changes: Sequence[str] = ()
    """Dockerfile instructions."""

    platform: Platform = field(default_factory=lambda: Platform("linux", "amd64"))
    author: str = ""
    comment: str = ""
    created_by: str = ""
    """What the history says of the step."""

    container: str = ""
    """The container that it is made of, by its ID."""

    container_config: str = ""
    """That container's configuration, a JSON object."""

    def saying(self, defaults: ContainerDefaults) -> NewImage:
        """The same, saying this of its containers before the changes."""
        return replace(self, defaults=defaults)


@dataclass(frozen=True)
class WholeImage:
    """An image in pieces, each checked by its digest; its blobs are in the store."""

    config: bytes
    manifest: bytes
    media_type: str
    layers: Sequence[Descriptor]


class ImageMaker:
    """Makes images of what no registry sent."""

    def __init__(self, store: ImageStore, layers: LayerWork, archives: ArchiveWork) -> None:
        self._store = store
        self._layers = layers
        self._archives = archives

    async def make(
        self,
        new: NewImage,
        tar: AsyncIterable[bytes] | Path,
        names: Sequence[Reference] = (),
    ) -> StoredImage:
        """Make an image whose top layer is a tar, compressed or not, and give it names.

        It becomes visible in one step at the end; on failure or cancellation nothing is left.

        Args:
            new: what it stands on, and what is said of it.
            tar: the layer's changes in the form of OCI's layers, whiteouts and all.
            names: references with a tag, which other images lose.

        Raises:
            InvalidArgument: a change isn't an instruction that can be used here.
            InvalidLayer: the tar can't be compiled.
            InvalidManifest: the image has too many layers.
            StoreFull: no space is left. What the stream raises.
        """
        defaults = apply_changes(new.defaults, new.changes)
        async with self._store.lease() as lease:
            below = new.parent.layers if new.parent is not None else ()
            await lease.hold(
                blobs=[layer.blob for layer in below], layers=[layer.chain_id for layer in below]
            )
            before = self._before(new)
            # A tar without members is no layer, as with dockerd.
            async with self._archives.taken(tar) as blob:
                layer = None if blob.empty else await self.add_blob(lease, blob)
            now = datetime.now(UTC)
            step = HistoryStep(now, new.created_by, new.comment, layer is None, new.author)
            added = () if layer is None else (blob.diff_id,)
            config = ImageConfig(
                platform=new.platform,
                diff_ids=(*before.diff_ids, *added),
                defaults=defaults,
                created=now,
                author=new.author,
                comment=new.comment,
                container=new.container,
                container_config=new.container_config,
                history=(*before.history, step),
            )
            descriptors = [Descriptor(e.media_type, e.blob, e.blob_size) for e in below]
            if layer is not None:
                descriptors.append(layer)
            body = config_json(config)
            manifest = manifest_json(body, descriptors)
            whole = WholeImage(body, manifest, "", descriptors)
            parent = new.parent.id if new.parent is not None else None
            return await self.add(lease, whole, names, ignore_progress, parent)

    def _before(self, new: NewImage) -> ImageConfig:
        if new.parent is not None:
            return new.parent.config
        return ImageConfig(new.platform, (), ContainerDefaults())

    async def add_blob(self, lease: Lease, blob: TakenBlob) -> Descriptor:
        """Move a blob into the store, held by the lease."""
        await lease.hold(blobs=[blob.digest])
        if blob.digest not in self._store.blobs:
            self._store.quota.check(blob.size)
        with storage_faults():
            await in_thread(self._store.blobs.adopt, blob.path, blob.digest, blob.size)
        return Descriptor(LAYER_TYPES[blob.compression], blob.digest, blob.size)

    async def add(
        self,
        lease: Lease,
        whole: WholeImage,
        names: Sequence[Reference],
        report: Report,
        parent: Digest | None = None,
    ) -> StoredImage:
        """Compile an image's layers whose blobs are in the store, held by the lease, and name it.

        Raises as `make`; InvalidManifest also when configuration and manifest disagree.
        """
        config = parse_config(whole.config)
        manifest = parse_manifest(whole.manifest, whole.media_type)
        if len(whole.layers) != len(config.diff_ids):
            raise InvalidManifest(
                f"invalid manifest: {len(whole.layers)} layers, but the configuration has "
                f"{len(config.diff_ids)} diff IDs"
            )
        if len(whole.layers) > MAX_LAYERS:
            raise InvalidManifest("max depth exceeded")
        chain = chain_ids(config.diff_ids)
        plans = [
            LayerPlan(blob, diff_id, chain_id, parent)
            for blob, diff_id, chain_id, parent in zip(
                whole.layers, config.diff_ids, chain, [None, *chain], strict=False
            )
        ]
        await lease.hold(layers=chain)
        await self._layers.bring(None, plans, report)
        image = StoredImage(
            id=Digest.of(whole.config),
            config=config,
            layers=tuple(
                ImageLayer(
                    blob=plan.blob.digest,
                    media_type=plan.blob.media_type,
                    blob_size=plan.blob.size,
                    diff_id=plan.diff_id,
                    chain_id=plan.chain_id,
                    size_bytes=self._store.layers[plan.chain_id].size_bytes,
                )
                for plan in plans
            ),
            manifest_digest=Digest.of(whole.manifest),
            manifest_type=manifest.media_type,
        )
        stored = self._store.catalogue.stored(image.id)

        def named(use: ImageUse) -> ImageUse:
            if parent is not None:
                use = replace(use, parent=parent)
            for reference in names:
                if str(reference) not in use.tags:
                    use = with_tag(use, str(reference))
            return use

        await self._store.commit(image, whole.config, whole.manifest, named)
        return stored or image

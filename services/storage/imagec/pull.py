"""Pulling an image: manifest, configuration, layers, names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from portlayer.errors import VicError
from services.storage.image_records import ImageLayer, ImageUse, StoredImage, with_digest, with_tag
from services.storage.image_store import ImageStore
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.config import ImageConfig, parse_config
from services.storage.imagec.digest import Digest, chain_ids
from services.storage.imagec.errors import InvalidManifest, ManifestNotFound, RegistryUnavailable
from services.storage.imagec.layer_work import LayerPlan, LayerWork
from services.storage.imagec.manifest import (
    Descriptor,
    Index,
    Manifest,
    Platform,
    parse_manifest,
)
from services.storage.imagec.progress import Progress, Report, Status
from services.storage.imagec.reference import Reference
from services.storage.imagec.registries import Registries
from services.storage.imagec.registry import FetchedManifest, Repository

HOST_PLATFORM = Platform("linux", "amd64")
_MAX_INDEX_DEPTH = 3


@dataclass(frozen=True)
class Pulled:
    """What a pull ended with."""

    reference: Reference
    digest: Digest
    """Of what the reference names: the index, where there is one."""

    image_id: Digest
    downloaded: bool
    """Whether anything changed: an image, or what its names mean."""


@dataclass(frozen=True)
class _Found:
    """An image in a registry."""

    named: FetchedManifest
    body: FetchedManifest
    manifest: Manifest


class Puller:
    """Brings images from registries into the store."""

    def __init__(self, registries: Registries, store: ImageStore, layers: LayerWork) -> None:
        self._registries = registries
        self._store = store
        self._layers = layers

    async def pull(
        self,
        reference: Reference,
        credentials: Credentials,
        platform: Platform | None,
        report: Report,
    ) -> Pulled:
        """Pull an image; `platform` None means the host's.

        The image becomes visible in one step at the end; on failure or cancellation nothing of it
        is left that nobody else needs.

        Raises:
            ManifestNotFound, PullDenied, RegistryUnauthorized, RegistryUnavailable, HostNotFound,
            InvalidManifest, InvalidLayer, DigestMismatch, StoreFull.
        """
        reference = reference.with_default_tag()
        failure: VicError | None = None
        repositories = self._registries.repositories(reference, credentials)
        async with aclosing(repositories) as candidates:
            async for repository in candidates:
                try:
                    return await self._pull(repository, reference, platform, report)
                except VicError as error:
                    if not repository.endpoint.mirror:
                        raise
                    failure = error
        raise failure or RegistryUnavailable(f"no registry answers for {reference.familiar}")

    async def _pull(
        self,
        repository: Repository,
        reference: Reference,
        platform: Platform | None,
        report: Report,
    ) -> Pulled:
        found = await self._find(repository, reference, platform or HOST_PLATFORM)
        shown = str(reference) if reference.digest else reference.tag or ""
        report(Progress(shown, Status.PULLING_FROM, text=reference.path))
        async with self._store.lease() as lease:
            stored = self._store.catalogue.stored(found.manifest.config.digest)
            await lease.hold(
                blobs=[layer.digest for layer in found.manifest.layers],
                layers=() if stored is None else [layer.chain_id for layer in stored.layers],
            )
            # Somebody may remove the image before the commit, which then needs it again.
            config_body = _read(self._store, stored)
            if stored is not None and config_body is not None and self._store.whole(stored):
                _check_platform(stored.config, reference, platform)
                image = stored
            else:
                descriptor = found.manifest.config
                config_body = await repository.config(descriptor.digest, descriptor.size)
                config = parse_config(config_body)
                _check_platform(config, reference, platform)
                plans = _plan(found.manifest.layers, config)
                await lease.hold(layers=[plan.chain_id for plan in plans])
                await self._layers.bring(repository, plans, report)
                image = self._describe(found, config, plans)
            downloaded = await self._store.commit(
                image, config_body, found.body.body, _names(reference, found.named.digest)
            )
        return Pulled(reference, found.named.digest, image.id, downloaded)

    async def _find(
        self, repository: Repository, reference: Reference, platform: Platform
    ) -> _Found:
        named = current = await repository.manifest(reference.target)
        for _ in range(_MAX_INDEX_DEPTH):
            parsed = parse_manifest(current.body, current.content_type)
            if isinstance(parsed, Manifest):
                return _Found(named, current, parsed)
            current = await self._choose(repository, parsed, platform)
        raise InvalidManifest("invalid manifest: indexes of indexes of indexes")

    async def _choose(
        self, repository: Repository, index: Index, platform: Platform
    ) -> FetchedManifest:
        chosen = index.choose(platform)
        known = self._store.catalogue.by_manifest(chosen.digest)
        if known is not None:
            body = self._store.catalogue.manifest(known.id)
            return FetchedManifest(body, known.manifest_type, chosen.digest)
        return await repository.manifest(chosen.digest)

    def _describe(
        self, found: _Found, config: ImageConfig, plans: Sequence[LayerPlan]
    ) -> StoredImage:
        return StoredImage(
            id=found.manifest.config.digest,
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
            manifest_digest=found.body.digest,
            manifest_type=found.manifest.media_type,
        )


def _read(store: ImageStore, image: StoredImage | None) -> bytes | None:
    """The configuration of a stored image; None where it is gone."""
    try:
        return None if image is None else store.catalogue.config(image.id)
    except FileNotFoundError:
        return None


class _names:  # noqa: N801 - a function with two arguments bound
    """Adds what a pulled reference says to an image's names."""

    def __init__(self, reference: Reference, digest: Digest) -> None:
        self._reference = reference
        self._digest = digest

    def __call__(self, use: ImageUse) -> ImageUse:
        reference = self._reference
        named = with_digest(use, str(reference.with_digest(self._digest)))
        if reference.digest is not None or str(reference) in named.tags:
            return named
        return with_tag(named, str(reference))


def _plan(layers: Sequence[Descriptor], config: ImageConfig) -> list[LayerPlan]:
    if len(layers) != len(config.diff_ids):
        raise InvalidManifest(
            f"invalid manifest: {len(layers)} layers, but the configuration has "
            f"{len(config.diff_ids)} diff IDs"
        )
    chain = chain_ids(config.diff_ids)
    parents = [None, *chain]
    return [
        LayerPlan(blob, diff_id, chain_id, parent)
        for blob, diff_id, chain_id, parent in zip(
            layers, config.diff_ids, chain, parents, strict=False
        )
    ]


def _check_platform(config: ImageConfig, reference: Reference, wanted: Platform | None) -> None:
    found = config.platform
    if found.os != "linux":
        raise InvalidManifest(
            f'image operating system "{found.os[:40]}" cannot be used on this platform'
        )
    if wanted is not None and (found.os, found.architecture) != (wanted.os, wanted.architecture):
        raise ManifestNotFound(
            f"image with reference {reference.familiar} was found but its platform ({found}) "
            f"does not match the specified platform ({wanted})"
        )

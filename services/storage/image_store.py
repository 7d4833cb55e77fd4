"""The image store: layers, blobs and the catalogue in one directory, and what of it is in use.

Nothing is deleted that an image, a container's disk or a lease needs. Who makes something new
holds a lease on it until an image refers to it; what a lease leaves behind without one is
deleted, so that a pull that fails leaves nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from services.storage.blobs import BlobStore
from services.storage.catalogue import Catalogue, ImageUse, StoredImage
from services.storage.faults import storage_faults
from services.storage.files import delete
from services.storage.imagec.digest import Digest
from services.storage.layers import LayerStore
from services.storage.threads import in_thread

log = logging.getLogger("vic.storage.images")


class Lease:
    """Blobs and layers that must not be deleted for now."""

    def __init__(self) -> None:
        self.blobs: set[Digest] = set()
        self.layers: set[Digest] = set()


class ImageStore:
    """One directory of images as one owner sees it.

    `chains_in_use` tells the top layers that containers' disks stand on.
    """

    def __init__(
        self,
        root: Path,
        *,
        owner: str,
        base_size: int,
        chains_in_use: Callable[[], Iterable[Digest]] = tuple,
    ) -> None:
        """Open the store, made if need be, and sweep what no record speaks of."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root = root.resolve()
        self.layers = LayerStore(self.root / "layers", base_size)
        self.blobs = BlobStore(self.root / "blobs")
        self.catalogue = Catalogue(self.root, owner)
        self._chains_in_use = chains_in_use
        self._leases: set[Lease] = set()
        self._names = asyncio.Lock()
        self._sweep()

    def _sweep(self) -> None:
        for image in self.catalogue.stored_images():
            if not self.catalogue.in_use_anywhere(image.id):
                self.catalogue.remove(image.id)
        doomed = self._detach(
            blobs=self.blobs.all(), layers=[record.chain_id for record in self.layers.all()]
        )
        for path in doomed:
            delete(path)
        if doomed:
            log.info("swept what nothing refers to", extra={"entries": len(doomed)})

    @property
    def free_bytes(self) -> int:
        """Space that is left."""
        state = os.statvfs(self.root)
        return state.f_bavail * state.f_frsize

    @property
    def total_bytes(self) -> int:
        """Size of the file system that the store is on."""
        state = os.statvfs(self.root)
        return state.f_blocks * state.f_frsize

    def complete(self, image: StoredImage) -> bool:
        """Whether all layers of an image are there, for this store's base."""
        return self.layers.has_base() and all(
            layer.chain_id in self.layers for layer in image.layers
        )

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Lease]:
        """Hold what is added to the lease; in the end delete what nothing else needs of it."""
        lease = Lease()
        self._leases.add(lease)
        try:
            yield lease
        finally:
            self._leases.discard(lease)
            await self._collect(lease.blobs, lease.layers)

    async def commit(
        self,
        image: StoredImage,
        config: bytes,
        manifest: bytes,
        rename: Callable[[ImageUse], ImageUse],
    ) -> bool:
        """Make an image visible under the names that `rename` adds to those it has.

        Returns whether that changed anything. Its layers must be held by a lease.
        """
        async with self._names:
            with storage_faults():
                await in_thread(self.catalogue.add, image, config, manifest)
            return await self._rename(image.id, rename)

    async def rename(self, image_id: Digest, rename: Callable[[ImageUse], ImageUse]) -> bool:
        """Change the owner's names for an image; returns whether that changed anything."""
        async with self._names:
            return await self._rename(image_id, rename)

    async def add_names(self, image_id: Digest, rename: Callable[[ImageUse], ImageUse]) -> bool:
        """As `rename`, but only for an image that the owner has; returns whether it still has."""
        async with self._names:
            if self.catalogue.get(image_id) is None:
                return False
            await self._rename(image_id, rename)
            return True

    async def _rename(self, image_id: Digest, rename: Callable[[ImageUse], ImageUse]) -> bool:
        fresh = self.catalogue.get(image_id) is None
        before = self.catalogue.use(image_id)
        after = rename(before)
        if not fresh and after == before:
            return False
        with storage_faults():
            await in_thread(self.catalogue.put_use, image_id, after)
        return True

    async def delete(self, image: StoredImage) -> list[Digest]:
        """The owner uses an image no more; returns the chain IDs of the layers that went."""
        async with self._names:
            await in_thread(self.catalogue.drop_use, image.id)
            if not self.catalogue.in_use_anywhere(image.id):
                await in_thread(self.catalogue.remove, image.id)
        layers = [layer.chain_id for layer in reversed(image.layers)]
        await self._collect({layer.blob for layer in image.layers}, layers)
        return [chain_id for chain_id in layers if chain_id not in self.layers]

    async def release_chain(self, chain_id: Digest | None) -> None:
        """A container's disk on this chain is gone: delete the layers that it alone needed."""
        if chain_id is None or chain_id not in self.layers:
            return
        await self._collect((), self.layers.ancestry(chain_id))

    async def _collect(self, blobs: Iterable[Digest], layers: Iterable[Digest]) -> None:
        for path in self._detach(blobs=blobs, layers=layers):
            await in_thread(delete, path)

    def _detach(self, *, blobs: Iterable[Digest], layers: Iterable[Digest]) -> list[Path]:
        """Take what nothing needs out of sight, in one piece: nothing can come between."""
        kept_blobs, kept_layers = self._needed()
        moved: list[Path] = []
        for chain_id in layers:
            if chain_id not in kept_layers:
                moved += self.layers.detach(chain_id)
        for digest in blobs:
            if digest not in kept_blobs:
                moved += self.blobs.detach(digest)
        return moved

    def _needed(self) -> tuple[set[Digest], set[Digest]]:
        blobs: set[Digest] = set()
        tops: set[Digest] = set(self._chains_in_use())
        for image in self.catalogue.stored_images():
            blobs.update(layer.blob for layer in image.layers)
            tops.update(layer.chain_id for layer in image.layers)
        for lease in self._leases:
            blobs |= lease.blobs
            tops |= lease.layers
        layers: set[Digest] = set(tops)
        for top in tops:
            if top in self.layers:
                layers.update(self.layers.ancestry(top))
        return blobs, layers

"""The image store: layers, blobs and the catalogue in one directory, and what of it is in use.

Nothing is deleted that an image, a container's disk or a lease needs. Who makes something new
holds a lease on it until an image refers to it; what a lease leaves behind without one is
deleted, so that a pull that fails leaves nothing.

Any number of processes share a store: several virtual container hosts, or replicas of one. Who
adds shares the store's lock for a moment, while it writes down what it is about to need; who
takes away, or changes names, has the lock alone and looks at the files first. The lock's file
counts such changes, so that the others know when what they have in memory is no longer so.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path

from portlayer.threads import in_thread
from services.storage.blobs import BlobStore
from services.storage.catalogue import Catalogue
from services.storage.commons import Commons
from services.storage.faults import storage_faults
from services.storage.files import delete, sync_directory
from services.storage.image_records import ImageUse, StoredImage
from services.storage.imagec.digest import Digest
from services.storage.layers import LayerStore
from services.storage.leases import Lease, Leases, Pins
from services.storage.needs import Needs
from services.storage.quota import Quota

log = logging.getLogger("vic.storage.images")


class UseChanged(Exception):
    """An image has been given, or has lost, names since somebody looked at them."""


class ImageStore:
    """One directory of images as one owner sees it.

    `chains_in_use` tells the top layers that containers' disks stand on, by looking at the files.
    `quota` is what the store may take, in bytes; 0 is no limit.
    """

    def __init__(
        self,
        root: Path,
        *,
        owner: str,
        base_size: int,
        chains_in_use: Callable[[], Iterable[Digest]] = tuple,
        quota: int = 0,
        sweep: bool = True,
    ) -> None:
        """Open the store, made if need be, and `sweep` what no record speaks of. Raises OSError."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root = root.resolve()
        self._commons = Commons(self.root, self._look)
        lives, turns = self._commons.presence.lives, self._commons.turns
        self._leases = Leases(self.root / "leases", self._commons.presence)
        self._pins = Pins(self.root / "pins", owner)
        self._chains_in_use = chains_in_use
        self._names = asyncio.Lock()
        self.layers = LayerStore(self.root / "layers", base_size, turns, lives)
        self.blobs = BlobStore(self.root / "blobs", lives)
        self.catalogue = Catalogue(self.root, owner, lives)
        self.quota = Quota(quota, self.layers, self.blobs)
        self.needs = Needs(self.layers, self.catalogue, self._leases, self._pins)
        if sweep:
            self.sweep_now()

    def close(self) -> None:
        """Give up what is held; nothing may be asked of the store any more."""
        self._commons.close()

    # --- what all processes see ------------------------------------------------------------

    async def refresh(self) -> None:
        """Look at the files where another process has changed some. Raises OSError."""
        if self._commons.stale:
            await in_thread(self._refresh)

    def _refresh(self) -> None:
        with self._commons.sharing():
            pass

    def _look(self) -> None:
        self.layers.refresh()
        self.blobs.refresh()
        self.catalogue.refresh()

    def lives(self, process: str) -> bool:
        """Tell whether a process is at work in the store."""
        return self._commons.presence.lives(process)

    def changing(self) -> AbstractContextManager[None]:
        """Have the store for oneself, and know what is in it. Blocks. Raises OSError."""
        return self._commons.changing()

    @contextmanager
    def standing_on(self, image: StoredImage) -> Iterator[None]:
        """Keep an image's layers for a container's disk that gets its name meanwhile. Blocks.

        Nobody takes anything away meanwhile, so that no lease is needed. Raises LookupError when
        they aren't all there (any more), OSError.
        """
        with self._commons.sharing():
            # Another process may have made some of it, or removed what is in memory here.
            self.layers.look(layer.chain_id for layer in image.layers)
            if not self.complete(image):
                raise LookupError(f"image {image.id} lacks layers")
            if image.chain_id is not None:
                self._pins.add(image.chain_id)
            yield

    def turn(self, work: str) -> AbstractAsyncContextManager[None]:
        """Wait until no other process does a piece of work, and do it. Raises OSError."""
        return self._commons.turn(work)

    # --- sizes -----------------------------------------------------------------------------

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

    def whole(self, image: StoredImage) -> bool:
        """Whether the blobs of an image are there as well, for a push or a save."""
        return self.complete(image) and all(layer.blob in self.blobs for layer in image.layers)

    # --- what is held ----------------------------------------------------------------------

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Lease]:
        """Hold what is added to the lease; in the end delete what nothing else needs of it."""
        lease = Lease(self._leases.directory, self._hold)
        self.needs.own.add(lease)
        try:
            yield lease
        finally:
            self.needs.own.discard(lease)
            if lease.blobs or lease.layers:
                try:
                    await in_thread(self._end, lease)
                except OSError as error:
                    # What was done under it is done, or has failed for a reason of its own.
                    log.error("what a lease held is left to the next sweep: %s", error)

    async def _hold(self, lease: Lease) -> None:
        with storage_faults():
            await in_thread(self._hold_now, lease)

    def _hold_now(self, lease: Lease) -> None:
        # Another process may have made some of it, or removed what is in memory here.
        with self._commons.sharing():
            lease.save()
            self.layers.look(lease.layers)
            self.blobs.look(lease.blobs)

    def _end(self, lease: Lease) -> None:
        if not self._commons.stale:
            blobs, layers = self.needs.here()
            if lease.blobs <= blobs and lease.layers <= layers:
                lease.path.unlink(missing_ok=True)
                return
        with self.changing():
            lease.path.unlink(missing_ok=True)
            doomed = self._detach(blobs=lease.blobs, layers=lease.layers)
        _delete_all(doomed)

    # --- names -----------------------------------------------------------------------------

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

        def work() -> bool:
            with self.changing():
                self.catalogue.add(image, config, manifest)
                return self._rename(image.id, rename)

        async with self._names:
            with storage_faults():
                return await in_thread(work)

    async def rename(self, image_id: Digest, rename: Callable[[ImageUse], ImageUse]) -> bool:
        """Change the owner's names for an image; returns whether that changed anything."""

        def work() -> bool:
            with self.changing():
                return self._rename(image_id, rename)

        async with self._names:
            with storage_faults():
                return await in_thread(work)

    async def add_names(self, image_id: Digest, rename: Callable[[ImageUse], ImageUse]) -> bool:
        """As `rename`, but only for an image that the owner has; returns whether it still has."""

        def work() -> bool:
            with self.changing():
                if self.catalogue.get(image_id) is None:
                    return False
                self._rename(image_id, rename)
                return True

        async with self._names:
            with storage_faults():
                return await in_thread(work)

    def _rename(self, image_id: Digest, rename: Callable[[ImageUse], ImageUse]) -> bool:
        fresh = self.catalogue.get(image_id) is None
        before = self.catalogue.use(image_id)
        after = rename(before)
        if not fresh and after == before:
            return False
        self.catalogue.put_use(image_id, after)
        return True

    # --- what goes -------------------------------------------------------------------------

    async def delete(self, image: StoredImage, judged: ImageUse) -> list[Digest]:
        """The owner uses an image no more; returns the chain IDs of the layers that went.

        `judged` are the names by which that was decided. Raises UseChanged where it has others by
        now, and leaves it.
        """
        layers = [layer.chain_id for layer in reversed(image.layers)]

        def work() -> None:
            with self.changing():
                if self.catalogue.use(image.id) != judged:
                    raise UseChanged(image.id)
                self.catalogue.drop_use(image.id)
                if not self.catalogue.in_use_anywhere(image.id):
                    self.catalogue.remove(image.id)
                blobs = {layer.blob for layer in image.layers}
                doomed = self._detach(blobs=blobs, layers=layers)
            _delete_all(doomed)

        async with self._names:
            await in_thread(work)
        return [chain_id for chain_id in layers if chain_id not in self.layers]

    async def release_chain(self, chain_id: Digest | None) -> None:
        """A container's disk on this chain is gone: delete the layers that it alone needed."""
        if chain_id is not None:
            await in_thread(self._release_chain, chain_id)

    def _release_chain(self, chain_id: Digest) -> None:
        if chain_id in self._chains_in_use():
            return
        with self.changing():
            if chain_id in self._chains_in_use():
                return  # another process has made a disk on it meanwhile
            self._pins.drop(chain_id)
            if chain_id not in self.layers:
                return
            doomed = self._detach(blobs=(), layers=self.layers.ancestry(chain_id))
        _delete_all(doomed)

    async def sweep(self) -> int:
        """Delete what nothing refers to and nobody has in hand; returns how many entries."""
        async with self._names:
            return await in_thread(self.sweep_now)

    def sweep_now(self) -> int:
        """As `sweep`. Blocks."""
        with self.changing():
            self._commons.presence.sweep()
            self._commons.forget_turns()
            self._pins.keep(self._chains_in_use())
            swept = self.blobs.sweep() + self.catalogue.sweep(self.tar_size)
            if self.catalogue.untold:
                log.error("images can't be read: what nothing refers to stays")
                return swept
            swept += self.layers.sweep(self.needs.everywhere()[1])
            for image in self.catalogue.stored_images():
                if not self.catalogue.in_use_anywhere(image.id):
                    self.catalogue.remove(image.id)
                    swept += 1
            layers = [record.chain_id for record in self.layers.all()]
            doomed = self._detach(blobs=self.blobs.all(), layers=layers)
        _delete_all(doomed)
        swept += len(doomed)
        if swept:
            log.info("swept what nothing refers to", extra={"entries": swept})
        return swept

    def _detach(self, *, blobs: Iterable[Digest], layers: Iterable[Digest]) -> list[Path]:
        """Take what nothing needs out of sight; the store is the caller's alone meanwhile.

        Nothing where images can't be read, whose needs aren't known: a sweep finds it later.
        """
        if self.catalogue.untold:
            return []
        kept_blobs, kept_layers = self.needs.everywhere()
        moved: list[Path] = []
        for chain_id in layers:
            if chain_id not in kept_layers:
                moved += self.layers.detach(chain_id)
        for digest in blobs:
            if digest not in kept_blobs:
                moved += self.blobs.detach(digest)
        if moved:
            sync_directory(self.layers.directory)
        return moved

    def tar_size(self, chain_id: Digest) -> int | None:
        """Return the bytes of a layer's tar; None where the layer isn't there."""
        return self.layers[chain_id].size_bytes if chain_id in self.layers else None


def _delete_all(doomed: Iterable[Path]) -> None:
    for path in doomed:
        delete(path)

"""A check of all that storage keeps, as one of the processes that share it.

It may run beside the service. What it looks at is held by a lease meanwhile, what it mends is
mended under the store's lock, and the service looks anew afterwards.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from portlayer.threads import in_thread
from services.storage.checking.blobs import check_blobs, check_needed
from services.storage.checking.containers import check_containers
from services.storage.checking.findings import Findings
from services.storage.checking.images import check_images, check_names
from services.storage.checking.layers import LayerCheck
from services.storage.checking.leftovers import check_image_store, check_staged
from services.storage.checking.volumes import check_uses, check_volumes
from services.storage.compile_pool import CompilePool
from services.storage.disks import DiskStore
from services.storage.files import process_name
from services.storage.image_store import ImageStore
from services.storage.imagec.digest import Digest
from services.storage.locks import Presence
from services.storage.settings import StorageSettings
from services.storage.volumes.stores import VolumeStores


@dataclass(frozen=True)
class Counts:
    """What there was to look at."""

    images: int
    layers: int
    blobs: int
    containers: int


async def check(
    settings: StorageSettings, findings: Findings, pool: CompilePool, *, deep: bool
) -> Counts:
    """Check an instance's images, layers, blobs, containers' disks and volumes.

    `pool` makes layers anew; `deep` does so with each one and compares. Raises OSError, VicError.
    """
    state = settings.state_dir
    async with AsyncExitStack() as stack:
        presence = Presence(state / "processes", process_name())
        stack.callback(presence.close)
        disks = await in_thread(DiskStore, state / "containers", presence.lives, sweep=False)
        store = await in_thread(
            ImageStore,
            settings.image_directory,
            owner=settings.instance_id,
            base_size=settings.base_size_bytes,
            chains_in_use=disks.chains_in_use,
            sweep=False,
        )
        stack.callback(store.close)
        stores = VolumeStores(
            state / "volumes", settings.volume_stores, settings.volume_directories
        )
        await in_thread(check_images, store, findings)
        await in_thread(check_names, store, findings)
        async with store.lease() as lease:
            blobs, layers = await in_thread(_needed, store)
            await lease.hold(blobs=blobs, layers=layers)
            sound = await in_thread(check_blobs, store, findings)
            await LayerCheck(store, pool, sound, findings, deep=deep).run()
            await in_thread(check_needed, store, sound, findings)
        await in_thread(check_containers, disks.directory, store, findings)
        await in_thread(check_volumes, stores, findings)
        await in_thread(check_uses, state, findings)
        await in_thread(check_image_store, store, findings)
        directories = [disks.directory, state / "volume-uses", state / "volume-attachments"]
        directories += [each.directory for each in stores]
        await in_thread(check_staged, directories, presence.lives, findings)
        if findings.repair:
            await in_thread(presence.sweep)
        return Counts(
            images=len(store.catalogue.stored_images()),
            layers=len(store.layers.all()),
            blobs=len(store.blobs.all()),
            containers=sum(1 for _ in disks.records()),
        )


def _needed(store: ImageStore) -> tuple[set[Digest], set[Digest]]:
    with store.changing():
        return store.needs.everywhere()

"""What containers hold of volumes: reserved while they exist, attached while they run.

A volume is attached by one VM that may write it, or by any number that only read: each VM has a
kernel of its own, and two that wrote one file system would destroy it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

from vic.storage.v1 import volume_pb2

from portlayer.errors import VicError
from portlayer.journal import Journal
from portlayer.threads import in_thread
from services.storage.faults import storage_faults
from services.storage.volumes.catalogue import Volumes
from services.storage.volumes.disk import is_at_rest
from services.storage.volumes.errors import VolumeAttached, VolumeNotFound, VolumesReserved
from services.storage.volumes.index import Volume
from services.storage.volumes.records import Attachment, ContainerUse, VolumeUse
from services.storage.volumes.uses import Uses

A = TypeVar("A")

log = logging.getLogger("vic.storage.volumes")


@dataclass(frozen=True)
class AttachedDisk:
    """A volume as one VM gets it."""

    volume: Volume
    writable: bool


class Holding:
    """Reserves and attaches volumes for containers."""

    def __init__(self, volumes: Volumes, uses: Uses, journal: Journal) -> None:
        self._volumes = volumes
        self._uses = uses
        self._journal = journal

    def _turn(self, container_id: str) -> AbstractAsyncContextManager[None]:
        return self._volumes.index.turn("container", container_id)

    async def _change(self, function: Callable[[A], None], record: A) -> None:
        """Change what is on record, with the instance's volumes alone for that moment."""

        def change() -> None:
            self._volumes.index.change(function, record)

        await in_thread(change)

    async def reserve(self, container_id: str, wanted: Sequence[VolumeUse]) -> list[Volume]:
        """Let a container use volumes, making those that aren't there.

        Raises what Volumes.create raises, and VolumesReserved.
        """
        async with self._turn(container_id):
            use = ContainerUse(container_id, tuple(wanted))
            known = self._uses.get(container_id)
            if known is not None and known != use:
                raise VolumesReserved(f"container {container_id} has reserved other volumes")
            if not use.volumes:
                return []
            if known is not None:
                return [await self._find(one, []) for one in use.volumes]
            made: list[str] = []
            async with AsyncExitStack() as undo:
                undo.push_async_callback(self._unreserve, container_id, made)
                # First: from now on nobody removes one of them.
                with storage_faults():
                    await self._change(self._uses.begin, use)
                found = [await self._find(one, made) for one in use.volumes]
                undo.pop_all()
            return found

    async def _find(self, use: VolumeUse, made: list[str]) -> Volume:
        volume, is_new = await self._volumes.create(
            use.name, use.driver, use.labels, use.options, anonymous=use.anonymous
        )
        if is_new:
            made.append(use.name)
        return volume

    async def _unreserve(self, container_id: str, made: Sequence[str]) -> None:
        await self._change(self._uses.end, container_id)
        await self._remove_unused(made)

    async def _remove_unused(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                await self._volumes.remove(name, force=True)
            except (VicError, OSError) as error:
                # Another container has come to use it, or the disk fails: a prune finds it.
                log.info("volume kept: %s", error, extra={"volume": name})

    async def release(self, container_id: str, *, remove_anonymous: bool) -> None:
        """End a container's use of volumes. Idempotent."""
        async with self._turn(container_id):
            await self._detach(container_id, "")
            use = self._uses.get(container_id)
            if use is None:
                return
            await self._change(self._uses.end, container_id)
            if remove_anonymous:
                await self._remove_unused({one.name for one in use.volumes if one.anonymous})

    async def attach(
        self, container_id: str, boot_id: str, *, read_only: bool = False
    ) -> list[AttachedDisk]:
        """Give a run of a container's VM its volumes; ``read_only`` whatever the container may.

        Raises VolumeNotFound, VolumeAttached, StoreUnavailable.
        """
        async with self._turn(container_id):
            use = self._uses.get(container_id)
            if use is None:
                return []
            former = self._uses.attachment(container_id)
            if former is not None and former.boot_id != boot_id:
                await self._detach(container_id, "")
                former = None
            names = sorted(use.names())
            async with AsyncExitStack() as turns:
                # In the order of their names, so that two can't wait for one another.
                for name in names:
                    await turns.enter_async_context(self._volumes.turn(name))
                volumes = [self._existing(name) for name in names]
                if former is None:
                    await self._begin(use, boot_id, volumes, read_only=read_only)
            attachment = self._uses.attachment(container_id)
            assert attachment is not None
            return [
                AttachedDisk(volume, attachment.writable[volume.record.name]) for volume in volumes
            ]

    def _existing(self, name: str) -> Volume:
        volume = self._volumes.get(name)
        with volume.store.faults():
            if volume.disk.exists():
                return volume
        raise VolumeNotFound(f"the disk of volume {name} is gone", volume=name)

    async def _begin(
        self, use: ContainerUse, boot_id: str, volumes: Sequence[Volume], *, read_only: bool
    ) -> None:
        writable = {
            volume.record.name: await self._must_write(use, volume, read_only=read_only)
            for volume in volumes
        }
        # It is this one's turn on all of them: nobody attaches one until it is on record.
        for name, writes in writable.items():
            self._check_free(name, writes)
        attachment = Attachment(use.container_id, boot_id, writable)
        try:
            with storage_faults():
                await self._change(self._uses.begin_attachment, attachment)
        except BaseException:  # cancelled too: a VM that never started must not keep others out
            await self._change(self._uses.end_attachment, use.container_id)
            raise
        for one in use.volumes:
            driver = self._volumes.get(one.name).record.driver
            self._journal.add(
                volume_pb2.VOLUME_EVENT_KIND_MOUNT,
                one.name,
                {
                    "container": use.container_id,
                    "destination": one.target,
                    "driver": driver,
                    "propagation": "",
                    "read/write": str(not one.read_only).lower(),
                },
            )

    async def _must_write(self, use: ContainerUse, volume: Volume, *, read_only: bool) -> bool:
        """Tell whether a VM has to be able to write a volume, also where its container may not.

        One that only reads it must find it at rest; a journal isn't replayed on a disk that can't
        be written. And a volume that was never written gets the image's files first.
        """
        uses = [one for one in use.volumes if one.name == volume.record.name]
        if not read_only and not all(one.read_only for one in uses):
            return True
        if not volume.record.written and not all(one.no_copy for one in uses):
            return True
        if any(any(one.writable.values()) for one in self._uses.attachments(volume.record.name)):
            return False  # refused in a moment; its disk is in motion
        with volume.store.faults():
            return not await in_thread(is_at_rest, volume.disk)

    def _check_free(self, name: str, writes: bool) -> None:
        for other in self._uses.attachments(name):
            if other.writable[name]:
                raise VolumeAttached(
                    f"volume {name} is attached to container {other.container_id}, which may "
                    "write it: a volume has one writer at a time, or readers alone (mount it "
                    "read-only everywhere)",
                    volume=name,
                    container=other.container_id,
                )
            if writes:
                raise VolumeAttached(
                    f"volume {name} is read by container {other.container_id}: it can't be "
                    "written meanwhile (a volume has one writer at a time, or readers alone)",
                    volume=name,
                    container=other.container_id,
                )

    async def detach(self, container_id: str, boot_id: str) -> None:
        """Take a VM's volumes back. Idempotent."""
        async with self._turn(container_id):
            await self._detach(container_id, boot_id)

    async def _detach(self, container_id: str, boot_id: str) -> None:
        attachment = self._uses.attachment(container_id)
        if attachment is None or (boot_id and attachment.boot_id != boot_id):
            return
        for name, writable in attachment.writable.items():
            if writable:
                await in_thread(self._volumes.mark_written, name)
        await self._change(self._uses.end_attachment, container_id)
        for volume in self._volumes.all():
            if volume.record.name in attachment.writable:
                self._journal.add(
                    volume_pb2.VOLUME_EVENT_KIND_UNMOUNT,
                    volume.record.name,
                    {"container": container_id, "driver": volume.record.driver},
                )

"""What is done with volumes: making, finding, enlarging and removing them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime

from vic.storage.v1 import volume_pb2

from portlayer.errors import VicError
from portlayer.journal import Journal
from portlayer.threads import in_thread
from services.storage.compiler.base import create_volume
from services.storage.files import (
    delete,
    move_aside,
    publish,
    replace_file,
    staged_directory,
    sync_content,
    sync_directory,
    write_new,
)
from services.storage.pruning import LabelRule
from services.storage.volumes.disk import disk_size, enlarge
from services.storage.volumes.errors import (
    InvalidVolume,
    VolumeExists,
    VolumeInUse,
    VolumeNotFound,
    naming,
)
from services.storage.volumes.index import Volume, VolumeIndex
from services.storage.volumes.options import check_driver, check_name, check_size, read_options
from services.storage.volumes.records import DISK, RECORD, VolumeRecord
from services.storage.volumes.stores import VolumeStores
from services.storage.volumes.uses import Uses

log = logging.getLogger("vic.storage.volumes")


class Volumes:
    """Makes, enlarges and removes volumes, each in its turn."""

    def __init__(
        self, stores: VolumeStores, uses: Uses, journal: Journal, default_size: int
    ) -> None:
        """Find the volumes there are. Blocks. Raises OSError."""
        self.stores = stores
        self.index = VolumeIndex(stores, uses)
        self._uses = uses
        self._journal = journal
        self._default_size = default_size

    def close(self) -> None:
        """Take part in the instance's volumes no more."""
        self.index.close()

    def turn(self, name: str) -> AbstractAsyncContextManager[None]:
        """Have a volume for oneself while it is made, changed, attached or removed."""
        return self.index.turn("volume", name)

    def all(self) -> list[Volume]:
        """Every volume, by name."""
        return self.index.all()

    def get(self, name: str) -> Volume:
        """Return a volume. Raises VolumeNotFound."""
        return self.index.get(name)

    async def create(
        self,
        name: str,
        driver: str,
        labels: Mapping[str, str],
        options: Mapping[str, str],
        *,
        anonymous: bool = False,
    ) -> tuple[Volume, bool]:
        """Make a volume, or return the one of that name; and whether it was made.

        Without a name it is anonymous and gets one. Raises InvalidVolume, DriverNotFound,
        StoreNotFound, VolumeExists, StoreFull, StoreUnavailable.
        """
        anonymous = anonymous or not name
        name = name or secrets.token_hex(32)
        with naming(name):
            check_name(name)
            driver = check_driver(driver)
        async with self.turn(name):
            known = self.index.find(name)
            if known is not None:
                if known.record.driver != driver:
                    raise VolumeExists(
                        f"create {name}: conflict: volume name must be unique: a volume of "
                        f"driver {known.record.driver} has it",
                        volume=name,
                    )
                return known, False
            with naming(name):
                wanted = read_options(options)
                store = self.stores[wanted.store]
                size = wanted.size_bytes or self._default_size
                if wanted.size_bytes:
                    store.check_fits(size)
            record = VolumeRecord(
                name=name,
                driver=driver,
                size_bytes=size,
                created_at=datetime.now(UTC),
                anonymous=anonymous,
                labels=dict(labels),
                options=dict(options),
            )
            if self.index.is_away(store):
                # It may be back, with volumes that nobody knows yet: this one, perhaps.
                await in_thread(self.index.look_again)
                if (found := self.index.find(name)) is not None:
                    return found, False
            volume = Volume(record, store)
            with naming(name), store.faults():
                await in_thread(self.make, volume)
        self._journal.add(volume_pb2.VOLUME_EVENT_KIND_CREATE, name, {"driver": driver})
        return volume, True

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Delete a volume. Raises VolumeNotFound unless `force`, VolumeInUse."""
        async with self.turn(name):
            volume = self.index.find(name)
            if volume is None:
                if force:
                    return
                raise VolumeNotFound(f"get {name}: no such volume", volume=name)
            with volume.store.faults():
                await in_thread(self.discard, volume)
        self._journal.add(
            volume_pb2.VOLUME_EVENT_KIND_DESTROY, name, {"driver": volume.record.driver}
        )

    def discard(self, volume: Volume) -> None:
        """Delete a volume. Blocks. Raises VolumeInUse, OSError."""
        name = volume.record.name
        with self.index.changing():
            # Now: a container may have come to use it until here, and none can from here on.
            users = self._uses.of(name)
            if users:
                raise VolumeInUse(
                    f"remove {name}: volume is in use - [{', '.join(users)}]", volume=name
                )
            # Of a store that is away nothing can be deleted, and what isn't seen isn't gone.
            volume.store.directory.stat()
            # Forgotten once it is aside: where that fails, a repeated call finds it to be done.
            doomed = move_aside(volume.directory)
            self.index.drop(name)
        if doomed is not None:
            sync_directory(doomed.parent)
            delete(doomed)

    async def prune(self, *, everything: bool, rules: Sequence[LabelRule]) -> tuple[list[str], int]:
        """Remove what no container uses: anonymous volumes, or all; return names and bytes.

        One that can't be removed is left and doesn't stop the others.
        """
        removed: list[str] = []
        reclaimed = 0
        for volume in self.all():
            record = volume.record
            if not (everything or record.anonymous) or self._uses.of(record.name):
                continue
            if not all(rule.holds(record.labels) for rule in rules):
                continue
            used = volume.used_bytes
            try:
                await self.remove(record.name)
            except (VicError, OSError) as error:
                log.warning("volume not pruned: %s", error, extra={"volume": record.name})
                continue
            removed.append(record.name)
            reclaimed += used
        self._journal.add(volume_pb2.VOLUME_EVENT_KIND_PRUNE, "", {"reclaimed": str(reclaimed)})
        return removed, reclaimed

    async def grow(self, name: str, size: int) -> Volume:
        """Give a volume more room. Raises VolumeNotFound, InvalidVolume, VolumeInUse, StoreFull."""
        async with self.turn(name):
            volume = self.get(name)
            size = check_size("size", size)
            if size < volume.record.size_bytes:
                raise InvalidVolume(
                    f"volume {name} has {volume.record.size_bytes} bytes: it can grow to more, "
                    f"and can't shrink to {size}"
                )
            if size == volume.record.size_bytes:
                return volume
            volume.store.check_fits(size)
            self._check_detached(name)
            # Whoever attaches it takes the same turn.
            grown = Volume(replace(volume.record, size_bytes=size), volume.store)
            with volume.store.faults():
                # Disk and record in one piece: whoever asked may be gone before the end of a copy.
                await in_thread(self._enlarge, grown)
            return grown

    def _enlarge(self, grown: Volume) -> None:
        """Give a volume's disk the size of its record, and write that. Blocks. Raises OSError.

        A process that was killed may have come as far as the disk: it is never made smaller, as
        its file system may have grown with it. Raises InvalidVolume.
        """
        name, size = grown.record.name, grown.record.size_bytes
        there = disk_size(grown.disk)
        if size < there:
            raise InvalidVolume(
                f"volume {name} has {there} bytes already: it can grow to as many or more"
            )
        if size > there:
            enlarge(grown.disk, size, name=name)
        self.index.change(self._rewrite, grown)

    def _check_detached(self, name: str) -> None:
        holders = [one.container_id for one in self._uses.attachments(name)]
        if holders:
            raise VolumeInUse(
                f"volume {name} can't grow while it is in use by running containers - "
                f"[{', '.join(holders)}]",
                volume=name,
            )

    def mark_written(self, name: str) -> None:
        """Keep that a VM has had a volume for writing. Blocks.

        Raises OSError, StoreFull, StoreUnavailable.
        """
        with self.index.changing():
            volume = self.index.find(name)
            if volume is not None and not volume.record.written:
                with volume.store.faults():
                    self._rewrite(Volume(replace(volume.record, written=True), volume.store))

    def make(self, volume: Volume) -> None:
        """Write a volume, which has its name once all of it is there. Blocks. Raises OSError."""
        record = volume.record
        with staged_directory(volume.store.directory) as staged:
            create_volume(staged / DISK, record.size_bytes, name=record.name, durable=False)
            write_new(staged / RECORD, record.to_json())
            sync_content(staged)
            with self.index.changing():
                publish(staged, volume.directory)
                self.index.put(volume)

    def _rewrite(self, volume: Volume) -> None:
        replace_file(volume.directory / RECORD, volume.record.to_json())
        self.index.put(volume)

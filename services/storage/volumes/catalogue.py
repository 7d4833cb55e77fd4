"""Which volumes there are: making, finding, enlarging and removing them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from weakref import WeakValueDictionary

from vic.storage.v1 import volume_pb2

from portlayer.errors import VicError
from portlayer.journal import Journal
from services.storage.compiler.base import create_volume
from services.storage.files import (
    delete,
    move_aside,
    publish,
    replace_file,
    staged_directory,
    sweep_inside,
    sync_directory,
    write_synced,
)
from services.storage.pruning import LabelRule
from services.storage.threads import in_thread
from services.storage.vmdk import VmdkError
from services.storage.volumes.disk import disk_size, enlarge
from services.storage.volumes.errors import (
    InvalidVolume,
    VolumeExists,
    VolumeInUse,
    VolumeNotFound,
    naming,
)
from services.storage.volumes.options import check_driver, check_name, check_size, read_options
from services.storage.volumes.records import DISK, RECORD, VolumeRecord
from services.storage.volumes.stores import VolumeStore, VolumeStores, volume_directories
from services.storage.volumes.uses import Uses

log = logging.getLogger("vic.storage.volumes")


@dataclass(frozen=True)
class Volume:
    """A volume, and where it lies."""

    record: VolumeRecord
    store: VolumeStore

    @property
    def directory(self) -> Path:
        """Its own directory."""
        return self.store.directory / self.record.name

    @property
    def disk(self) -> Path:
        """Its VMDK."""
        return self.directory / DISK

    @property
    def used_bytes(self) -> int:
        """What its disk takes; 0 where it is gone or its store is."""
        try:
            return self.disk.stat().st_blocks * 512
        except OSError:
            return 0


class Volumes:
    """All volumes of all stores. What is in memory is an index, built from the files at start."""

    def __init__(
        self, stores: VolumeStores, uses: Uses, journal: Journal, default_size: int
    ) -> None:
        self.stores = stores
        self._uses = uses
        self._journal = journal
        self._default_size = default_size
        self._volumes: dict[str, Volume] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._away: set[str] = set()
        for store in stores:
            self._load(store)

    def _load(self, store: VolumeStore) -> None:
        """Find a store's volumes. One that is away keeps those of others from nobody. Blocks."""
        self._away.add(store.name)
        try:
            directories = volume_directories(store)
        except VicError as error:
            log.error("%s", error.message)
            return
        self._away.discard(store.name)
        for directory in directories:
            try:
                (directory / f"larger-{DISK}").unlink(missing_ok=True)
                sweep_inside(directory, store.lives)
                record = VolumeRecord.read(directory)
                size = disk_size(directory / DISK)
            except (OSError, ValueError, KeyError, TypeError, VmdkError) as error:
                # Left in place: it may hold somebody's data.
                log.error("volume without a valid record or disk: %s: %s", directory, error)
                continue
            if record.name in self._volumes:
                log.error("volume in two stores, the second is left alone: %s", directory)
                continue
            # A crash right after the disk was enlarged leaves the description behind it.
            self._volumes[record.name] = Volume(replace(record, size_bytes=size), store)

    def turn(self, name: str) -> asyncio.Lock:
        """Return the lock under which a volume is made, changed and removed."""
        lock = self._turns.get(name)
        if lock is None:
            lock = self._turns[name] = asyncio.Lock()
        return lock

    def all(self) -> list[Volume]:
        """Every volume, by name."""
        return [self._volumes[name] for name in sorted(self._volumes)]

    def get(self, name: str) -> Volume:
        """Return a volume. Raises VolumeNotFound."""
        volume = self._volumes.get(name)
        if volume is None:
            raise VolumeNotFound(f"get {name}: no such volume", volume=name)
        return volume

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
            known = self._volumes.get(name)
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
            if store.name in self._away:
                # It may be back, with volumes that nobody knows yet: this one, perhaps.
                await in_thread(self._load, store)
                if (found := self._volumes.get(name)) is not None:
                    return found, False
            volume = Volume(record, store)
            with naming(name), store.faults():
                await in_thread(_make, volume)
            self._volumes[name] = volume
        self._journal.add(volume_pb2.VOLUME_EVENT_KIND_CREATE, name, {"driver": driver})
        return volume, True

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Delete a volume. Raises VolumeNotFound unless `force`, VolumeInUse."""
        async with self.turn(name):
            volume = self._volumes.get(name)
            if volume is None:
                if force:
                    return
                raise VolumeNotFound(f"get {name}: no such volume", volume=name)
            users = self._uses.of(name)
            if users:
                raise VolumeInUse(
                    f"remove {name}: volume is in use - [{', '.join(users)}]", volume=name
                )
            with volume.store.faults():
                await in_thread(self.discard, volume)
        self._journal.add(
            volume_pb2.VOLUME_EVENT_KIND_DESTROY, name, {"driver": volume.record.driver}
        )

    def discard(self, volume: Volume) -> None:
        """Delete a volume; that nothing uses it is for the caller to know. Blocks."""
        # Forgotten once it is aside: where that fails, a repeated call finds it still to be done.
        doomed = move_aside(volume.directory)
        self._volumes.pop(volume.record.name, None)
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
                await in_thread(enlarge, volume.disk, size, name=name)
                self._volumes[name] = grown
                await in_thread(self._rewrite, grown)
            return grown

    def _check_detached(self, name: str) -> None:
        holders = [one.container_id for one in self._uses.attachments(name)]
        if holders:
            raise VolumeInUse(
                f"volume {name} can't grow while it is in use by running containers - "
                f"[{', '.join(holders)}]",
                volume=name,
            )

    def mark_written(self, name: str) -> None:
        """Keep that a VM has had a volume for writing. Blocks. Raises OSError."""
        volume = self._volumes.get(name)
        if volume is not None and not volume.record.written:
            marked = Volume(replace(volume.record, written=True), volume.store)
            self._rewrite(marked)
            self._volumes[name] = marked

    def _rewrite(self, volume: Volume) -> None:
        replace_file(volume.directory / RECORD, volume.record.to_json())


def _make(volume: Volume) -> None:
    record = volume.record
    with staged_directory(volume.store.directory) as staged:
        create_volume(staged / DISK, record.size_bytes, name=record.name)
        write_synced(staged / RECORD, record.to_json())
        publish(staged, volume.directory)

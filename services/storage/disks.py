"""Containers' read-write disks, each with the specification of its container beside it.

    containers/<container ID>/{disk.vmdk, spec.bin, meta.json}

A directory gets its name when all in it is on the disk. The specification is opaque here; it is
the record of a created container, and what exec rebuilds its database from.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from portlayer.errors import AlreadyExists, InvalidArgument, NotFound, Reason
from portlayer.threads import in_thread, uncancelled
from portlayer.turns import Turns
from services.storage.disk_records import (
    DISK,
    RECORD,
    SPECIFICATION,
    DiskRecord,
    read_record,
)
from services.storage.faults import FULL, storage_faults
from services.storage.files import (
    STAGING_PREFIX,
    delete,
    move_aside,
    nobody,
    publish,
    replace_file,
    staged_directory,
    sweep_inside,
    sweep_staged,
    sync_content,
    sync_directory,
    write_new,
)
from services.storage.image_records import StoredImage
from services.storage.image_store import ImageStore
from services.storage.imagec.digest import Digest
from services.storage.vmdk import Chain, create_disk

MAX_SPECIFICATION = 4 << 20
PAGE_BYTES = 4 << 20
"""Of a page of a list; one specification more still fits a message of 16 MiB."""

_RECORD_BYTES = 512
"""What a disk takes in a list besides its specification, at most."""

# A disk that takes more is gone when its removal is answered: who removes it may want the room.
WAITED_FOR_BYTES = 16 << 20
# Of small ones, to delete which takes as long as all else of a removal; the next is waited for.
MOST_DELETIONS = 32

_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")

log = logging.getLogger("vic.storage.disks")


class DiskNotFound(NotFound):
    """No container of that ID has a disk here."""

    default_reason = Reason.DISK_NOT_FOUND


class DiskExists(AlreadyExists):
    """The container has a disk already, made for another image or specification."""

    default_reason = Reason.DISK_EXISTS


@dataclass(frozen=True)
class Disk:
    """A container's disk."""

    record: DiskRecord
    chain: tuple[Path, ...]
    """VMDK files, the container's own first."""

    specification: bytes


@dataclass(frozen=True)
class ListedDisk:
    """A container's disk in a list: its chain isn't looked at."""

    record: DiskRecord
    specification: bytes


class DiskStore:
    """The disks of all containers."""

    def __init__(
        self, directory: Path, lives: Callable[[str], bool] = nobody, *, sweep: bool = True
    ) -> None:
        """Open the directory, made if need be, and `sweep` what isn't whole.

        `lives` tells which other replicas are at work in it.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory.resolve()
        if sweep:
            sweep_staged(self.directory, lives)
            for entry in self.directory.iterdir():
                if entry.is_dir():
                    sweep_inside(entry, lives)
        self._records: dict[str, DiskRecord] = {}
        self._chains: dict[str, tuple[Path, ...]] = {}
        self._refused: dict[str, int] = {}
        self._turns = Turns()
        # Of disks that are out of sight, for good; a sweep does it after a crash.
        self._deletions: set[asyncio.Task[None]] = set()
        self.refresh()

    def refresh(self) -> None:
        """Know the disks that there are: other replicas make and remove some too. Blocks."""
        known = [*self._records]  # before: what is made meanwhile must not be forgotten
        there = {name for name in os.listdir(self.directory) if not name.startswith(STAGING_PREFIX)}
        for container_id in known:
            if container_id not in there:
                self._forget(container_id)
        for container_id in there - set(self._records):
            if self._refused.get(container_id) != _version(self.directory / container_id):
                self._look(container_id)

    def _look(self, container_id: str) -> DiskRecord | None:
        """Know a disk by its files. Blocks."""
        entry = self.directory / container_id
        try:
            record = read_record(entry)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if entry.exists():
                # Left in place: it may hold somebody's data.
                log.error("disk without a valid record: %s: %s", entry, error)
                self._refused[container_id] = _version(entry)
            return None
        return self._records.setdefault(container_id, record)

    def _forget(self, container_id: str) -> None:
        self._records.pop(container_id, None)
        self._chains.pop(container_id, None)

    def records(self) -> Iterable[DiskRecord]:
        """Every disk's record."""
        return tuple(self._records.values())

    def chains_in_use(self) -> set[Digest]:
        """Return the layers that disks stand on, by the files. Blocks."""
        self.refresh()
        return {record.chain_id for record in self.records() if record.chain_id is not None}

    async def prepare(
        self,
        images: ImageStore,
        find: Callable[[str], StoredImage],
        container_id: str,
        name: str,
        spec: bytes,
    ) -> Disk:
        """Make a container's disk on the top layer of the image that `find` gives for `name`.

        Idempotent on the same ID, name and specification, also when the image is gone since.

        Raises:
            InvalidArgument: the ID can't be one, or the specification is too large.
            DiskExists: there is a disk of that ID, made from another request.
            StoreFull: no space is left.
            What `find` raises.
        """
        if not _ID.fullmatch(container_id):
            raise InvalidArgument(f"invalid container ID: {container_id[:100]!r}")
        if len(spec) > MAX_SPECIFICATION:
            raise InvalidArgument(f"a specification of {len(spec)} bytes is too large")
        request = Digest.of(name.encode() + b"\0" + spec)
        async with self._turns.of(container_id):
            if self._known(container_id) is None:
                image = find(name)
                record = DiskRecord(
                    container_id=container_id,
                    image_id=image.id,
                    chain_id=image.chain_id,
                    created_at=datetime.now(UTC),
                    request=request,
                    size_bytes=images.layers.base_size,
                )
                try:
                    made = await self._made(images, image, record, spec)
                except LookupError:
                    find(name)  # it has gone since: this says so
                    raise
                if made is not None:
                    return made
            if self._records[container_id].request != request:
                raise DiskExists(f"container {container_id} has a disk already")
            return await self.get(container_id)

    def _known(self, container_id: str) -> DiskRecord | None:
        """Return a disk's record; of one that another replica has made as well."""
        if not _ID.fullmatch(container_id):
            return None
        record = self._records.get(container_id)
        there = (self.directory / container_id).exists()
        if record is not None and not there:
            self._forget(container_id)
            return None
        return record if record is not None or not there else self._look(container_id)

    async def _made(
        self, images: ImageStore, image: StoredImage, record: DiskRecord, spec: bytes
    ) -> Disk | None:
        """Make a disk as `_make` does; where there is no room, once more when what is gone is."""
        with storage_faults():
            try:
                return await in_thread(self._make, images, image, record, spec)
            except OSError as error:
                if error.errno not in FULL or not self._deletions:
                    raise
            await self.settle()
            return await in_thread(self._make, images, image, record, spec)

    def _make(
        self, images: ImageStore, image: StoredImage, record: DiskRecord, spec: bytes
    ) -> Disk | None:
        """Make a disk on an image; None where one of that ID has come in between."""
        final = self.directory / record.container_id
        with images.standing_on(image), staged_directory(self.directory) as staged:
            below = images.layers.disks(image.chain_id)
            create_disk(staged / DISK, parent=below[0], name=record.container_id)
            write_new(staged / SPECIFICATION, spec)
            write_new(staged / RECORD, record.to_json())
            sync_content(staged)
            try:
                publish(staged, final)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                    self._records.setdefault(record.container_id, read_record(final))
                    return None
                raise
        chain = (final / DISK, *below)
        self._chains[record.container_id] = chain
        self._records[record.container_id] = record
        return Disk(record, chain, spec)

    async def get(self, container_id: str) -> Disk:
        """A container's disk. Raises DiskNotFound."""
        record = self._known(container_id)
        if record is None:
            raise DiskNotFound(f"container {container_id} has no disk")
        try:
            return await in_thread(self._read, record)
        except FileNotFoundError as error:
            raise DiskNotFound(f"the disk of container {container_id} is gone") from error

    async def page(self, after: str, limit: int = PAGE_BYTES) -> tuple[list[ListedDisk], str]:
        """Disks in the order of their containers' IDs, from behind `after` on.

        They end when their specifications pass `limit` bytes. Returns what to go on after as well,
        empty when there is no more.
        """
        return await in_thread(self._read_page, after, limit)

    def _read_page(self, after: str, limit: int) -> tuple[list[ListedDisk], str]:
        self.refresh()
        found: list[ListedDisk] = []
        room = limit
        for record in sorted(self.records(), key=lambda record: record.container_id):
            if record.container_id <= after:
                continue
            if room <= 0:
                return found, found[-1].record.container_id
            try:
                specification = self._specification(record).read_bytes()
            except FileNotFoundError:
                if record.container_id in self._records:
                    log.error("disk is gone", extra={"container_id": record.container_id})
                continue
            found.append(ListedDisk(record, specification))
            room -= len(specification) + _RECORD_BYTES
        return found, ""

    def _specification(self, record: DiskRecord) -> Path:
        return self.directory / record.container_id / SPECIFICATION

    def _read(self, record: DiskRecord) -> Disk:
        specification = self._specification(record).read_bytes()
        paths = self._chains.get(record.container_id)
        if paths is None:
            # The files themselves say what they stand on; it takes 0.2 ms a level, so once.
            with Chain(self.directory / record.container_id / DISK) as chain:
                paths = tuple(path.resolve() for path in chain.paths)
            self._chains[record.container_id] = paths
        return Disk(record, paths, specification)

    async def put_specification(self, container_id: str, spec: bytes) -> None:
        """Replace the specification in one step. Raises DiskNotFound, StoreFull."""
        if self._known(container_id) is None:
            raise DiskNotFound(f"container {container_id} has no disk")
        if len(spec) > MAX_SPECIFICATION:
            raise InvalidArgument(f"a specification of {len(spec)} bytes is too large")
        with storage_faults():
            await in_thread(replace_file, self.directory / container_id / SPECIFICATION, spec)

    async def remove(self, images: ImageStore, container_id: str) -> None:
        """Delete a disk with its specification, and layers that it alone needed. Idempotent.

        One that is being made is waited for, also when whoever asked for it has gone since; so is
        what was begun here, which nobody else would find before the next start's sweep.
        """
        async with self._turns.of(container_id):
            record = self._known(container_id)
            if record is None:
                return
            # Forgotten once it is aside: where that fails, a repeated call finds it to be done.
            size = self.writable_bytes(container_id)
            doomed = move_aside(self.directory / container_id)
            self._forget(container_id)
            finishing = self._finish_removal(images, record, doomed, size)
            await uncancelled(asyncio.ensure_future(finishing))

    async def _finish_removal(
        self, images: ImageStore, record: DiskRecord, doomed: Path | None, size: int
    ) -> None:
        if doomed is not None:
            await in_thread(sync_directory, self.directory)
            await self._delete(doomed, size)
        await images.release_chain(record.chain_id)

    async def _delete(self, doomed: Path, size: int) -> None:
        """Delete what is out of sight; a small disk in the background."""
        deletion = asyncio.create_task(in_thread(delete, doomed), name=f"delete {doomed.name}")
        self._deletions.add(deletion)
        deletion.add_done_callback(self._deleted)
        if size > WAITED_FOR_BYTES or len(self._deletions) > MOST_DELETIONS:
            await asyncio.shield(deletion)

    def _deleted(self, deletion: asyncio.Task[None]) -> None:
        self._deletions.discard(deletion)
        if not deletion.cancelled() and (error := deletion.exception()) is not None:
            # The next start's sweep tries again.
            log.warning("a removed disk still takes room: %s", error)

    async def settle(self) -> None:
        """Return when all that has been removed is deleted."""
        if self._deletions:
            await asyncio.wait(self._deletions)

    def writable_bytes(self, container_id: str) -> int:
        """What a container's own disk takes; 0 where it is gone."""
        try:
            state = (self.directory / container_id / DISK).stat()
        except FileNotFoundError:
            return 0
        return state.st_blocks * 512


def _version(directory: Path) -> int:
    """Return what tells that something in a directory was replaced; 0 where it is gone."""
    try:
        return directory.stat().st_mtime_ns
    except FileNotFoundError:
        return 0

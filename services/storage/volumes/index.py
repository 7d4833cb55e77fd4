"""Which volumes there are, as all storage processes of an instance know it.

What is in memory is an index of the files. Who changes them has the instance's volumes alone for
that moment; a lock's file counts the changes, so that the others look again (commons.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from portlayer.errors import VicError
from portlayer.threads import in_thread
from services.storage.commons import Commons
from services.storage.faults import FULL
from services.storage.files import sweep_inside
from services.storage.imagec.errors import StoreFull
from services.storage.locks import FileLock
from services.storage.vmdk import VmdkError
from services.storage.volumes.disk import disk_size
from services.storage.volumes.errors import StoreUnavailable, VolumeNotFound
from services.storage.volumes.records import DISK, VolumeRecord
from services.storage.volumes.stores import VolumeStore, VolumeStores, volume_directories
from services.storage.volumes.uses import Uses

log = logging.getLogger("vic.storage.volumes")

P = ParamSpec("P")
T = TypeVar("T")


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


class VolumeIndex:
    """All volumes of all stores, and whose turn it is to change one."""

    def __init__(self, stores: VolumeStores, uses: Uses) -> None:
        """Find the volumes, and sweep what a dead process has left. Blocks. Raises OSError."""
        self.stores = stores
        self._uses = uses
        # Never changed, but replaced: threads do it while others read.
        self._volumes: dict[str, Volume] = {}
        self._away: set[str] = set()
        self._told: set[Path] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        root = uses.directory / "volume-locks"
        root.mkdir(mode=0o700, exist_ok=True)
        self._commons = Commons(root, self._look)
        with self._commons.sharing():
            self._commons.presence.sweep()
            self._commons.forget_turns()
            for store in stores:
                self._sweep(store)
            self._look()

    def close(self) -> None:
        """Take no turns any more."""
        self._commons.close()

    # --- what there is ---------------------------------------------------------------------

    def all(self) -> list[Volume]:
        """Every volume, by name."""
        return [volume for _, volume in sorted(self._volumes.items())]

    def find(self, name: str) -> Volume | None:
        """Return a volume, if it is there."""
        return self._volumes.get(name)

    def get(self, name: str) -> Volume:
        """Return a volume. Raises VolumeNotFound."""
        volume = self._volumes.get(name)
        if volume is None:
            raise VolumeNotFound(f"get {name}: no such volume", volume=name)
        return volume

    def put(self, volume: Volume) -> None:
        """Know a volume as it is now; for who is `changing`."""
        self._volumes = {**self._volumes, volume.record.name: volume}

    def drop(self, name: str) -> None:
        """Know a volume no more; for who is `changing`."""
        self._volumes = {key: one for key, one in self._volumes.items() if key != name}

    # --- whose turn it is ------------------------------------------------------------------

    @asynccontextmanager
    async def turn(self, kind: str, name: str) -> AsyncIterator[None]:
        """Have a volume, or a container's use of some, for oneself, and know how it stands.

        Raises StoreFull, StoreUnavailable.
        """
        work = _work(kind, name)
        lock = self._turns.get(work)
        if lock is None:
            lock = self._turns[work] = asyncio.Lock()
        async with AsyncExitStack() as held:
            try:
                # Those of one process come in order; the file is for what others do.
                await held.enter_async_context(lock)
                await held.enter_async_context(self._commons.turn(work))
                await self.refresh()
            except OSError as error:
                if error.errno in FULL:
                    raise StoreFull(f"lock {kind} {name}: no space left on device") from error
                what = (error.strerror or str(error)).lower()
                raise StoreUnavailable(f"{kind} {name} can't be locked: {what}") from error
            yield

    def changing(self) -> AbstractContextManager[None]:
        """Have the files of all volumes for a moment. Blocks. Raises OSError."""
        return self._commons.changing()

    def change(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something while `changing`. Blocks. Raises OSError."""
        with self.changing():
            return function(*args, **kwargs)

    async def refresh(self) -> None:
        """Look at the files where another process has changed some. Raises OSError."""
        if self._commons.stale:
            await in_thread(self._catch_up)

    def _catch_up(self) -> None:
        with self._commons.sharing():
            pass

    # --- the files -------------------------------------------------------------------------

    def is_away(self, store: VolumeStore) -> bool:
        """Tell whether a store couldn't be looked at when that was last tried."""
        return store.name in self._away

    def look_again(self) -> None:
        """Look at the files: a store that was away may be back. Blocks. Raises OSError."""
        with self._commons.sharing():
            self._look()

    def _look(self) -> None:
        found: dict[str, Volume] = {}
        for store in self.stores:
            for volume in self._volumes_of(store):
                if (other := found.setdefault(volume.record.name, volume)) is not volume:
                    self._tell(
                        volume.directory, f"{other.store.name} has one of its name: left alone"
                    )
        self._volumes = found
        self._uses.refresh()

    def _volumes_of(self, store: VolumeStore) -> Iterator[Volume]:
        """Find a store's volumes. One that is away keeps those of others from nobody."""
        try:
            directories = volume_directories(store)
        except VicError as error:
            if store.name not in self._away:
                log.error("%s", error.message)
            self._away.add(store.name)
            yield from [one for one in self._volumes.values() if one.store == store]
            return
        self._away.discard(store.name)
        for directory in directories:
            try:
                record = VolumeRecord.read(directory)
                size = disk_size(directory / DISK)
            except (OSError, ValueError, KeyError, TypeError, VmdkError) as error:
                # Left in place: it may hold somebody's data.
                self._tell(directory, f"without a valid record or disk: {error}")
                continue
            # A crash right after the disk was enlarged leaves the description behind it.
            yield Volume(replace(record, size_bytes=size), store)

    def _tell(self, directory: Path, what: str) -> None:
        """Say once what is wrong with a volume that isn't listed."""
        if directory not in self._told:
            self._told.add(directory)
            log.error("volume %s is not known: %s", directory, what)

    def _sweep(self, store: VolumeStore) -> None:
        """Remove what the dead have left of their work on volumes."""
        try:
            directories = volume_directories(store, sweep=True)
        except VicError:
            return  # it is told when it is looked at
        for directory in directories:
            try:
                lock = FileLock.attempt(self._commons.turns / _work("volume", directory.name))
                if lock is None:
                    continue  # another process is at work on it
                try:
                    (directory / f"larger-{DISK}").unlink(missing_ok=True)
                    sweep_inside(directory, store.lives)
                finally:
                    lock.release(remove=True)
            except OSError as error:
                log.warning("not swept: %s: %s", directory, error)


def _work(kind: str, name: str) -> str:
    # A name may be as long as a file's can be.
    return f"{kind}-{hashlib.sha256(name.encode()).hexdigest()}"

"""The places where volumes are kept.

    STORE/<volume>/{disk.vmdk, volume.json}

A volume's directory gets its name when all in it is on the disk.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.storage.faults import FULL
from services.storage.files import STAGING_PREFIX, nobody, sweep_staged
from services.storage.imagec.errors import StoreFull
from services.storage.volumes.errors import InvalidVolume, StoreNotFound, StoreUnavailable
from services.storage.volumes.options import DEFAULT_STORE

log = logging.getLogger("vic.storage.volumes")


@dataclass(frozen=True)
class VolumeStore:
    """A place where volumes are kept."""

    name: str
    url: str
    """As it was configured."""
    directory: Path
    lives: Callable[[str], bool] = nobody
    """Tells which other replicas are at work in it."""

    @property
    def free_bytes(self) -> int:
        """What an unprivileged writer can still take; 0 where the store is away."""
        return self._space()[0]

    @property
    def total_bytes(self) -> int:
        """Size of the file system that it lies on; 0 where the store is away."""
        return self._space()[1]

    def _space(self) -> tuple[int, int]:
        try:
            state = os.statvfs(self.directory)
        except OSError:
            return 0, 0
        return state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize

    def check_fits(self, size: int) -> None:
        """Raise InvalidVolume for a volume that this store could never hold."""
        total = self.total_bytes
        if total and size > total:
            raise InvalidVolume(
                f"a volume of {size} bytes is too large for the volume store {self.name!r}, "
                f"which has {total} bytes in all"
            )

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turn the file system's errors into StoreFull and StoreUnavailable."""
        try:
            yield
        except OSError as error:
            where = f"volume store {self.name!r} ({self.url})"
            if error.errno in FULL:
                raise StoreFull(f"{where}: no space left on device") from error
            what = (error.strerror or str(error)).lower()
            raise StoreUnavailable(f"{where} can't be used: {what}") from error


class VolumeStores:
    """All stores, by their names."""

    def __init__(
        self,
        default: Path,
        urls: Mapping[str, str],
        directories: Mapping[str, Path],
        lives: Callable[[str], bool] = nobody,
    ) -> None:
        """Know the stores; only the default one has to be there. Raises OSError.

        `lives` tells which other replicas are at work in them.
        """
        default.mkdir(mode=0o700, parents=True, exist_ok=True)
        stores = [VolumeStore(DEFAULT_STORE, str(default.resolve()), default.resolve(), lives)]
        # One without a directory is somewhere that isn't mounted.
        absent = default / "not-mounted"
        stores += [
            VolumeStore(name, url, directories.get(name, absent), lives)
            for name, url in urls.items()
        ]
        self._stores = {store.name: store for store in stores}

    def __iter__(self) -> Iterator[VolumeStore]:
        return iter(self._stores.values())

    def __getitem__(self, name: str) -> VolumeStore:
        """Return a store. Raises StoreNotFound, which names those that there are."""
        store = self._stores.get(name)
        if store is None:
            known = ", ".join(sorted(self._stores))
            raise StoreNotFound(f"no volume store named {name[:100]!r}: there are {known}")
        return store


def volume_directories(store: VolumeStore, *, sweep: bool = False) -> list[Path]:
    """Return what may be volumes in a store, first swept of what isn't whole.

    Raises StoreFull, StoreUnavailable.
    """
    with store.faults():
        if sweep:
            sweep_staged(store.directory, store.lives)
        # What another process is making has a name that no volume can have.
        return [
            path
            for path in sorted(store.directory.iterdir())
            if path.is_dir() and not path.name.startswith(STAGING_PREFIX)
        ]

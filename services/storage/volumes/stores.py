"""The places where volumes are kept.

    STORE/<volume>/{disk.vmdk, volume.json}

A volume's directory gets its name when all in it is on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.storage.files import sweep_staged
from services.storage.volumes.errors import InvalidVolume, StoreNotFound
from services.storage.volumes.options import DEFAULT_STORE


@dataclass(frozen=True)
class VolumeStore:
    """A place where volumes are kept."""

    name: str
    url: str
    """As it was configured."""
    directory: Path

    @property
    def free_bytes(self) -> int:
        """What an unprivileged writer can still take."""
        state = os.statvfs(self.directory)
        return state.f_bavail * state.f_frsize

    @property
    def total_bytes(self) -> int:
        """Size of the file system that it lies on."""
        state = os.statvfs(self.directory)
        return state.f_blocks * state.f_frsize

    def check_fits(self, size: int) -> None:
        """Raise InvalidVolume for a volume that this store could never hold."""
        total = self.total_bytes
        if size > total:
            raise InvalidVolume(
                f"a volume of {size} bytes is too large for the volume store {self.name!r}, "
                f"which has {total} bytes in all"
            )


class VolumeStores:
    """All stores, by their names."""

    def __init__(self, default: Path, others: Mapping[str, tuple[str, Path]]) -> None:
        """Open the stores and sweep what isn't whole; `others` are URL and directory by name.

        Raises OSError where one can't be used.
        """
        default.mkdir(mode=0o700, parents=True, exist_ok=True)
        stores = [VolumeStore(DEFAULT_STORE, str(default.resolve()), default.resolve())]
        stores += [VolumeStore(name, url, path) for name, (url, path) in others.items()]
        self._stores = {store.name: store for store in stores}
        for store in self:
            sweep_staged(store.directory)

    def __iter__(self) -> Iterator[VolumeStore]:
        return iter(self._stores.values())

    def __getitem__(self, name: str) -> VolumeStore:
        """Return a store. Raises StoreNotFound, which names those that there are."""
        store = self._stores.get(name)
        if store is None:
            known = ", ".join(sorted(self._stores))
            raise StoreNotFound(f"no volume store named {name[:100]!r}: there are {known}")
        return store

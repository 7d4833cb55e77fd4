"""What has got its name outlives a power cut: all in it was synced before, the name after."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portlayer.journal import Journal
from services.storage.files import STAGING_PREFIX, stager
from services.storage.volumes.catalogue import Volumes
from services.storage.volumes.stores import VolumeStores
from services.storage.volumes.uses import Uses
from tests.images import Image, Layer, file, make_tar
from tests.unit.storage.conftest import Storage
from tests.unit.storage.fake_registry import FakeRegistry

IMAGE = Image((Layer(make_tar([file("a", "a")])),))
ID = "ab" * 32


class Disk:
    """What would be on the disk if the power failed: what was synced, as it was then."""

    def __init__(self) -> None:
        self._synced: dict[tuple[int, int], int] = {}
        self._fsync, self._rename = os.fsync, os.rename
        self.named: list[Path] = []
        """Directories that got their names."""

        self.lost: list[Path] = []
        """What in them would not be there, or not as it was written."""

        self.forgotten: set[Path] = set()
        """Those whose names would be lost."""

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        state = os.fstat(descriptor)
        self._synced[state.st_dev, state.st_ino] = state.st_mtime_ns
        if stat.S_ISDIR(state.st_mode):
            here = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            self.forgotten = {path for path in self.forgotten if path.parent != here}

    def rename(self, source: Any, target: Any, **options: Any) -> None:
        staged, final = Path(source), Path(target)
        if staged.is_dir() and stager(staged.name) and not final.name.startswith(STAGING_PREFIX):
            found = [staged, *staged.rglob("*")]
            self.lost += [final / path.relative_to(staged) for path in found if self._is_new(path)]
            self.named.append(final)
            self.forgotten.add(final)
        self._rename(source, target, **options)

    def _is_new(self, path: Path) -> bool:
        state = path.stat()
        return self._synced.get((state.st_dev, state.st_ino)) != state.st_mtime_ns


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Watch what is synced and named; nothing of it is lost in the end."""
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    monkeypatch.setattr(os, "rename", disk.rename)
    yield disk
    assert disk.lost == []
    assert disk.forgotten == set()


async def test_an_image_and_a_containers_disk_outlive_a_power_cut(
    storage: Storage, registry: FakeRegistry, disk: Disk
) -> None:
    registry.add(IMAGE, "x", "latest")
    name = f"{registry.address}/x"
    await storage.pull(name)
    image = storage.images.find(name)
    assert [path.name for path in disk.named] == [image.id.hex]
    await storage.disks.prepare(storage.store, storage.images.usable, ID, name, b"spec")
    assert disk.named[1:] == [storage.root / "containers" / ID]


async def test_a_volume_outlives_a_power_cut(tmp_path: Path, disk: Disk) -> None:
    stores = VolumeStores(tmp_path / "volumes", {}, {})
    volumes = Volumes(stores, Uses(tmp_path), Journal(tmp_path / "events.jsonl"), 64 << 20)
    await volumes.create("data", "", {}, {})
    volumes.close()
    assert disk.named == [tmp_path / "volumes" / "data"]

"""How the disks come to rest before the VM is powered off."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tether.supervisor import resting, volumes
from tether.supervisor.resting import bring_to_rest
from tether.supervisor.volumes import Volumes


class Kernel:
    """Remounts what isn't busy, and syncs."""

    def __init__(self) -> None:
        self.busy: dict[str, int] = {}
        """How often a mount point is refused yet."""
        self.done: list[str] = []

    def mount(self, _source: str, point: str, **_options: int) -> None:
        """Make a mount read-only."""
        if self.busy.get(point, 0):
            self.busy[point] -= 1
            raise OSError(errno.EBUSY, f"{point} is busy")
        self.done.append(point)

    def sync(self) -> None:
        """Write everything."""
        self.done.append("sync")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """In the place of this machine's."""
    made = Kernel()
    monkeypatch.setattr(volumes, "mount", made.mount)
    monkeypatch.setattr(os, "sync", made.sync)
    monkeypatch.setattr(resting, "log", lambda _line: None)
    return made


def three(monkeypatch: pytest.MonkeyPatch) -> Volumes:
    """Three volumes that are written."""
    made = Volumes(Path("/none"))
    monkeypatch.setattr(made, "_writable", ["a", "b", "c"])
    return made


class Disk:
    """The container's own."""

    def __init__(self) -> None:
        self.clean = False

    def flush(self) -> None:
        """Be clean."""
        self.clean = True


def test_nothing_more_is_done_with_disks_that_are_clean(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_to_rest(three(monkeypatch), Disk())
    assert kernel.done == ["a", "b", "c"]


def test_a_volume_that_is_in_use_leaves_the_others_clean_and_is_synced(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.busy = {"b": 2}
    disk = Disk()
    bring_to_rest(three(monkeypatch), disk)
    assert kernel.done == ["a", "c", "sync", "sync"]
    assert disk.clean


def test_a_volume_that_is_free_after_a_sync_is_left_clean(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.busy = {"c": 1}
    bring_to_rest(three(monkeypatch), Disk())
    assert kernel.done == ["a", "b", "sync", "c"]

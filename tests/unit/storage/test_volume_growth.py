"""Volumes that grow."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from services.storage.vmdk import Chain
from services.storage.volumes import catalogue, disk
from services.storage.volumes.errors import InvalidVolume
from tests.unit.storage.test_volumes import Facet, facet, reopen

__all__ = ["facet", "reopen"]


async def test_a_volume_grows_and_keeps_what_it_holds(
    reopen: Callable[[], Facet], facet: Facet
) -> None:
    volume, _ = await facet.volumes.create("v2", "", {}, {"size": "32M"})
    with Chain(volume.disk) as disk:
        before = disk.read(0, 4 << 20)
    grown = await facet.volumes.grow("v2", 48 << 20)
    assert grown.record.size_bytes == 48 << 20
    with Chain(grown.disk) as disk:
        assert (disk.size, disk.read(0, 4 << 20)) == (48 << 20, before)
    assert reopen().volumes.all() == [grown]
    with pytest.raises(InvalidVolume, match="can't shrink"):
        await facet.volumes.grow("v2", 32 << 20)


async def test_who_leaves_while_a_volume_grows_leaves_it_whole(
    reopen: Callable[[], Facet], facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, _ = await facet.volumes.create("v2", "", {}, {"size": "32M"})
    begun, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def enlarge(*arguments: Any, **named: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go.wait(60)
        disk.enlarge(*arguments, **named)

    monkeypatch.setattr(catalogue, "enlarge", enlarge)
    growing = asyncio.create_task(facet.volumes.grow("v2", 128 << 20))
    async with asyncio.timeout(60):
        await begun.wait()
    growing.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await growing
    assert disk.disk_size(volume.disk) == 128 << 20
    assert facet.volumes.get("v2").record.size_bytes == 128 << 20
    assert reopen().volumes.get("v2").record.size_bytes == 128 << 20


async def test_a_disk_that_grew_without_its_record_is_never_made_smaller(facet: Facet) -> None:
    volume, _ = await facet.volumes.create("v2", "", {}, {"size": "32M"})
    # As one leaves it who is killed in the middle.
    disk.enlarge(volume.disk, 128 << 20, name="v2")
    with pytest.raises(InvalidVolume, match="has 134217728 bytes already"):
        await facet.volumes.grow("v2", 64 << 20)
    assert disk.disk_size(volume.disk) == 128 << 20
    assert (await facet.volumes.grow("v2", 128 << 20)).record.size_bytes == 128 << 20

"""What containers hold of volumes: one writer or many readers, through restarts and failures."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from portlayer.errors import NotFound
from services.storage.volumes import holding
from services.storage.volumes.errors import (
    InvalidVolume,
    VolumeAttached,
    VolumeInUse,
    VolumesReserved,
)
from services.storage.volumes.records import VolumeUse
from tests.unit.storage.test_volumes import Facet, reopen

__all__ = ["reopen"]

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def facet(reopen: Callable[[], Facet]) -> Facet:
    return reopen()


async def used(facet: Facet, container: str, name: str = "data", *, read_only: bool) -> None:
    await facet.holding.reserve(container, [VolumeUse(name, "/data", read_only=read_only)])


async def writable(facet: Facet, container: str, boot: str = "first") -> list[bool]:
    return [disk.writable for disk in await facet.holding.attach(container, boot)]


async def test_what_a_container_uses_is_made_and_outlives_the_service(
    reopen: Callable[[], Facet],
    facet: Facet,
) -> None:
    wanted = [
        VolumeUse("data", "/data", labels={"a": "b"}, options={"size": "32M"}),
        VolumeUse("d" * 64, "/anonymous", anonymous=True),
    ]
    first = await facet.holding.reserve(A, wanted)
    assert [volume.record.anonymous for volume in first] == [False, True]
    assert first[0].record.size_bytes == 32 << 20
    assert await facet.holding.reserve(A, wanted) == first
    again = reopen()
    assert again.uses.of("data") == [A]
    assert await again.holding.reserve(A, wanted) == first
    with pytest.raises(VolumesReserved):
        await again.holding.reserve(A, wanted[:1])


async def test_a_use_that_fails_leaves_nothing_it_made(facet: Facet) -> None:
    await facet.volumes.create("mine", "", {}, {})
    wanted = [VolumeUse("mine", "/m"), VolumeUse("fresh", "/f"), VolumeUse("a/b", "/x")]
    with pytest.raises(InvalidVolume):
        await facet.holding.reserve(A, wanted)
    assert [volume.record.name for volume in facet.volumes.all()] == ["mine"]
    assert facet.uses.all() == []


async def test_one_writes_and_a_second_is_refused_by_name(facet: Facet) -> None:
    await used(facet, A, read_only=False)
    await used(facet, B, read_only=False)
    await used(facet, C, read_only=True)
    assert await writable(facet, A) == [True]
    assert await writable(facet, A) == [True], "asked for again by the same boot"
    for other in (B, C):
        with pytest.raises(VolumeAttached, match=f"volume data is attached to container {A}"):
            await writable(facet, other)
    await facet.holding.detach(A, "another boot")
    with pytest.raises(VolumeAttached):
        await writable(facet, B)
    await facet.holding.detach(A, "first")
    assert await writable(facet, B) == [True]


async def test_many_read_what_is_at_rest_and_keep_writers_away(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await used(facet, A, read_only=False)
    await writable(facet, A)
    await facet.holding.detach(A, "first")
    for reader in (B, C):
        await used(facet, reader, read_only=True)
        assert await writable(facet, reader) == [False]
    with pytest.raises(VolumeAttached, match=f"volume data is read by container {B}"):
        await writable(facet, A)
    await facet.holding.detach(B, "first")
    await facet.holding.detach(C, "first")
    # Its journal holds what isn't in place: who only reads it must let it be replayed.
    monkeypatch.setattr(holding, "is_at_rest", lambda _: False)
    assert await writable(facet, B) == [True]
    with pytest.raises(VolumeAttached):
        await writable(facet, C)


async def test_a_reader_of_a_fresh_volume_may_write_what_the_image_gives(facet: Facet) -> None:
    await used(facet, A, read_only=True)
    assert await writable(facet, A) == [True]
    await facet.holding.detach(A, "first")
    assert await writable(facet, A) == [False]
    await facet.holding.reserve(B, [VolumeUse("bare", "/b", read_only=True, no_copy=True)])
    assert await writable(facet, B) == [False]


async def test_who_only_wants_to_read_does_though_its_container_may_write(facet: Facet) -> None:
    await used(facet, A, read_only=False)
    # Its image's files first.
    disks = await facet.holding.attach(A, "first", read_only=True)
    assert [disk.writable for disk in disks] == [True]
    await facet.holding.detach(A, "first")
    disks = await facet.holding.attach(A, "second", read_only=True)
    assert [disk.writable for disk in disks] == [False]
    await used(facet, B, read_only=True)
    assert await writable(facet, B) == [False]


async def test_the_next_boot_takes_the_place_of_the_one_before(facet: Facet) -> None:
    await used(facet, A, read_only=False)
    await writable(facet, A, "first")
    assert await writable(facet, A, "second") == [True]
    await facet.holding.detach(A, "first")
    assert facet.uses.attachment(A) is not None, "it is the second's"


async def test_attachments_outlive_the_service(
    reopen: Callable[[], Facet],
    facet: Facet,
) -> None:
    await used(facet, A, read_only=False)
    await used(facet, B, read_only=False)
    await writable(facet, A)
    again = reopen()
    with pytest.raises(VolumeAttached):
        await writable(again, B)
    with pytest.raises(VolumeInUse, match="can't grow while it is in use"):
        await again.volumes.grow("data", 128 << 20)
    await again.holding.release(A, remove_anonymous=False)
    assert await writable(reopen(), B) == [True]


async def test_anonymous_volumes_go_where_asked_for_and_nobody_else_uses_them(
    facet: Facet,
) -> None:
    name = "d" * 64
    for container in (A, B):
        await facet.holding.reserve(container, [VolumeUse(name, "/d", anonymous=True)])
    await facet.holding.release(A, remove_anonymous=True)
    assert [volume.record.name for volume in facet.volumes.all()] == [name]
    await facet.holding.release(B, remove_anonymous=True)
    assert facet.volumes.all() == []
    await facet.holding.release(B, remove_anonymous=True)
    await facet.holding.reserve(C, [VolumeUse(name, "/d", anonymous=True)])
    await facet.holding.release(C, remove_anonymous=False)
    assert [volume.record.name for volume in facet.volumes.all()] == [name]


async def test_a_volume_whose_disk_is_gone_is_said_to_be(facet: Facet, tmp_path: Path) -> None:
    await used(facet, A, read_only=False)
    (tmp_path / "volumes" / "data" / "disk.vmdk").unlink()
    with pytest.raises(NotFound, match="the disk of volume data is gone"):
        await writable(facet, A)


async def test_mounting_is_told(facet: Facet) -> None:
    await used(facet, A, read_only=True)
    await writable(facet, A)
    await facet.holding.release(A, remove_anonymous=False)
    assert facet.told() == [("create", "data"), ("mount", "data"), ("unmount", "data")]
    mount = list(facet.events)[1]
    assert mount.attributes == {
        "container": A,
        "destination": "/data",
        "driver": "local",
        "propagation": "",
        "read/write": "false",
    }


async def test_replicas_know_of_one_another_what_containers_hold(
    reopen: Callable[[], Facet], facet: Facet
) -> None:
    other = reopen()
    await used(facet, A, read_only=False)
    await used(other, B, read_only=False)
    assert await writable(facet, A) == [True]
    with pytest.raises(VolumeAttached, match=f"volume data is attached to container {A}"):
        await writable(other, B)
    with pytest.raises(VolumeInUse, match="can't grow while it is in use"):
        await other.volumes.grow("data", 128 << 20)
    await other.holding.release(A, remove_anonymous=False)
    assert await writable(facet, B) == [True], "the first sees what the second took back"
    await facet.holding.release(B, remove_anonymous=False)
    await other.volumes.grow("data", 128 << 20)
    await facet.volumes.index.refresh()
    assert facet.volumes.get("data").record.size_bytes == 128 << 20
    await used(facet, C, read_only=True)
    with pytest.raises(VolumeInUse, match=C):
        await other.volumes.remove("data")
    await facet.holding.release(C, remove_anonymous=False)
    await other.volumes.remove("data")
    await facet.volumes.index.refresh()
    assert facet.volumes.all() == []


async def test_one_of_many_that_ask_two_replicas_for_a_volume_writes_it(
    reopen: Callable[[], Facet], facet: Facet
) -> None:
    other = reopen()
    containers = [f"{number:064x}" for number in range(12)]
    sides = [(facet, other)[number % 2] for number in range(12)]
    await asyncio.gather(
        *(used(side, one, read_only=False) for side, one in zip(sides, containers, strict=True))
    )
    for side in (facet, other):
        assert side.told() == [("create", "data")], "made once, and told once whomever one asks"
    assert list(facet.events) == list(other.events), "one event, under one number"
    outcomes = await asyncio.gather(
        *(writable(side, one) for side, one in zip(sides, containers, strict=True)),
        return_exceptions=True,
    )
    assert outcomes.count([True]) == 1
    assert sum(isinstance(outcome, VolumeAttached) for outcome in outcomes) == 11

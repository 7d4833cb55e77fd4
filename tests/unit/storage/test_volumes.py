"""Volumes: made, found, enlarged, removed; and what a crash leaves of that."""

import asyncio
import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
from vic.storage.v1 import volume_pb2 as pb

from portlayer.errors import OutOfRange
from portlayer.journal import Journal
from services.storage import files
from services.storage.imagec.errors import StoreFull
from services.storage.pruning import LabelRule
from services.storage.vmdk import Chain
from services.storage.volumes import catalogue, holding
from services.storage.volumes.catalogue import Volumes
from services.storage.volumes.errors import (
    DriverNotFound,
    InvalidVolume,
    StoreNotFound,
    StoreUnavailable,
    VolumeExists,
    VolumeInUse,
    VolumeNotFound,
)
from services.storage.volumes.holding import Holding
from services.storage.volumes.index import Volume
from services.storage.volumes.records import (
    Attachment,
    ContainerUse,
    VolumeRecord,
    VolumeUse,
)
from services.storage.volumes.stores import VolumeStores
from services.storage.volumes.uses import Uses

SIZE = 64 << 20


@dataclass
class Facet:
    """The parts, wired as in the composition root."""

    volumes: Volumes
    holding: Holding
    uses: Uses
    events: Journal

    def told(self) -> list[tuple[str, str]]:
        return [
            (pb.VolumeEventKind.Name(event.kind).rpartition("_")[2].lower(), event.actor)
            for event in self.events
        ]


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], Facet]:
    """Open the facet's state, as a start of the service does."""
    (tmp_path / "second").mkdir()

    def open_state() -> Facet:
        uses = Uses(tmp_path)
        events = Journal(tmp_path / "events.jsonl")
        urls = {"second": "file:///second", "away": "nfs://server/export"}
        stores = VolumeStores(tmp_path / "volumes", urls, {"second": tmp_path / "second"})
        volumes = Volumes(stores, uses, events, SIZE)
        return Facet(volumes, Holding(volumes, uses, events), uses, events)

    return open_state


@pytest.fixture
def facet(reopen: Callable[[], Facet]) -> Facet:
    return reopen()


async def test_a_volume_outlives_the_service(reopen: Callable[[], Facet], facet: Facet) -> None:
    volume, made = await facet.volumes.create(
        "data", "", {"a": "b"}, {"size": "100M", "volumestore": "second"}
    )
    assert made
    assert (volume.record.driver, volume.store.name) == ("local", "second")
    assert volume.record.size_bytes == 100 << 20
    with Chain(volume.disk) as disk:
        assert disk.size == 100 << 20
    assert reopen().volumes.all() == [volume]
    again, made = await facet.volumes.create("data", "", {}, {"size": "1G"})
    assert (again, made) == (volume, False), "the same name is the same volume, as with Docker"
    with pytest.raises(VolumeExists, match=r"create data: conflict: volume name must be unique"):
        await facet.volumes.create("data", "vsphere", {}, {})


async def test_one_without_a_name_is_anonymous(facet: Facet) -> None:
    volume, _ = await facet.volumes.create("", "", {}, {})
    assert volume.record.anonymous
    assert len(volume.record.name) == 64
    assert volume.record.size_bytes == SIZE


async def test_many_who_ask_for_one_name_get_one_volume(facet: Facet) -> None:
    made = await asyncio.gather(*(facet.volumes.create("v2", "", {}, {}) for _ in range(8)))
    assert [is_new for _, is_new in made].count(True) == 1
    assert len({volume.record.created_at for volume, _ in made}) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x", "create x: volume name is too short, names should be at least two alphanumeric"),
        ("a/b", 'create a/b: "a/b" includes invalid characters for a local volume name, only'),
        ("../etc", "includes invalid characters"),
        (".new-x", "includes invalid characters"),
        ("ab\n", "includes invalid characters"),
        ("a" * 256, "volume name is too long: 256 characters, 255 at most"),
    ],
)
async def test_names_that_no_volume_can_have(facet: Facet, name: str, message: str) -> None:
    with pytest.raises(InvalidVolume) as caught:
        await facet.volumes.create(name, "", {}, {})
    assert message in caught.value.message
    assert facet.volumes.all() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "0"}, "create v2: invalid size: a volume of size 0 can hold nothing"),
        ({"size": "1k"}, "1024 bytes are too small, a volume has at least 16 MiB"),
        ({"size": "3T"}, "are too large, a volume has at most 2 TiB"),
        ({"size": "-1"}, "invalid size: '-1' is not a size, such as 10G or 512MB"),
        ({"size": "ten"}, "invalid size: 'ten' is not a size"),
        ({"size": "1G", "Capacity": "1G"}, "the size of a volume is given twice"),
        ({"foo": "bar"}, 'create v2: invalid option: "foo"'),
        ({"type": "nfs", "o": "addr=x"}, 'invalid option: "type": a volume is a disk of its own'),
    ],
)
async def test_options_that_no_volume_can_have(
    facet: Facet, options: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidVolume) as caught:
        await facet.volumes.create("v2", "", {}, options)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"size": "16777217"}, (16 << 20) + (64 << 10)),
        ({"SIZE": "0.5g"}, 512 << 20),
        ({"size": "20 MiB"}, 20 << 20),
        ({"Capacity": "32"}, 32 << 20),
        ({"capacity": "1GB"}, 1 << 30),
    ],
)
async def test_sizes_as_users_of_docker_and_vic_write_them(
    facet: Facet, options: dict[str, str], size: int
) -> None:
    volume, _ = await facet.volumes.create("v2", "", {}, options)
    assert volume.record.size_bytes == size


async def test_what_is_larger_than_its_store_is_refused(facet: Facet, tmp_path: Path) -> None:
    state = os.statvfs(tmp_path)
    total = state.f_blocks * state.f_frsize
    if total >= 2 << 40:
        pytest.skip("this file system is larger than any volume")
    with pytest.raises(InvalidVolume, match=f"too large for the volume store.*{total} bytes in"):
        await facet.volumes.create("v2", "", {}, {"size": str(total + (1 << 20))})


async def test_drivers_and_stores_that_are_not_there(facet: Facet) -> None:
    with pytest.raises(DriverNotFound) as caught:
        await facet.volumes.create("v2", "rexray", {}, {})
    assert caught.value.message == (
        'create v2: error looking up volume plugin rexray: plugin "rexray" not found'
    )
    with pytest.raises(StoreNotFound, match=r"'gone': there are away, default, second"):
        await facet.volumes.create("v2", "", {}, {"VolumeStore": "gone"})
    with pytest.raises(StoreUnavailable, match=r"'away' \(nfs://server/export\) can't be used"):
        await facet.volumes.create("v2", "", {}, {"VolumeStore": "away"})


async def test_a_store_that_comes_back_has_its_volumes(
    reopen: Callable[[], Facet], facet: Facet, tmp_path: Path
) -> None:
    volume, _ = await facet.volumes.create("data", "", {}, {"VolumeStore": "second"})
    (tmp_path / "second").rename(tmp_path / "unmounted")
    with pytest.raises(StoreUnavailable, match=r"'second' .* can't be used: no such file"):
        await facet.volumes.remove("data")
    facet = reopen()
    assert facet.volumes.all() == []
    (tmp_path / "unmounted").rename(tmp_path / "second")
    found, made = await facet.volumes.create("data", "", {}, {"VolumeStore": "second"})
    assert (found, made) == (volume, False)


async def test_a_full_store_leaves_nothing(
    facet: Facet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "disk.vmdk")

    monkeypatch.setattr(catalogue, "create_volume", full)
    with pytest.raises(StoreFull, match="no space left on device"):
        await facet.volumes.create("v2", "", {}, {})
    assert facet.volumes.all() == []
    assert list((tmp_path / "volumes").iterdir()) == []
    monkeypatch.undo()
    assert (await facet.volumes.create("v2", "", {}, {}))[1], "it can be asked for again"


async def test_a_name_that_can_not_be_kept_is_not_in_the_way(
    facet: Facet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sync = files.sync_directory

    def broken(path: Path) -> None:
        if path.name == "volumes":
            raise OSError(errno.EIO, "Input/output error")
        sync(path)

    monkeypatch.setattr(files, "sync_directory", broken)
    with pytest.raises(StoreUnavailable, match="input/output error"):
        await facet.volumes.create("v2", "", {}, {})
    assert list((tmp_path / "volumes").iterdir()) == []
    monkeypatch.undo()
    assert (await facet.volumes.create("v2", "", {}, {}))[1]


async def test_a_volume_in_use_stays(facet: Facet) -> None:
    await facet.holding.reserve("c" * 64, [VolumeUse("v2", "/data")])
    with pytest.raises(VolumeInUse) as caught:
        await facet.volumes.remove("v2", force=True)
    assert caught.value.message == f"remove v2: volume is in use - [{'c' * 64}]"
    await facet.holding.release("c" * 64, remove_anonymous=True)
    await facet.volumes.remove("v2")
    with pytest.raises(VolumeNotFound, match="get v2: no such volume"):
        await facet.volumes.remove("v2")
    await facet.volumes.remove("v2", force=True)
    assert facet.told() == [("create", "v2"), ("destroy", "v2")]


async def test_a_prune_takes_what_nobody_uses(facet: Facet) -> None:
    await facet.volumes.create("named", "", {"keep": ""}, {})
    anonymous, _ = await facet.volumes.create("", "", {}, {})
    await facet.holding.reserve("c" * 64, [VolumeUse("used", "/data", anonymous=True)])
    removed, reclaimed = await facet.volumes.prune(everything=False, rules=[])
    assert removed == [anonymous.record.name]
    assert reclaimed > 0
    keep = [LabelRule.parse("!keep")]
    assert (await facet.volumes.prune(everything=True, rules=keep))[0] == []
    assert (await facet.volumes.prune(everything=True, rules=[]))[0] == ["named"]
    assert [volume.record.name for volume in facet.volumes.all()] == ["used"]


async def test_a_store_that_fails_is_named_to_who_attaches_its_volume(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await facet.volumes.create("v2", "", {}, {})
    await facet.holding.reserve("c" * 64, [VolumeUse("v2", "/data", read_only=True, no_copy=True)])
    stale = OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    monkeypatch.setattr(holding, "is_at_rest", Mock(side_effect=stale))
    with pytest.raises(StoreUnavailable, match=r"volume store 'default' .* stale file handle"):
        await facet.holding.attach("c" * 64, "boot")


@pytest.mark.parametrize("operation", ["create", "remove"])
async def test_a_kill_at_any_moment_leaves_a_volume_whole_or_nothing_of_it(
    reopen: Callable[[], Facet], facet: Facet, tmp_path: Path, operation: str
) -> None:
    if operation == "remove":
        await facet.volumes.create("v2", "", {}, {})
    outcomes = []
    for moment in range(100):
        if _killed_at(moment, reopen, operation):
            volumes = reopen().volumes.all()
            left = sorted(path.name for path in (tmp_path / "volumes").iterdir())
            assert left == [volume.record.name for volume in volumes], "nothing half is left"
            for volume in volumes:
                with Chain(volume.disk) as disk:
                    assert disk.size == SIZE
            outcomes.append(bool(volumes))
            # What was interrupted can be done again.
            again = reopen().volumes
            if operation == "remove":
                await again.create("v2", "", {}, {})
            else:
                await again.remove("v2", force=True)
        else:
            break
    assert len(outcomes) >= 3
    assert set(outcomes) == {True, False}
    assert bool(reopen().volumes.all()) == (operation == "create")


def _killed_at(moment: int, reopen: Callable[[], Facet], operation: str) -> bool:
    """Do something in a process that is killed when it syncs, renames or deletes for the nth time.

    Tell whether it was.
    """
    pid = os.fork()
    if pid == 0:
        count = 0

        def deadly(work: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                nonlocal count
                if count == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                return work(*arguments, **options)

            return call

        try:
            volumes = reopen().volumes
            for name in ("fsync", "rename", "unlink", "mkdir", "rmdir"):
                setattr(os, name, deadly(getattr(os, name)))
            if operation == "create":
                store = volumes.stores["default"]
                record = VolumeRecord("v2", "local", SIZE, datetime.now(UTC), anonymous=False)
                volumes.make(Volume(record, store))
            else:
                volumes.discard(volumes.get("v2"))
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


async def test_events_go_on_where_a_lost_history_ended(
    reopen: Callable[[], Facet], facet: Facet, tmp_path: Path
) -> None:
    await facet.volumes.create("v2", "", {}, {})
    newest = facet.events.newest
    assert reopen().events.newest == newest
    (tmp_path / "events.jsonl").unlink()
    fresh = reopen().events
    fresh.add(pb.VOLUME_EVENT_KIND_CREATE, "v3")
    assert fresh.newest > newest
    with pytest.raises(OutOfRange):
        fresh.start_of(newest, 0)


def test_who_has_a_volume_is_not_forgotten_where_that_cannot_be_read(tmp_path: Path) -> None:
    uses = Uses(tmp_path)
    uses.begin(ContainerUse("c1", (VolumeUse("db", "/data"),)))
    uses.begin_attachment(Attachment("c1", "b1", {"db": True}))
    failing = Mock(side_effect=OSError(errno.EMFILE, "Too many open files"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "read_bytes", failing)
        with pytest.raises(OSError, match="Too many open files"):
            uses.refresh()
    assert uses.of("db") == ["c1"]
    again = Uses(tmp_path)
    again.refresh()
    assert again.of("db") == ["c1"]
    assert [one.container_id for one in again.attachments("db")] == ["c1"]

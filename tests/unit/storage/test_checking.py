"""`vic store check`: each kind of damage is found, and mended where that is possible."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from portlayer.journal import Journal
from portlayer.web.transport import Transport
from services.storage.checking.check import check
from services.storage.checking.findings import Finding, Findings, Outcome, Subject
from services.storage.compile_pool import CompilePool
from services.storage.settings import StorageSettings
from services.storage.vmdk import Chain
from services.storage.volumes.catalogue import Volumes
from services.storage.volumes.stores import VolumeStores
from services.storage.volumes.uses import Uses
from tests.images import Image, Layer, file, make_tar
from tests.unit.storage.conftest import BASE_SIZE, Storage, wire
from tests.unit.storage.fake_registry import FakeRegistry

BIG = os.urandom(200_000)
IMAGE = Image(
    (
        Layer(make_tar([file("below", BIG)])),
        Layer(make_tar([file("above", b"x" * 70_000)])),
    )
)
CONTAINER = "cd" * 32


@dataclass
class Kept:
    """What an instance keeps, as its service has left it."""

    data: Path
    transport: Transport
    pool: CompilePool
    name: str = ""
    told: list[Finding] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.data / "storage"

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def layers(self) -> Path:
        return next((self.images / "layers").iterdir())

    def layer(self, number: int, end: str = "vmdk") -> Path:
        return self.layers / f"{IMAGE.chain_ids[number][7:]}.{end}"

    def blob(self, number: int) -> Path:
        return self.images / "blobs" / "sha256" / IMAGE.layers[number].digest[7:]

    def image(self, name: str) -> Path:
        return self.images / "images" / IMAGE.id[7:] / name

    def wire(self) -> Storage:
        return wire(self.state, self.transport, self.pool)

    async def check(self, *, repair: bool = False, deep: bool = False) -> tuple[int, list[Finding]]:
        """Return the exit code, and what was found."""
        fields = {"instance_id": "0badcafe", "slot": 0, "base_size_bytes": BASE_SIZE}
        settings = StorageSettings.model_validate({"data_dir": self.data, **fields})
        findings = Findings(repair=repair, tell=lambda _finding: None)
        await check(settings, findings, self.pool, deep=deep)
        return findings.exit_code, findings.all


@pytest_asyncio.fixture(loop_scope="session")
async def kept(
    tmp_path: Path, registry: FakeRegistry, transport: Transport, pool: CompilePool
) -> Kept:
    kept = Kept(tmp_path, transport, pool)
    registry.add(IMAGE, "x", "latest")
    kept.name = f"{registry.address}/x"
    kept.state.mkdir()
    storage = kept.wire()
    await storage.pull(kept.name)
    await storage.disks.prepare(
        storage.store, storage.images.usable, CONTAINER, kept.name, b"specification"
    )
    stores = VolumeStores(kept.state / "volumes", {}, {})
    journal = Journal(kept.state / "volume-events.jsonl")
    volumes = Volumes(stores, Uses(kept.state), journal, 16 << 20)
    await volumes.create("data", "local", {"a": "b"}, {})
    storage.store.close()
    return kept


def cut(path: Path) -> None:
    data = path.read_bytes()
    replace(path, data[: len(data) // 2])


def flip(path: Path) -> None:
    """Change a byte near the end."""
    data = bytearray(path.read_bytes())
    data[-len(data) // 3] ^= 0xFF
    replace(path, bytes(data))


def replace(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o444)


def garbage(path: Path) -> None:
    replace(path, b"{")


def write_bits(path: Path) -> None:
    path.chmod(0o644)


def disagree(path: Path) -> None:
    value = json.loads(path.read_bytes())
    value["layers"][0]["diff_id"] = "sha256:" + "0" * 64
    replace(path, json.dumps(value).encode())


def other_parent(path: Path) -> None:
    """Let a disk name another content as its parent's."""
    data = path.read_bytes()
    at = data.index(b"parentCID=") + len(b"parentCID=")
    replace(path, data[:at] + b"01234567" + data[at + 8 :])


async def test_nothing_is_wrong_with_what_is_sound(kept: Kept) -> None:
    before = kept.wire().files()
    assert await kept.check(deep=True) == (0, [])
    assert await kept.check(repair=True) == (0, [])
    assert kept.wire().files() == before


Damage = Callable[[Path], object]

MENDED: list[tuple[str, Subject, Callable[[Kept], Path], Damage]] = [
    ("base cut", Subject.BASE, lambda k: k.layers / "base.vmdk", cut),
    ("base changed", Subject.BASE, lambda k: k.layers / "base.vmdk", flip),
    ("base gone", Subject.BASE, lambda k: k.layers / "base.vmdk", Path.unlink),
    ("base writable", Subject.BASE, lambda k: k.layers / "base.vmdk", write_bits),
    ("layer cut", Subject.LAYER, lambda k: k.layer(0), cut),
    ("layer gone", Subject.LAYER, lambda k: k.layer(1), Path.unlink),
    ("lower layer gone", Subject.LAYER, lambda k: k.layer(0), Path.unlink),
    ("layer's record", Subject.LAYER, lambda k: k.layer(0, "json"), garbage),
    ("layer's record gone", Subject.LAYER, lambda k: k.layer(1, "json"), Path.unlink),
    ("layer writable", Subject.LAYER, lambda k: k.layer(1), write_bits),
    ("layer of another parent", Subject.LAYER, lambda k: k.layer(1), other_parent),
    ("image's record", Subject.IMAGE, lambda k: k.image("image.json"), garbage),
    ("image's record gone", Subject.IMAGE, lambda k: k.image("image.json"), Path.unlink),
    ("image's record wrong", Subject.IMAGE, lambda k: k.image("image.json"), disagree),
    (
        "container's record",
        Subject.DISK,
        lambda k: k.state / "containers" / CONTAINER / "meta.json",
        garbage,
    ),
    (
        "volume's record",
        Subject.VOLUME,
        lambda k: k.state / "volumes" / "data" / "volume.json",
        garbage,
    ),
]


@pytest.mark.parametrize(
    ("subject", "where", "damage"),
    [case[1:] for case in MENDED],
    ids=[case[0] for case in MENDED],
)
async def test_damage_is_found_and_mended(
    kept: Kept, subject: Subject, where: Callable[[Kept], Path], damage: Damage
) -> None:
    path = where(kept)
    right = path.read_bytes()
    damage(path)
    code, found = await kept.check()
    assert code == 4
    assert {finding.subject for finding in found} >= {subject}
    assert all(finding.outcome is Outcome.REPAIRABLE for finding in found)
    code, found = await kept.check(repair=True)
    assert (code, {finding.outcome for finding in found}) == (3, {Outcome.REPAIRED})
    assert await kept.check(deep=True) == (0, [])
    if subject not in (Subject.DISK, Subject.VOLUME):
        assert path.read_bytes() == right
    storage = kept.wire()
    assert storage.images.usable(kept.name).id == IMAGE.id
    disk = await storage.disks.get(CONTAINER)
    assert disk.record.image_id == IMAGE.id
    with Chain(disk.chain[0]) as chain:
        assert len(chain.paths) == 4


async def test_a_byte_that_turned_in_a_layer_is_found_in_depth(kept: Kept) -> None:
    right = kept.layer(0).read_bytes()
    flip(kept.layer(0))
    assert await kept.check() == (0, [])
    code, found = await kept.check(repair=True, deep=True)
    assert code == 3
    assert [finding.what for finding in found] == ["its disk isn't what its blob makes"]
    assert kept.layer(0).read_bytes() == right


async def test_a_damaged_blob_goes_and_a_pull_brings_it_again(
    kept: Kept, registry: FakeRegistry
) -> None:
    flip(kept.blob(0))
    code, found = await kept.check(repair=True)
    assert code == 4
    assert [(f.subject, f.outcome) for f in found] == [
        (Subject.BLOB, Outcome.REPAIRED),
        (Subject.IMAGE, Outcome.LOST),
    ]
    assert f"pull {kept.name}:latest again" in found[1].what
    assert not kept.blob(0).exists()
    storage = kept.wire()
    await storage.pull(kept.name)
    storage.store.close()
    assert await kept.check(deep=True) == (0, [])


async def test_a_layer_without_its_blob_is_lost_until_it_is_pulled(kept: Kept) -> None:
    kept.blob(0).unlink()
    cut(kept.layer(0))
    code, found = await kept.check(repair=True)
    assert code == 4
    lost = [finding for finding in found if finding.subject is Subject.LAYER]
    assert [finding.outcome for finding in lost] == [Outcome.LOST] * 2
    assert "pull its image again" in lost[0].what


async def test_an_image_without_its_configuration_is_told_by_its_names(kept: Kept) -> None:
    flip(kept.image("config.json"))
    code, found = await kept.check(repair=True)
    assert code == 4
    assert found[0].subject is Subject.IMAGE
    assert f"pull or load {kept.name}:latest again" in found[0].what
    # What its container stands on is there still.
    storage = kept.wire()
    assert len((await storage.disks.get(CONTAINER)).chain) == 4
    await storage.pull(kept.name)
    storage.store.close()
    assert await kept.check(deep=True) == (0, [])


async def test_names_that_cant_be_read_leave_an_image_without_any(kept: Kept) -> None:
    names = kept.images / "references" / "0badcafe" / f"{IMAGE.id[7:]}.json"
    garbage(names)
    assert (await kept.check())[0] == 4
    assert (await kept.check(repair=True))[0] == 3
    storage = kept.wire()
    assert [use.tags for _, use in storage.store.catalogue.all()] == [{}]


async def test_what_nothing_refers_to_is_told_and_deleted(kept: Kept) -> None:
    left = [
        kept.images / "blobs" / "sha256" / hashlib.sha256(b"half").hexdigest(),
        kept.images / "blobs" / "sha256" / ".new-0badf00d-12",
        kept.layers / ("2" * 64 + ".vmdk"),
        kept.layers / ".half.vmdk.12.partial",
        kept.state / "containers" / ".new-0badf00d-34",
        kept.state / "volumes" / ".new-0badf00d-56",
    ]
    for path in left:
        path.write_bytes(b"half")
    code, found = await kept.check()
    assert (code, len(found)) == (4, len(left)), list(map(str, found))
    assert {finding.subject for finding in found} == {Subject.LEFTOVER}
    assert all(path.exists() for path in left)
    code, found = await kept.check(repair=True)
    assert (code, len(found)) == (3, len(left))
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("damage", [cut, Path.unlink, garbage])
@pytest.mark.parametrize("what", ["containers", "volumes"])
async def test_data_that_is_nowhere_else_is_told_and_left_alone(
    kept: Kept, what: str, damage: Damage
) -> None:
    disk = next((kept.state / what).iterdir()) / "disk.vmdk"
    damage(disk)
    before = disk.read_bytes() if disk.exists() else None
    code, found = await kept.check(repair=True)
    assert (code, [finding.outcome for finding in found]) == (4, [Outcome.LOST])
    assert (disk.read_bytes() if disk.exists() else None) == before


async def test_a_service_that_runs_sees_what_was_mended(kept: Kept) -> None:
    storage = kept.wire()
    garbage(kept.layer(1, "json"))
    await storage.store.refresh()
    assert (await kept.check(repair=True))[0] == 3
    await storage.store.refresh()
    assert storage.images.usable(kept.name).id == IMAGE.id

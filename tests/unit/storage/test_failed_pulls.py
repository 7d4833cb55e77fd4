"""Pulls that fail say why, and leave nothing behind."""

import errno
import gzip
import json
from dataclasses import replace

import pytest

from portlayer.errors import VicError
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.blob_feed import BlobFeed
from services.storage.imagec.errors import (
    DigestMismatch,
    InvalidLayer,
    InvalidManifest,
    ManifestNotFound,
    RegistryUnauthorized,
    StoreFull,
)
from services.storage.imagec.manifest import Platform
from services.storage.imagec.reference import parse_reference
from tests.images import (
    Image,
    Layer,
    file,
    make_tar,
)
from tests.unit.storage.conftest import Storage
from tests.unit.storage.fake_registry import (
    FakeRegistry,
    asks_basic,
)
from tests.unit.storage.test_pull import SMALL, name, only


async def failing(storage: Storage, reference: str, kind: type[VicError], words: str) -> None:
    with pytest.raises(kind, match=words):
        await storage.pull(reference)
    assert storage.files() == []


async def test_a_corrupt_layer_leaves_nothing_behind(
    storage: Storage, registry: FakeRegistry
) -> None:
    image = only("a", "b", "c")
    registry.add(image, "x", "latest")
    blob = image.layers[2]
    registry.blobs[blob.digest] = blob.blob[:-1] + b"\xff"
    await failing(storage, name(registry), DigestMismatch, "layer verification failed")


async def test_a_layer_with_another_diff_id_leaves_nothing_behind(
    storage: Storage, registry: FakeRegistry
) -> None:
    image, other = only("a", "b"), only("a", "c")
    config = image.config_bytes
    manifest = json.loads(image.manifest_bytes)
    manifest["layers"] = json.loads(other.manifest_bytes)["layers"]
    registry.add(image, "x")
    registry.add(other, "x")
    registry.manifests["x/latest"] = (image.media_type, json.dumps(manifest).encode())
    assert config in registry.blobs.values()
    await failing(storage, name(registry), DigestMismatch, "diff ID")


@pytest.mark.parametrize(
    ("tar", "words"),
    [
        (make_tar([file("a", b"x" * 5000)])[:2000], "cut|end|truncat|missing|short"),
        (b"this is no tar at all" * 100, "tar|header|checksum"),
        (make_tar([file("big", bytes(70 << 20))]), "more than 67108864 bytes"),
    ],
    ids=["cut", "garbage", "too large"],
)
async def test_a_layer_that_is_no_sound_tar_leaves_nothing_behind(
    storage: Storage, registry: FakeRegistry, tar: bytes, words: str
) -> None:
    registry.add(Image((Layer(tar),)), "x", "latest")
    await failing(storage, name(registry), InvalidLayer, words)


async def test_trailing_bytes_behind_the_gzip_stream_are_refused(
    storage: Storage, registry: FakeRegistry
) -> None:
    tar = make_tar([file("a")])
    layer = Layer(tar)
    layer.__dict__["blob"] = gzip.compress(tar, mtime=0) + b"trailing garbage"
    registry.add(Image((layer,)), "x", "latest")
    await failing(storage, name(registry), InvalidLayer, "stream")


async def test_unknown_tags_and_wrong_passwords(storage: Storage, registry: FakeRegistry) -> None:
    await failing(
        storage, name(registry), ManifestNotFound, "not found: manifest unknown: manifest unknown"
    )
    registry.add(SMALL, "x", "latest")
    registry.authenticate = asks_basic("me", "secret")
    with pytest.raises(RegistryUnauthorized):
        await storage.pull(name(registry), Credentials("me", "wrong"))
    assert storage.files() == []
    assert (await storage.pull(name(registry), Credentials("me", "secret"))).image_id == SMALL.id


async def test_a_full_disk_says_so_and_leaves_nothing(
    storage: Storage, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(SMALL, "x", "latest")

    def full(_feed: BlobFeed, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BlobFeed, "write", full)
    await failing(storage, name(registry), StoreFull, "no space left on device")


async def test_an_image_for_another_system_is_refused(
    storage: Storage, registry: FakeRegistry
) -> None:
    registry.add(replace(SMALL, os="windows"), "x", "latest")
    await failing(storage, name(registry), InvalidManifest, "cannot be used on this platform")
    registry.add_index([replace(SMALL, architecture="s390x")], "x", "latest")
    await failing(storage, name(registry), InvalidManifest, "no matching manifest for linux/amd64")


async def test_a_platform_that_was_asked_for_must_be_the_images(
    storage: Storage, registry: FakeRegistry
) -> None:
    registry.add(SMALL, "x", "latest")
    reference = parse_reference(name(registry))
    wanted = Platform("linux", "arm64")
    with pytest.raises(ManifestNotFound, match="does not match the specified platform"):
        await storage.puller.pull(reference, Credentials(), wanted, storage.lines.append)
    registry.add_index([SMALL, replace(SMALL, architecture="arm64")], "x", "latest")
    pulled = await storage.puller.pull(reference, Credentials(), wanted, storage.lines.append)
    assert storage.images.find(pulled.image_id).config.platform == wanted


async def test_layers_and_diff_ids_must_be_as_many(
    storage: Storage, registry: FakeRegistry
) -> None:
    image = only("a", "b")
    registry.add(image, "x")
    manifest = json.loads(image.manifest_bytes)
    manifest["layers"].pop()
    registry.manifests["x/latest"] = (image.media_type, json.dumps(manifest).encode())
    await failing(storage, name(registry), InvalidManifest, "1 layers.* 2 diff IDs")

"""Archives of images that were made to do harm, each named after the trick."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from services.storage.archive_work import ArchiveWork
from services.storage.authoring.loading import Loader
from services.storage.authoring.maker import ImageMaker
from services.storage.compile_pool import CompilePool
from services.storage.imagec.download import Downloader, DownloadPolicy
from services.storage.imagec.errors import DigestMismatch, InvalidArchive, InvalidLayer
from services.storage.imagec.layer_work import LayerWork
from services.storage.imagec.manifest import MAX_CONFIG, MAX_MANIFEST, Platform
from services.storage.imagec.progress import ignore_progress
from tests.images import Image, Layer, file, hardlink, make_tar, sha256, symlink
from tests.unit.storage.conftest import Storage

pytestmark = pytest.mark.asyncio(loop_scope="session")
"""As the fixtures of storage: its compilers are shared."""

AMD64 = Platform("linux", "amd64")
IMAGE = Image((Layer(make_tar([file("f", "f")])),))


async def load(storage: Storage, pool: CompilePool, archive: bytes) -> None:
    """Load an archive as the service does."""
    store = storage.store
    archives = ArchiveWork(pool, store.blobs.directory)
    maker = ImageMaker(store, LayerWork(store, Downloader(DownloadPolicy()), pool), archives)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(archive), 256 << 10):
            yield archive[at : at + (256 << 10)]

    async with Loader(store, maker, archives).opened(pieces(), AMD64) as opened:
        for image in opened.images:
            await opened.load(image, ignore_progress)


def layout(**members: bytes) -> bytes:
    """An OCI layout of the image, with some members replaced or added by their paths."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": IMAGE.media_type,
                "digest": IMAGE.digest,
                "size": len(IMAGE.manifest_bytes),
            }
        ],
    }
    found = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(manifest).encode(),
        **{
            f"blobs/sha256/{sha256(content)[7:]}": content
            for content in (IMAGE.manifest_bytes, IMAGE.config_bytes, IMAGE.layers[0].blob)
        },
        **members,
    }
    return make_tar([file(name, content) for name, content in found.items()])


def blob(content: bytes) -> str:
    """Where something lies in a layout."""
    return f"blobs/sha256/{sha256(content)[7:]}"


async def test_a_sound_archive_is_loaded(storage: Storage, pool: CompilePool) -> None:
    await load(storage, pool, layout())
    assert storage.images.find(IMAGE.id).id == IMAGE.id


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("index.json", MAX_MANIFEST + 1),
        (blob(IMAGE.manifest_bytes), MAX_MANIFEST + 1),
        (blob(IMAGE.config_bytes), MAX_CONFIG + 1),
    ],
)
async def test_cve_2023_25153_documents_that_would_fill_the_memory_are_not_read(
    storage: Storage, pool: CompilePool, name: str, size: int
) -> None:
    with pytest.raises(InvalidArchive, match=r"is larger than \d+ bytes"):
        await load(storage, pool, layout(**{name: b" " * size}))
    assert storage.files() == []


@pytest.mark.parametrize(
    "name", [blob(IMAGE.manifest_bytes), blob(IMAGE.config_bytes), blob(IMAGE.layers[0].blob)]
)
async def test_bytes_under_another_digest_are_refused(
    storage: Storage, pool: CompilePool, name: str
) -> None:
    with pytest.raises((DigestMismatch, InvalidArchive)):
        await load(storage, pool, layout(**{name: b"other bytes"}))
    assert storage.files() == []


@pytest.mark.parametrize(
    "config", ["../../../etc/passwd", "/etc/passwd", "link", "through/passwd", "hard"]
)
async def test_cve_2007_4559_names_in_an_archive_reach_no_file_of_the_host(
    storage: Storage, pool: CompilePool, config: str
) -> None:
    index = [{"Config": config, "RepoTags": ["x:1"], "Layers": []}]
    archive = make_tar(
        [
            symlink("link", "/etc/passwd"),
            symlink("through", "/etc"),
            hardlink("hard", "../../../../etc/passwd"),
            file("manifest.json", json.dumps(index).encode()),
        ]
    )
    with pytest.raises((InvalidArchive, InvalidLayer)) as refused:
        await load(storage, pool, archive)
    assert "root:" not in refused.value.message
    assert storage.files() == []

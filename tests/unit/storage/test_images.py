"""Images in the store: names, removal, what is in use."""

import errno
from pathlib import Path
from unittest.mock import patch

import pytest
import pytest_asyncio
from vic.storage.v1 import image_pb2

from portlayer.web.transport import Transport
from services.storage.compile_pool import CompilePool
from services.storage.image_store import ImageStore
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import InvalidReference
from services.storage.images import ImageNotFound
from services.storage.removal import ImageInUse
from tests.images import Image, Layer, file, make_tar
from tests.unit.storage.conftest import BASE_SIZE, Storage, wire
from tests.unit.storage.fake_registry import FakeRegistry

CONTAINER = "c0ffee" * 10 + "cafe"


def image_of(*entries: str) -> Image:
    return Image(tuple(Layer(make_tar([file(entry, entry)])) for entry in entries))


ONE, TWO = image_of("base", "one"), image_of("base", "two")


@pytest_asyncio.fixture(loop_scope="session")
async def host(storage: Storage, registry: FakeRegistry) -> str:
    """Two images that share a layer: x:latest and y:latest."""
    registry.add(ONE, "x", "latest")
    registry.add(TWO, "y", "latest")
    await storage.pull(f"{registry.address}/x")
    await storage.pull(f"{registry.address}/y")
    return registry.address


async def container(storage: Storage, image: str, container_id: str = CONTAINER) -> None:
    await storage.disks.prepare(
        storage.store, storage.images.usable, container_id, image, b"specification"
    )


async def test_an_image_is_found_by_tag_digest_and_id(storage: Storage, host: str) -> None:
    for name in (
        f"{host}/x",
        f"{host}/x:latest",
        f"{host}/x@{ONE.digest}",
        f"{host}/x:other@{ONE.digest}",
        ONE.id,
        ONE.id[7:],
        ONE.id[:20],
        ONE.id[7:19],
    ):
        assert storage.images.find(name).id == ONE.id, name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("busybox", "No such image: busybox:latest"),
        ("docker.io/library/busybox:1", "No such image: busybox:1"),
        ("sha256:" + "0" * 64, "No such image: sha256:" + "0" * 64),
        ("deadbeefdead", "No such image: deadbeefdead:latest"),
    ],
)
async def test_an_unknown_image_is_told_by_its_familiar_name(
    storage: Storage, name: str, message: str
) -> None:
    with pytest.raises(ImageNotFound) as refused:
        storage.images.find(name)
    assert refused.value.message == message


async def test_the_list_tells_shared_bytes_and_containers(storage: Storage, host: str) -> None:
    await container(storage, f"{host}/x")
    summaries = {entry.image.id: entry for entry in storage.images.all()}
    shared = len(ONE.layers[0].tar)
    assert summaries[Digest(ONE.id)].shared_bytes == shared
    assert summaries[Digest(ONE.id)].containers == 1
    assert summaries[Digest(TWO.id)].containers == 0
    assert summaries[Digest(ONE.id)].image.size_bytes == sum(len(layer.tar) for layer in ONE.layers)
    assert storage.images.layers_bytes() == 3 * shared


async def test_a_tag_is_one_more_name_and_moves(storage: Storage, host: str) -> None:
    await storage.images.tag(f"{host}/x", "mine")
    await storage.images.tag(f"{host}/x", "mine")
    assert storage.images.find("mine").id == ONE.id
    await storage.images.tag(TWO.id, "mine:latest")
    assert storage.images.find("mine").id == TWO.id
    assert (
        "docker.io/library/mine:latest" not in storage.images.use(storage.images.find(ONE.id)).tags
    )
    with pytest.raises(ImageNotFound):
        await storage.images.tag("nosuch", "other")
    with pytest.raises(InvalidReference):
        await storage.images.tag(ONE.id, "Not/Valid")


async def test_pulling_again_after_removal_gives_the_same(storage: Storage, host: str) -> None:
    before = storage.images.find(f"{host}/x")
    await storage.removal.remove(f"{host}/x", force=False)
    await storage.pull(f"{host}/x")
    assert storage.images.find(f"{host}/x") == before


async def test_a_restart_sweeps_what_no_record_speaks_of(
    storage: Storage, host: str, transport: Transport, pool: CompilePool
) -> None:
    before = storage.files()
    images = storage.root / "images"
    layers = storage.store.layers.directory
    (layers / ".half.vmdk.0123.partial").write_bytes(b"half")
    (layers / ("0" * 64 + ".vmdk")).write_bytes(b"without a record")
    (layers / ("3" * 64 + ".json")).write_bytes(b"{}")
    (images / "blobs" / "sha256" / ".new-1111").write_bytes(b"half")
    (images / "blobs" / "sha256" / ("1" * 64)).write_bytes(b"nobody's")
    (images / "images" / ("2" * 64)).mkdir()
    (storage.root / "containers" / ".new-2222").mkdir()
    assert wire(storage.root, transport, pool).files() == before


async def test_a_layer_whose_parent_is_gone_is_swept(
    storage: Storage, host: str, transport: Transport, pool: CompilePool
) -> None:
    layers = storage.store.layers.directory
    (layers / f"{ONE.chain_ids[0][7:]}.json").unlink()
    again = wire(storage.root, transport, pool)
    assert again.store.layers.all() == []
    with pytest.raises(ImageNotFound):
        again.images.usable(f"{host}/x")
    # The blobs are there still: a pull builds the layers again without fetching them.
    await again.pull(f"{host}/x")
    assert again.images.usable(f"{host}/x").id == ONE.id


async def test_history_tells_the_steps_newest_first(storage: Storage, host: str) -> None:
    lines = storage.images.history(f"{host}/x")
    assert [line.image_id for line in lines] == [ONE.id, "<missing>"]
    assert [line.created_by for line in lines] == ["layer 1", "layer 0"]
    assert [line.size_bytes for line in lines] == [len(layer.tar) for layer in ONE.layers[::-1]]
    assert lines[0].tags == (f"{host}/x:latest",)


async def test_images_that_cannot_be_read_for_a_moment_are_there_afterwards(
    storage: Storage, host: str
) -> None:
    """An error of the disk or of an NFS server says nothing of what is on it."""
    before = storage.files()
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.is_relative_to(storage.store.root / "images"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    with patch.object(Path, "read_bytes", fail):
        again = ImageStore(storage.store.root, owner="0badcafe", base_size=BASE_SIZE)
        try:
            assert await again.sweep() == 0
        finally:
            again.close()
    assert storage.files() == before
    assert storage.images.find(f"{host}/x").id == ONE.id


def test_an_empty_directory_becomes_a_store(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "deep" / "images", owner="0badcafe", base_size=BASE_SIZE)
    assert store.catalogue.all() == []
    assert 0 < store.free_bytes <= store.total_bytes
    assert (tmp_path / "deep" / "images").stat().st_mode & 0o777 == 0o700


def told(storage: Storage) -> list[tuple[str, str]]:
    """What was told: the kind, and the name."""
    prefix = "IMAGE_EVENT_KIND_"
    return [
        (
            image_pb2.ImageEventKind.Name(entry.kind).removeprefix(prefix).lower(),
            entry.attributes.get("name", ""),
        )
        for entry in storage.events.journal
    ]


async def test_names_and_images_that_go_are_told(storage: Storage, host: str) -> None:
    await storage.images.tag(f"{host}/x", "other:1")
    await storage.removal.remove("other:1", force=False)
    assert told(storage) == [("untag", ONE.id)]
    await storage.removal.remove(f"{host}/x", force=False)
    assert told(storage)[1:] == [("untag", ONE.id), ("delete", ONE.id)]
    await storage.images.tag(f"{host}/y", "other:1")
    await storage.removal.remove(TWO.id, force=True)
    assert told(storage)[3:] == [("untag", TWO.id), ("untag", TWO.id), ("delete", TWO.id)]


async def test_a_refused_removal_tells_nothing(storage: Storage, host: str) -> None:
    await container(storage, f"{host}/x")
    with pytest.raises(ImageInUse):
        await storage.removal.remove(f"{host}/x", force=False)
    assert told(storage) == []

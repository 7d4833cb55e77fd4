"""What storage is killed at, and the state that it begins with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from portlayer.journal import Journal
from portlayer.web.transport import Transport
from services.storage.archive_work import ArchiveWork
from services.storage.authoring.loading import Loader
from services.storage.authoring.maker import ImageMaker, NewImage
from services.storage.authoring.saving import save
from services.storage.compile_pool import CompilePool
from services.storage.imagec.download import Downloader, DownloadPolicy
from services.storage.imagec.layer_work import LayerWork
from services.storage.imagec.manifest import Platform
from services.storage.imagec.progress import Progress
from services.storage.imagec.reference import parse_reference
from services.storage.images import ImageNotFound, Saved
from services.storage.pruning import Pruning
from services.storage.volumes.catalogue import Volumes
from services.storage.volumes.stores import VolumeStores
from services.storage.volumes.uses import Uses
from tests.images import file, make_tar
from tests.unit.storage.conftest import Storage, wire

CONTAINER = "cd" * 32


@dataclass
class Service:
    """The parts of a service, as its composition root wires them."""

    storage: Storage
    volumes: Volumes
    maker: ImageMaker
    loader: Loader

    @classmethod
    def open(cls, state: Path, transport: Transport, pool: CompilePool) -> Service:
        storage = wire(state, transport, pool)
        stores = VolumeStores(state / "volumes", {}, {})
        journal = Journal(state / "volume-events.jsonl")
        layers = LayerWork(storage.store, Downloader(DownloadPolicy()), pool)
        archives = ArchiveWork(pool, storage.store.blobs.directory)
        maker = ImageMaker(storage.store, layers, archives)
        return cls(
            storage,
            Volumes(stores, Uses(state), journal, 16 << 20),
            maker,
            Loader(storage.store, maker, archives),
        )


Verb = Callable[[Service, str], Awaitable[object]]


async def pull(service: Service, registry: str) -> None:
    await service.storage.pull(f"{registry}/new")


async def remove(service: Service, registry: str) -> None:
    with suppress(ImageNotFound):  # it was done before
        await service.storage.removal.remove(f"{registry}/old", force=True)


async def retag(service: Service, registry: str) -> None:
    """Take a name from one image and give it to another."""
    await service.storage.images.tag(f"{registry}/old", f"{registry}/other:latest")


async def prune(service: Service, registry: str) -> None:
    pruning = Pruning(service.storage.store, service.storage.removal)
    await pruning.prune(everything=True, until=None, rules=[])
    await service.storage.store.sweep()


async def load(service: Service, registry: str) -> None:
    async def archive() -> AsyncIterator[bytes]:
        yield (service.storage.root.parent / "archive.tar").read_bytes()

    async with service.loader.opened(archive(), Platform("linux", "amd64")) as opened:
        for image in opened.images:
            await opened.load(image, _ignore)


async def commit(service: Service, registry: str) -> None:
    parent = service.storage.images.find(f"{registry}/old")
    name = parse_reference("committed:latest")

    async def tar() -> AsyncIterator[bytes]:
        yield make_tar([file("change", "change")])

    # What an image is called depends on when it was made; here it must not.
    await service.maker.make(NewImage(parent=parent), tar(), [name])


async def prepare(service: Service, registry: str) -> None:
    storage = service.storage
    await storage.disks.prepare(
        storage.store, storage.images.usable, CONTAINER, f"{registry}/old", b"specification"
    )


async def discard(service: Service, registry: str) -> None:
    await service.storage.disks.remove(service.storage.store, "ab" * 32)


async def create_volume(service: Service, registry: str) -> None:
    await service.volumes.create("fresh", "local", {}, {})


async def remove_volume(service: Service, registry: str) -> None:
    await service.volumes.remove("data", force=True)


async def grow_volume(service: Service, registry: str) -> None:
    await service.volumes.grow("data", 32 << 20)


async def nothing(service: Service, registry: str) -> None:
    """Only open what is there, which sweeps."""


VERBS: dict[str, Verb] = {
    "pull": pull,
    "load": load,
    "commit": commit,
    "tag": retag,
    "remove": remove,
    "prune": prune,
    "prepare": prepare,
    "discard": discard,
    "volume create": create_volume,
    "volume remove": remove_volume,
    "volume grow": grow_volume,
    "sweep": nothing,
}


async def lay_out(service: Service, registry: str) -> None:
    """Make the state that all verbs begin with."""
    storage = service.storage
    for name in ("old", "other", "loose"):
        await storage.pull(f"{registry}/{name}")
    # Of an image that is gone, its container's layers stay.
    for container, name in (("ab" * 32, "loose"), ("ef" * 32, "old")):
        await storage.disks.prepare(
            storage.store, storage.images.usable, container, f"{registry}/{name}", b"spec"
        )
    await storage.removal.remove(f"{registry}/loose", force=True)
    await service.volumes.create("data", "local", {}, {})
    await storage.pull(f"{registry}/new")
    image = storage.images.find(f"{registry}/new")
    chosen = [Saved(image, [parse_reference("loaded:latest")])]
    archive = b"".join([piece async for piece in save(storage.store, chosen, None)])
    (storage.root.parent / "archive.tar").write_bytes(archive)
    await storage.removal.remove(f"{registry}/new", force=True)


def leave_behind(state: Path) -> None:
    """Put there what a sweep must take away."""
    layers = next((state / "images" / "layers").iterdir())
    (layers / ("2" * 64 + ".vmdk")).write_bytes(b"half")
    (layers / ".half.vmdk.12.partial").write_bytes(b"half")
    (state / "images" / "blobs" / "sha256" / ("1" * 64)).write_bytes(b"nobody's")
    (state / "images" / "blobs" / "sha256" / ".new-0badf00d-1").mkdir()
    (state / "images" / "images" / ".new-0badf00d-2").mkdir()
    (state / "containers" / ".new-0badf00d-3").mkdir()
    (state / "containers" / ".new-0badf00d-3" / "disk.vmdk").write_bytes(b"half")
    (state / "volumes" / ".new-0badf00d-4").mkdir()
    (state / "volumes" / "data" / ".larger-disk.vmdk.12.partial").write_bytes(b"half")
    (state / "containers" / ("ab" * 32) / ".new-0badf00d-5").write_bytes(b"half")
    (state / "volume-attachments" / "half.new").write_bytes(b"half")


def _ignore(_line: Progress) -> None:
    """Nobody watches."""

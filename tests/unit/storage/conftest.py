"""Fixtures of the storage facet's unit tests: a fake registry, and a store to pull into.

All of these tests share one event loop, so that they can share the compilers: starting one takes
longer than most tests.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from portlayer.journal import Journal
from portlayer.web.transport import Transport
from services.storage.compile_pool import CompilePool, LayerLimits
from services.storage.disks import DiskStore
from services.storage.image_events import ImageEvents
from services.storage.image_store import ImageStore
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.download import Downloader, DownloadPolicy
from services.storage.imagec.endpoints import Endpoints
from services.storage.imagec.layer_work import LayerWork
from services.storage.imagec.progress import Progress
from services.storage.imagec.pull import Pulled, Puller
from services.storage.imagec.reference import parse_reference
from services.storage.imagec.registries import Registries
from services.storage.images import Images
from services.storage.removal import Removal
from tests.unit.storage.fake_registry import FakeRegistry, serving

BASE_SIZE = 256 << 20
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run this directory's tests in one event loop."""
    for item in items:
        ours = item.path.parent == HERE and isinstance(item, pytest.Function)
        if ours and inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(loop_scope="session")
async def registry() -> AsyncIterator[FakeRegistry]:
    """A registry that can be told to misbehave."""
    async with serving() as registry:
        yield registry


@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere() -> AsyncIterator[FakeRegistry]:
    """Another host."""
    async with serving() as registry:
        yield registry


@pytest_asyncio.fixture(loop_scope="session")
async def transport() -> AsyncIterator[Transport]:
    """HTTP clients."""
    transport = Transport()
    yield transport
    await transport.close()


@dataclass
class Storage:
    """The facet's parts, wired as in its composition root."""

    root: Path
    store: ImageStore
    disks: DiskStore
    images: Images
    removal: Removal
    puller: Puller
    events: ImageEvents
    lines: list[Progress] = field(default_factory=list)

    async def pull(self, reference: str, credentials: Credentials | None = None) -> Pulled:
        """Pull by name, keeping the progress."""
        return await self.puller.pull(
            parse_reference(reference), credentials or Credentials(), None, self.lines.append
        )

    def files(self) -> list[str]:
        """Every file in the store but the base disk's, the events' and what keeps it in order."""
        return sorted(
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.is_file()
            and path.name not in ("base.vmdk", "image-events.jsonl", "lock")
            and path.parent.name != "processes"
        )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pool() -> AsyncIterator[CompilePool]:
    """Real worker processes."""
    pool = CompilePool(2, LayerLimits(max_bytes=64 << 20))
    yield pool
    await pool.close()


def wire(
    root: Path,
    transport: Transport,
    pool: CompilePool,
    mirrors: tuple[str, ...] = (),
    *,
    owner: str = "0badcafe",
    images: Path | None = None,
    quota: int = 0,
) -> Storage:
    """Open a store and what works on it; `images` is one that others share."""
    disks = DiskStore(root / "containers")
    store = ImageStore(
        images or root / "images",
        owner=owner,
        base_size=BASE_SIZE,
        chains_in_use=disks.chains_in_use,
        quota=quota,
    )
    layers = LayerWork(store, Downloader(DownloadPolicy(backoff=0.001)), pool)
    known = Images(store, disks.records)
    events = ImageEvents(Journal(root / "image-events.jsonl"))
    return Storage(
        root,
        store,
        disks,
        known,
        Removal(store, known, disks, events),
        Puller(Registries(transport, Endpoints(mirrors=mirrors)), store, layers),
        events,
    )


@pytest.fixture
def storage(tmp_path: Path, transport: Transport, pool: CompilePool) -> Storage:
    """A fresh store."""
    return wire(tmp_path, transport, pool)

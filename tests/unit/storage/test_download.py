"""Blobs that come in pieces, late, or wrong."""

import asyncio
import errno
import hashlib
from pathlib import Path

import pytest
import pytest_asyncio

from portlayer.web.transport import Transport
from services.storage.blobs import BlobStore
from services.storage.imagec import download
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.blob_feed import BlobFeed
from services.storage.imagec.digest import Digest
from services.storage.imagec.download import ATTEMPTS, Downloader, DownloadPolicy
from services.storage.imagec.endpoints import Endpoints
from services.storage.imagec.errors import (
    DigestMismatch,
    ManifestNotFound,
    RegistryMisbehaves,
    RegistryUnavailable,
)
from services.storage.imagec.progress import Progress, Status
from services.storage.imagec.reference import parse_reference
from services.storage.imagec.registries import Registries
from services.storage.imagec.registry import Repository
from tests.unit.storage.fake_registry import Answer, FakeRegistry, Request, problem

CONTENT = b"".join(hashlib.sha256(n.to_bytes(4)).digest() for n in range(100_000))
DIGEST = Digest.of(CONTENT)
PATH = f"/v2/x/blobs/{DIGEST}"


class Case:
    """One blob at a fake registry, and a store to download it into."""

    def __init__(self, registry: FakeRegistry, repository: Repository, store: BlobStore) -> None:
        self.registry = registry
        self.repository = repository
        self.store = store
        self.lines: list[Progress] = []
        self.feed: BlobFeed | None = None

    async def fetch(self) -> bytes:
        self.feed = self.store.begin(DIGEST, len(CONTENT))
        downloader = Downloader(DownloadPolicy(backoff=0.001))
        await downloader.fetch(self.repository, self.feed, self.lines.append)
        self.store.publish(self.feed)
        return self.store.path(DIGEST).read_bytes()

    def left(self) -> list[str]:
        return [path.name for path in self.store.directory.iterdir()]

    def asked(self) -> list[str]:
        return [request.headers.get("range", "whole") for request in self.registry.fetched(PATH)]


@pytest_asyncio.fixture(loop_scope="session")
async def case(registry: FakeRegistry, transport: Transport, tmp_path: Path) -> Case:
    registry.blobs[DIGEST] = CONTENT
    registries = Registries(transport, Endpoints())
    reference = parse_reference(f"{registry.address}/x")
    found = [entry async for entry in registries.repositories(reference, Credentials())]
    return Case(registry, found[0], BlobStore(tmp_path))


async def test_a_blob_arrives_whole_and_tells_how_far_it_is(case: Case) -> None:
    assert await case.fetch() == CONTENT
    statuses = [line.status for line in case.lines]
    assert statuses[-2:] == [Status.VERIFYING_CHECKSUM, Status.DOWNLOAD_COMPLETE]
    counts = [line.current for line in case.lines if line.status is Status.DOWNLOADING]
    assert counts == sorted(counts)
    assert counts[-1] == len(CONTENT)
    assert len(counts) >= 3
    assert case.store.path(DIGEST).stat().st_mode & 0o777 == 0o444


async def test_a_broken_connection_is_resumed_where_it_broke(case: Case) -> None:
    case.registry.faults[PATH] = [
        lambda _request: Answer(body=CONTENT, cut_after=1_500_000),
        lambda request: cut(case.registry.blob(request, DIGEST), 700_000),
    ]
    assert await case.fetch() == CONTENT
    assert case.asked() == ["whole", "bytes=1500000-", "bytes=2200000-"]
    assert Status.RETRYING in [line.status for line in case.lines]


def cut(answer: Answer, after: int) -> Answer:
    answer.cut_after = after
    return answer


async def test_a_registry_without_ranges_sends_it_all_again(case: Case) -> None:
    case.registry.faults[PATH] = [
        lambda _request: Answer(body=CONTENT, cut_after=1_500_000),
        lambda _request: Answer(body=CONTENT),
    ]
    assert await case.fetch() == CONTENT


@pytest.mark.parametrize(
    "content_range",
    ["", "bytes 0-3199999/3200000", "bytes 1500000-3199999/9", "bytes */3200000", "x" * 500],
)
async def test_a_wrong_range_is_refused(case: Case, content_range: str) -> None:
    case.registry.faults[PATH] = [
        lambda _request: Answer(body=CONTENT, cut_after=1_500_000),
        lambda _request: Answer(206, {"Content-Range": content_range}, CONTENT[1_500_000:]),
    ]
    with pytest.raises(RegistryMisbehaves, match="wrong range"):
        await case.fetch()
    assert case.left() == []


async def test_other_bytes_are_refused_and_nothing_is_left(case: Case) -> None:
    case.registry.blobs[DIGEST] = CONTENT[:-1] + b"\0"
    with pytest.raises(DigestMismatch, match="filesystem layer verification failed"):
        await case.fetch()
    assert case.left() == []


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1, 10 << 20])
async def test_another_length_than_the_manifests_is_refused(case: Case, size: int) -> None:
    case.registry.blobs[DIGEST] = CONTENT[:size].ljust(size, b"\0")
    with pytest.raises(RegistryMisbehaves, match="the manifest says"):
        await case.fetch()
    assert case.left() == []


async def test_a_body_without_end_is_cut_off_at_its_size(case: Case) -> None:
    case.registry.always[PATH] = lambda _request: Answer(body=bytes(1 << 16), endless=True)
    with pytest.raises(RegistryMisbehaves, match="more bytes"):
        await case.fetch()
    assert case.left() == []


async def test_a_registry_that_always_breaks_is_given_up(case: Case) -> None:
    case.registry.always[PATH] = lambda request: cut(case.registry.blob(request, DIGEST), 1000)
    with pytest.raises(RegistryUnavailable):
        await case.fetch()
    assert len(case.asked()) == ATTEMPTS
    assert case.left() == []


async def test_server_errors_are_tried_again_and_refusals_are_not(case: Case) -> None:
    case.registry.faults[PATH] = [lambda _request: Answer(502), lambda _request: Answer(429)]
    assert await case.fetch() == CONTENT
    case.registry.requests.clear()
    case.registry.faults[PATH] = [lambda _request: problem(404, "BLOB_UNKNOWN", "blob unknown")]
    with pytest.raises(ManifestNotFound, match="blob unknown"):
        await case.fetch()
    assert len(case.asked()) == 1


async def test_a_stalling_registry_is_given_up(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.0)
    monkeypatch.setattr(download, "SLOWEST", 10**15)
    with pytest.raises(RegistryUnavailable, match="stalled"):
        await case.fetch()
    assert case.left() == []


async def test_a_full_disk_leaves_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_feed: BlobFeed, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BlobFeed, "write", full)
    with pytest.raises(OSError, match="No space left"):
        await case.fetch()
    assert case.left() == []


async def test_who_cancels_leaves_nothing(case: Case) -> None:
    hold = asyncio.Event()
    reached = asyncio.Event()

    def stall(_request: Request) -> Answer:
        reached.set()
        return Answer(body=CONTENT, hold=hold)

    case.registry.faults[PATH] = [stall]
    task = asyncio.create_task(case.fetch())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert case.left() == []


async def test_a_reader_follows_the_growth_and_learns_of_failure(case: Case) -> None:
    hold = asyncio.Event()
    case.registry.faults[PATH] = [
        lambda _request: Answer(body=CONTENT, cut_after=2_000_000),
        lambda _request: Answer(206, {"Content-Range": "bytes 0-0/1"}, hold=hold),
    ]
    task = asyncio.create_task(case.fetch())
    while case.feed is None:
        await asyncio.wait([task], timeout=0.001)
    seen: list[int] = []
    with pytest.raises(RegistryMisbehaves):
        async for available in case.feed.growth():
            seen.append(available)
            hold.set()
    assert seen[-1] == 2_000_000
    with pytest.raises(RegistryMisbehaves):
        await task

"""Downloads of blobs: each once, verified, resumed after a broken connection."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from portlayer.threads import uncancelled
from services.storage.imagec.blob_feed import MOST_PARTS, BlobFeed
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import RegistryMisbehaves, RegistryUnavailable
from services.storage.imagec.progress import Progress, Report, Status
from services.storage.imagec.registry import Repository

ATTEMPTS = 5
"""Tries of a blob without getting `ENOUGH_PROGRESS` further, as dockerd has them."""

ENOUGH_PROGRESS = 1 << 20
CHUNK = 1 << 20
REPORT_STEP = 512 << 10
"""Bytes between two lines of progress, as dockerd has it."""

SLOWEST = 1024
"""Bytes a second below which a registry counts as stalled, so that it can't hold us for ever."""

PATIENCE = 60.0
"""Seconds over which that is measured."""


@dataclass(frozen=True)
class DownloadPolicy:
    """How much at once, and how patiently."""

    concurrent: int = 3
    """Blobs at once from one registry (dockerd's max-concurrent-downloads)."""

    backoff: float = 1.0
    """Seconds before the second try; doubled for each further one."""


class Downloader:
    """Fetches blobs into feeds, a bounded number at once from each registry."""

    def __init__(self, policy: DownloadPolicy) -> None:
        self._policy = policy
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(policy.concurrent)
        )

    async def fetch(self, repository: Repository, feed: BlobFeed, report: Report) -> None:
        """Download a blob into its feed and verify it.

        On failure the feed says so to its readers, and its file is gone.

        Raises:
            DigestMismatch: its bytes are the wrong ones.
            RegistryUnavailable: the registry broke off, all tries included.
            OSError: the disk is full, or broken.
        """
        name = feed.digest.short
        slot = self._slots[repository.endpoint.host]
        try:
            if slot.locked():
                report(Progress(name, Status.WAITING))
            async with slot:
                await self._with_retries(repository, feed, report)
                report(Progress(name, Status.VERIFYING_CHECKSUM))
                await feed.verify()
                report(Progress(name, Status.DOWNLOAD_COMPLETE))
        except BaseException as error:  # cancelled too: who reads the feed must not wait for ever
            await feed.fail(error)
            feed.discard()
            raise

    async def _with_retries(self, repository: Repository, feed: BlobFeed, report: Report) -> None:
        failures = 0
        while True:
            before = feed.available
            try:
                await self._once(repository, feed, report)
            except RegistryMisbehaves:
                raise
            except RegistryUnavailable:
                failures = 1 if feed.available - before >= ENOUGH_PROGRESS else failures + 1
                if failures >= ATTEMPTS:
                    raise
                delay = self._policy.backoff * 2 ** (failures - 1)
                unit = "second" if delay == 1 else "seconds"
                report(Progress(feed.digest.short, Status.RETRYING, text=f"{delay:g} {unit}"))
                await asyncio.sleep(delay)
            else:
                return

    async def _once(self, repository: Repository, feed: BlobFeed, report: Report) -> None:
        async with repository.blob(feed.digest, feed.available, feed.size) as body:
            await _receive(feed, body.chunks, feed.available - body.start, report)
        if feed.available != feed.size:
            raise RegistryUnavailable(
                f"blob {feed.digest}: unexpected EOF after {feed.available} of {feed.size} bytes"
            )


async def _receive(feed: BlobFeed, chunks: AsyncIterator[bytes], skip: int, report: Report) -> None:
    """Append what comes, less the first `skip` bytes, which are there already."""
    appender = _Appender(feed, report)
    watch = _StallWatch(feed.digest)
    try:
        async for chunk in chunks:
            watch.received(len(chunk))
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            await appender.add(chunk[skip:] if skip else chunk)
            skip = 0
    finally:
        await appender.finish()


class _Appender:
    """Writes and hashes one block in a thread while the next is received."""

    def __init__(self, feed: BlobFeed, report: Report) -> None:
        self._feed = feed
        self._report = report
        self._reported = feed.available
        self._parts: list[bytes] = []
        self._size = 0
        self._writing: asyncio.Future[None] | None = None
        self._written = 0

    async def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self._parts.append(data)
        self._size += len(data)
        if self._size >= CHUNK or len(self._parts) == MOST_PARTS:
            await self._settle()
            self._begin()

    async def finish(self) -> None:
        """Write what is left. No thread touches the file once this has ended."""
        await self._settle()
        if self._parts:
            self._begin()
            await self._settle()

    def _begin(self) -> None:
        parts, self._parts = self._parts, []
        self._written, self._size = self._size, 0
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._feed.write, parts)

    async def _settle(self) -> None:
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        await uncancelled(writing)
        await self._feed.arrived(self._written)
        feed = self._feed
        if feed.available - self._reported >= REPORT_STEP or feed.available == feed.size:
            self._reported = feed.available
            self._report(Progress(feed.digest.short, Status.DOWNLOADING, feed.available, feed.size))


class _StallWatch:
    """Breaks off a registry that sends less than `SLOWEST` bytes a second for `PATIENCE`."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._since = time.monotonic()
        self._bytes = 0

    def received(self, count: int) -> None:
        self._bytes += count
        passed = time.monotonic() - self._since
        if passed >= PATIENCE:
            if self._bytes < SLOWEST * passed:
                raise RegistryUnavailable(
                    f"blob {self._digest}: stalled at {self._bytes} bytes in {passed:.0f} seconds"
                )
            self._since, self._bytes = time.monotonic(), 0

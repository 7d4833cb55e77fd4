"""Bringing an image's layers into the store: downloads side by side, compiled bottom to top.

A layer's compilation begins when the one below is there, while its own blob may still be
arriving. What several pulls need is done once for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from portlayer.errors import Unauthenticated, leaf_error
from portlayer.threads import in_thread
from services.storage.compile_pool import CompilePool
from services.storage.faults import storage_faults
from services.storage.image_store import ImageStore
from services.storage.imagec.blob_feed import BlobFeed
from services.storage.imagec.digest import Digest
from services.storage.imagec.download import Downloader
from services.storage.imagec.errors import (
    InvalidManifest,
    ManifestNotFound,
    PullDenied,
    RegistryUnavailable,
)
from services.storage.imagec.manifest import Descriptor
from services.storage.imagec.progress import Progress, Report, Status, ignore_progress
from services.storage.imagec.registry import Repository
from services.storage.imagec.shared_work import SharedWork
from services.storage.layers import LayerRecord

_OTHERS_FAULT = (RegistryUnavailable, ManifestNotFound, PullDenied, Unauthenticated)
"""Errors of a registry or an account that need not be ours when another pull began the work."""


@dataclass(frozen=True)
class LayerPlan:
    """A layer of an image to bring."""

    blob: Descriptor
    diff_id: Digest
    chain_id: Digest
    parent: Digest | None

    @property
    def name(self) -> str:
        """What progress lines call it."""
        return self.blob.digest.short


class LayerWork:
    """Downloads and compilations going on, for all pulls."""

    def __init__(self, store: ImageStore, downloader: Downloader, pool: CompilePool) -> None:
        self._store = store
        self._downloader = downloader
        self._pool = pool
        self._downloads: SharedWork[Digest, BlobFeed, None] = SharedWork()
        self._compilations: SharedWork[Digest, Digest, None] = SharedWork()
        self._bases: SharedWork[int, int, None] = SharedWork()

    async def bring(
        self, repository: Repository | None, plans: Sequence[LayerPlan], report: Report
    ) -> None:
        """Have all layers of an image in the store; they must be held by a lease.

        Without a repository the blobs must be there, and be held by a lease as well.

        Raises what `Puller.pull` names.
        """
        store = self._store
        missing = [plan for plan in plans if plan.chain_id not in store.layers]
        # Of a layer that is there its blob may be lost; a push or a save needs it.
        to_fetch = {p.blob.digest: p for p in plans if p.blob.digest not in store.blobs}
        for plan in plans:
            there = plan not in missing and plan.blob.digest not in to_fetch
            report(Progress(plan.name, Status.ALREADY_EXISTS if there else Status.PULLING_LAYER))
        try:
            store.quota.check(sum(plan.blob.size for plan in to_fetch.values()))
            async with asyncio.TaskGroup() as group:
                for plan in to_fetch.values():
                    group.create_task(self._download(repository, plan, report))
                await self.ensure_base()
                for plan in missing:
                    await self._ensure_layer(repository, plan, report)
        except BaseExceptionGroup as group_error:
            raise leaf_error(group_error) from group_error

    async def ensure_base(self) -> None:
        """Have the base disk of the store's size. Raises StoreFull."""
        store = self._store.layers
        if store.has_base():
            return
        size = store.base_size
        start = lambda _report: (size, self._make_base())  # noqa: E731
        async with self._bases.join(size, start, ignore_progress) as job:
            await job.result()

    async def _make_base(self) -> None:
        store = self._store.layers
        async with self._store.turn(store.turn(None)):
            if store.has_base():
                return
            with storage_faults(), store.making_base() as out:
                await self._pool.create_base(out, store.base_size)

    async def _download(
        self, repository: Repository | None, plan: LayerPlan, report: Report
    ) -> None:
        """Have a layer's blob in the store."""
        digest = plan.blob.digest
        while digest not in self._store.blobs:
            others = self._downloads.going_on(digest)
            start = partial(self._start_download, repository, plan.blob)
            try:
                async with self._downloads.join(digest, start, report) as job:
                    _check_size(job.subject, plan.blob)
                    await job.result()
            except _OTHERS_FAULT:
                if not others:
                    raise

    def _start_download(
        self, repository: Repository | None, blob: Descriptor, report: Report
    ) -> tuple[BlobFeed, Coroutine[Any, Any, None]]:
        if blob.digest in self._store.blobs:
            return self._store.blobs.stored(blob.digest), _nothing()
        with storage_faults():
            if repository is None:
                raise InvalidManifest(f"invalid manifest: blob {blob.digest} is missing")
            feed = self._store.blobs.begin(blob.digest, blob.size)
        return feed, self._fetch(repository, feed, report)

    async def _fetch(self, repository: Repository, feed: BlobFeed, report: Report) -> None:
        store = self._store
        try:
            with storage_faults():
                async with store.turn(store.blobs.turn(feed.digest)):
                    store.blobs.look([feed.digest])
                    if feed.digest in store.blobs:
                        report(Progress(feed.digest.short, Status.DOWNLOAD_COMPLETE))
                        await feed.found(store.blobs.size(feed.digest))
                        return
                    with store.quota.expecting(feed.size):
                        await self._downloader.fetch(repository, feed, report)
                    await in_thread(store.blobs.publish, feed)
        except BaseException as error:
            # One that was cancelled too late is in the store, and somebody may use it already.
            if feed.digest not in store.blobs:
                await feed.fail(error)
                feed.discard()
            raise

    async def _ensure_layer(
        self, repository: Repository | None, plan: LayerPlan, report: Report
    ) -> None:
        while plan.chain_id not in self._store.layers:
            others = self._compilations.going_on(plan.chain_id) or self._downloads.going_on(
                plan.blob.digest
            )
            start = partial(self._start_compilation, repository, plan)
            try:
                async with self._compilations.join(plan.chain_id, start, report) as job:
                    await job.result()
            except _OTHERS_FAULT:
                if not others:
                    raise
        report(Progress(plan.name, Status.PULL_COMPLETE))

    def _start_compilation(
        self, repository: Repository | None, plan: LayerPlan, report: Report
    ) -> tuple[Digest, Coroutine[Any, Any, None]]:
        return plan.chain_id, self._compile(repository, plan, report)

    async def _compile(
        self, repository: Repository | None, plan: LayerPlan, report: Report
    ) -> None:
        store = self._store
        if plan.chain_id in store.layers:
            return
        async with AsyncExitStack() as stack:
            digest = plan.blob.digest
            finished: Callable[[], Coroutine[Any, Any, None]] | None = None
            if digest in store.blobs:
                feed = store.blobs.stored(digest)
            else:
                start = partial(self._start_download, repository, plan.blob)
                job = await stack.enter_async_context(
                    self._downloads.join(digest, start, ignore_progress)
                )
                feed, finished = job.subject, job.result
            _check_size(feed, plan.blob)
            parent = store.layers.disk(plan.parent)
            await stack.enter_async_context(store.turn(store.layers.turn(plan.chain_id)))
            store.layers.look([plan.chain_id])
            if plan.chain_id in store.layers:  # another process has made it meanwhile
                if finished is not None:
                    await finished()
                return
            with storage_faults(), store.layers.making(plan.chain_id) as out:
                made = await self._pool.compile(
                    feed,
                    parent=parent,
                    out=out,
                    chain_id=plan.chain_id,
                    diff_id=plan.diff_id,
                    on_progress=lambda _inflated, consumed: report(
                        Progress(plan.name, Status.EXTRACTING, consumed, feed.size)
                    ),
                )
                record = LayerRecord(
                    chain_id=plan.chain_id,
                    diff_id=plan.diff_id,
                    parent=plan.parent,
                    size_bytes=made.size_bytes,
                    stored_bytes=made.stored_bytes,
                    has_disk=made.has_disk,
                )
                if finished is not None:
                    await finished()
                report(Progress(plan.name, Status.EXTRACTING, feed.size, feed.size))
                store.quota.check(record.stored_bytes)
                await in_thread(store.layers.publish, record)


async def _nothing() -> None:
    """There is nothing left to do."""


def _check_size(feed: BlobFeed, blob: Descriptor) -> None:
    if feed.size != blob.size:
        raise InvalidManifest(
            f"invalid manifest: blob {blob.digest} has {feed.size} bytes, not {blob.size}"
        )

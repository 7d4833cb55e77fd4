"""Worker processes that compile layers, so that the event loop keeps answering.

They are processes of our own and not those of concurrent.futures, because a layer that nobody
waits for any more must stop at once, a worker that dies must take nothing else with it, and a
layer shall be compiled while its blob still arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portlayer.errors import Internal, VicError
from services.storage.imagec.blob_feed import BlobFeed
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import DigestMismatch, InvalidLayer, StoreFailed, StoreFull
from services.storage.worker_process import WorkerProcess

log = logging.getLogger("vic.storage.compile")

IDLE_SECONDS = 60.0
"""For which a worker without work is kept: it takes 40 MB, and 0.2 s to start."""

_ERRORS: dict[str, type[VicError]] = {
    "layer": InvalidLayer,
    "digest": DigestMismatch,
    "full": StoreFull,
    "failed": StoreFailed,
}


@dataclass(frozen=True)
class LayerLimits:
    """What one layer may cost."""

    max_bytes: int = 64 << 30
    max_entries: int = 2_000_000
    max_ratio: int = 200


@dataclass(frozen=True)
class CompiledLayer:
    """What a worker made."""

    size_bytes: int
    """Bytes of the uncompressed tar."""

    stored_bytes: int
    has_disk: bool


class CompilePool:
    """At most `workers` processes at once, started when there is work and kept for the next.

    One place is kept free of layers whose blobs are still arriving: a slow registry must not stop
    layers that are there.
    """

    def __init__(self, workers: int, limits: LayerLimits) -> None:
        self.limits = limits
        self._idle: dict[WorkerProcess, asyncio.TimerHandle] = {}
        self._leaving: set[asyncio.Future[None]] = set()
        self._places = asyncio.Semaphore(workers)
        self._early_places = asyncio.Semaphore(max(workers - 1, 1))

    async def close(self) -> None:
        """End all idle workers; those at work end with their callers' cancellation."""
        while (worker := self._take_idle()) is not None:
            await worker.end()
        await asyncio.gather(*self._leaving)

    async def create_base(self, out: Path, size: int) -> None:
        """Make an empty file system in a new VMDK. Raises StoreFull or Internal."""
        async with self.worker() as worker:
            await worker.send({"base": {"out": str(out), "size": size}})
            await result_of(worker, lambda _inflated, _consumed: None)

    async def compile(
        self,
        feed: BlobFeed,
        *,
        parent: Path,
        out: Path,
        chain_id: Digest,
        diff_id: Digest,
        on_progress: Callable[[int, int], None],
    ) -> CompiledLayer:
        """Compile a layer into a VMDK at `out`, beginning while its blob still arrives.

        `on_progress` gets the inflated and the compressed bytes that were read.

        Raises:
            InvalidLayer, DigestMismatch, StoreFull: the layer's fault, or the disk's.
            What the feed failed with.
        """
        await feed.begun()
        async with contextlib.AsyncExitStack() as stack:
            if not feed.complete and not self._early_places.locked():
                await stack.enter_async_context(self._early_places)
            else:
                await feed.finished()
            worker = await stack.enter_async_context(self.worker())
            job = {
                "blob": str(feed.path),
                "blob_at_last": str(feed.final),
                "available": feed.available,
                "complete": feed.complete,
                "parent": str(parent),
                "out": str(out),
                "chain_id": chain_id,
                "diff_id": diff_id,
                "max_bytes": self.limits.max_bytes,
                "max_entries": self.limits.max_entries,
                "max_ratio": self.limits.max_ratio,
            }
            await worker.send({"layer": job})
            done = await self._attend(worker, feed, on_progress, follow=not job["complete"])
        return CompiledLayer(done["size"], done["stored"], done["has_disk"])

    async def _attend(
        self,
        worker: WorkerProcess,
        feed: BlobFeed,
        on_progress: Callable[[int, int], None],
        *,
        follow: bool,
    ) -> dict[str, Any]:
        if not follow:
            return await result_of(worker, on_progress)
        following = asyncio.ensure_future(_follow(worker, feed))
        result = asyncio.ensure_future(result_of(worker, on_progress))
        try:
            await asyncio.wait((following, result), return_when=asyncio.FIRST_EXCEPTION)
            if result.done():
                # Its error says more than the broken pipe that may come with it.
                return result.result()
            following.result()
            return await result
        finally:
            for task in (following, result):
                task.cancel()
            await asyncio.gather(following, result, return_exceptions=True)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[WorkerProcess]:
        """A worker of one's own; killed when the work in hand doesn't end well."""
        async with self._places:
            worker = self._take_idle() or await WorkerProcess.start()
            try:
                yield worker
            except BaseException:  # cancelled too: what it is at, nobody wants any more
                await worker.end()
                raise
            loop = asyncio.get_running_loop()
            self._idle[worker] = loop.call_later(IDLE_SECONDS, self._dismiss, worker)

    def _take_idle(self) -> WorkerProcess | None:
        """The worker that was at work last, if one is left that lives."""
        while self._idle:
            worker, timer = self._idle.popitem()
            timer.cancel()
            if worker.alive:
                return worker
        return None

    def _dismiss(self, worker: WorkerProcess) -> None:
        """Let an idle worker go."""
        if self._idle.pop(worker, None) is not None:
            self._leaving.add(task := asyncio.ensure_future(worker.dismiss()))
            task.add_done_callback(self._leaving.discard)


async def _follow(worker: WorkerProcess, feed: BlobFeed) -> None:
    """Tell a worker how far its blob has come."""
    async for available in feed.growth():
        await worker.send({"available": available})
    await worker.send({"complete": True})


async def result_of(
    worker: WorkerProcess,
    on_progress: Callable[[int, int], None],
    on_opened: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """What a worker answers in the end; raises the error that it names."""
    while True:
        message = await worker.receive()
        if "inflated" in message:
            on_progress(message["inflated"], message["consumed"])
        elif "opened" in message:
            on_opened()
        elif "error" in message:
            raise _error(message["error"], message["message"])
        else:
            done = message["done"]
            assert isinstance(done, dict)
            return done


def _error(kind: str, text: str) -> VicError:
    if kind in _ERRORS:
        prefix = "failed to register layer: " if kind in ("full", "failed") else ""
        return _ERRORS[kind](prefix + text)
    log.error("a layer can't be compiled: %s", text)
    return Internal("the layer can't be compiled; the storage service's log has the details")

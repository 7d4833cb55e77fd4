"""A blob on its way to the disk, readable while it grows."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import DigestMismatch

MOST_PARTS = 1024
"""Pieces that Linux writes at once (IOV_MAX)."""


class BlobFeed:
    """One blob's file and how much of it is there.

    Who downloads appends; who compiles reads the file and follows `growth`. The blob counts as
    complete only once all of its bytes are there and have the right digest.
    """

    def __init__(self, path: Path, digest: Digest, size: int, final: Path) -> None:
        """Create the file, which must not exist; `final` is where it goes once complete."""
        self.path = path
        self.final = final
        self.digest = digest
        self.size = size
        self.available = 0
        self.complete = False
        self.failed: BaseException | None = None
        self._hash = hashlib.sha256()
        self._changed = asyncio.Condition()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o444)

    @classmethod
    def stored(cls, path: Path, digest: Digest, size: int) -> BlobFeed:
        """A feed of a blob that is in the store already."""
        feed = cls.__new__(cls)
        feed.path, feed.final, feed.digest, feed.size = path, path, digest, size
        feed.available, feed.complete, feed.failed = size, True, None
        feed._fd = -1
        feed._changed = asyncio.Condition()
        return feed

    def write(self, parts: Sequence[bytes]) -> None:
        """Write and hash the next bytes, in at most `MOST_PARTS`; runs in a thread."""
        left = [memoryview(part) for part in parts]
        while left:
            written = os.writev(self._fd, left)
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]
        for part in parts:
            self._hash.update(part)

    async def arrived(self, count: int) -> None:
        """Announce bytes that were written."""
        async with self._changed:
            self.available += count
            self._changed.notify_all()

    async def verify(self) -> None:
        """All bytes have come: compare the digest.

        Raises:
            DigestMismatch: they are the wrong ones.
        """
        found = "sha256:" + self._hash.hexdigest()
        if self.available != self.size or found != self.digest:
            raise DigestMismatch(
                f"filesystem layer verification failed for digest {self.digest}: it is {found}"
            )
        async with self._changed:
            self.complete = True
            self._changed.notify_all()

    async def found(self, size: int) -> None:
        """Another process has put the blob into the store: what was begun here isn't needed.

        Raises:
            DigestMismatch: it isn't of the size that was promised.
        """
        if size != self.size:
            raise DigestMismatch(
                f"filesystem layer verification failed for digest {self.digest}: "
                f"it has {size} bytes"
            )
        self.discard()
        async with self._changed:
            self.path, self.available, self.complete = self.final, self.size, True
            self._changed.notify_all()

    def sync(self) -> None:
        """Have the file on the disk; runs in a thread."""
        os.fsync(self._fd)

    async def fail(self, error: BaseException) -> None:
        """Nothing more will come."""
        self.failed = error
        async with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will be written."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Close and delete the file."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    async def begun(self) -> None:
        """Wait for the first bytes. Raises what the download failed with."""
        async for available in self.growth():
            if available or self.complete:
                return

    async def finished(self) -> None:
        """Wait for the last byte. Raises what the download failed with."""
        async for _available in self.growth():
            pass

    async def growth(self) -> AsyncIterator[int]:
        """How many bytes there are, each time it has changed; ends when the blob is complete.

        Raises what the download failed with.
        """
        seen = -1
        while True:
            async with self._changed:
                await self._changed.wait_for(partial(self._has_news, seen))
            if self.failed is not None:
                raise self.failed
            if self.available > seen:
                seen = self.available
                yield seen
            if self.complete:
                return

    def _has_news(self, seen: int) -> bool:
        return self.available > seen or self.complete or self.failed is not None

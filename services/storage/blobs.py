"""Compressed layers as registries sent them; push and save need the very bytes.

blobs/sha256/<digest>
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from services.storage.files import (
    move_aside,
    nobody,
    staged_path,
    sweep_staged,
    sync_directory,
)
from services.storage.imagec.blob_feed import BlobFeed
from services.storage.imagec.digest import Digest

_NAME = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """Blobs by their digest."""

    def __init__(self, directory: Path, lives: Callable[[str], bool] = nobody) -> None:
        """Open the directory, made if need be.

        `lives` tells which other processes are at work in it.
        """
        self.directory = directory / "sha256"
        self.directory.mkdir(mode=0o770, parents=True, exist_ok=True)
        self._lives = lives
        self._sizes: dict[Digest, int] = {}
        self.refresh()

    def sweep(self) -> int:
        """Delete what processes that ended left half-made; returns how many entries. Blocks."""
        return sweep_staged(self.directory, self._lives)

    def refresh(self) -> None:
        """Know what there is by its files. Blocks."""
        there = {
            Digest(f"sha256:{entry.name}")
            for entry in self.directory.iterdir()
            if _NAME.fullmatch(entry.name)
        }
        self.look(there | set(self._sizes))

    def look(self, digests: Iterable[Digest]) -> None:
        """Know these as the files have them at the moment. Blocks."""
        for digest in digests:
            try:
                self._sizes[digest] = self.path(digest).stat().st_size
            except FileNotFoundError:
                self._sizes.pop(digest, None)

    def __contains__(self, digest: Digest) -> bool:
        """Whether a blob is there."""
        return digest in self._sizes

    def all(self) -> list[Digest]:
        """Every blob."""
        return list(self._sizes)

    def size(self, digest: Digest) -> int:
        """Bytes of a blob. Raises KeyError."""
        return self._sizes[digest]

    @staticmethod
    def turn(digest: Digest) -> str:
        """Return the name of the download of a blob among processes."""
        return f"blob-{digest.hex}"

    def path(self, digest: Digest) -> Path:
        """Where a blob lies, or would lie."""
        return self.directory / digest.hex

    def stored(self, digest: Digest) -> BlobFeed:
        """A feed of a blob that is there. Raises KeyError."""
        return BlobFeed.stored(self.path(digest), digest, self._sizes[digest])

    def begin(self, digest: Digest, size: int) -> BlobFeed:
        """A feed for a blob to come."""
        return BlobFeed(staged_path(self.directory), digest, size, self.path(digest))

    def publish(self, feed: BlobFeed) -> None:
        """Give a complete feed's file its name, durably."""
        assert feed.complete
        feed.sync()
        os.rename(feed.path, feed.final)
        feed.path = feed.final
        feed.close()
        sync_directory(self.directory)
        self._sizes[feed.digest] = feed.size

    def adopt(self, path: Path, digest: Digest, size: int) -> None:
        """Give a file of the same file system a blob's name, durably; its bytes are on the disk.

        Its digest is for the caller to have checked.
        """
        os.chmod(path, 0o444)
        os.rename(path, self.path(digest))
        sync_directory(self.directory)
        self._sizes[digest] = size

    def detach(self, digest: Digest) -> list[Path]:
        """Take a blob out of sight; what is returned is to be deleted."""
        self._sizes.pop(digest, None)
        doomed = move_aside(self.path(digest))
        return [] if doomed is None else [doomed]

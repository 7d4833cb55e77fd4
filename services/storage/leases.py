"""What must not be deleted for now, as all processes that share a store see it.

    leases/<process>-<number>.json

A lease counts while its process lives. Its file is written by who shares the store's lock and read
by who has it alone, so that it needs no care against being seen half-written, and no sync: no
process outlives a power cut.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from services.storage.files import from_json, process_name
from services.storage.imagec.digest import Digest
from services.storage.locks import Presence

_numbers = itertools.count()


class Lease:
    """Blobs and layers that must not be deleted for now."""

    def __init__(self, directory: Path, grow: Callable[[Lease], Awaitable[None]]) -> None:
        self.path = directory / f"{process_name()}-{next(_numbers)}.json"
        self.blobs: set[Digest] = set()
        self.layers: set[Digest] = set()
        self._grow = grow

    async def hold(self, *, blobs: Iterable[Digest] = (), layers: Iterable[Digest] = ()) -> None:
        """Keep these as well. What of them the store has then, it has until the lease ends.

        Raises OSError.
        """
        self.blobs.update(blobs)
        self.layers.update(layers)
        if self.blobs or self.layers:  # one of nothing has no file, which nobody would take away
            await self._grow(self)

    def save(self) -> None:
        """Let other processes see it. Blocks; the store's lock is for the caller to share."""
        self.path.write_text(
            json.dumps({"blobs": sorted(self.blobs), "layers": sorted(self.layers)})
        )


class Leases:
    """All leases on a store."""

    def __init__(self, directory: Path, presence: Presence) -> None:
        """Open the directory, made if need be. Raises OSError."""
        directory.mkdir(mode=0o770, parents=True, exist_ok=True)
        self.directory = directory
        self._presence = presence

    def held(self) -> tuple[set[Digest], set[Digest]]:
        """Return the blobs and layers that are held; files of the dead go. Blocks.

        The store's lock is for the caller to have alone.
        """
        blobs: set[Digest] = set()
        layers: set[Digest] = set()
        for path in self.directory.iterdir():
            if not self._presence.lives(path.name.partition("-")[0]):
                path.unlink(missing_ok=True)
                continue
            try:
                value = from_json(path)
            except FileNotFoundError:
                continue  # it has ended meanwhile, as one may without the lock
            blobs.update(map(Digest, value["blobs"]))
            layers.update(map(Digest, value["layers"]))
        return blobs, layers


class Pins:
    """The chains that containers' disks stand on, those of each owner.

    pins/<owner>/<chain ID>
    """

    def __init__(self, directory: Path, owner: str) -> None:
        """Open the directory, made if need be. Raises OSError."""
        self._directory = directory
        self._own = directory / owner
        self._own.mkdir(mode=0o770, parents=True, exist_ok=True)

    def add(self, chain_id: Digest) -> bool:
        """Keep a chain for the owner's disks; return whether it wasn't. Blocks. Raises OSError."""
        path = self._own / chain_id.hex
        if path.exists():
            return False
        path.touch(mode=0o660)
        return True

    def keep(self, chains: Iterable[Digest]) -> None:
        """Have exactly these kept for the owner. Blocks. Raises OSError."""
        wanted = {chain_id.hex for chain_id in chains}
        for path in self._own.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)
        for name in wanted:
            (self._own / name).touch(mode=0o660)

    def drop(self, chain_id: Digest) -> None:
        """Keep a chain no more for the owner. Blocks. Raises OSError."""
        (self._own / chain_id.hex).unlink(missing_ok=True)

    def all(self) -> set[Digest]:
        """Return the chains that anybody keeps. Blocks. Raises OSError."""
        return {
            Digest(f"sha256:{path.name}")
            for owner in self._directory.iterdir()
            for path in owner.iterdir()
        }

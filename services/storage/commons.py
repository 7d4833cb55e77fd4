"""A directory that several processes use at once: who may do what in it at which time.

lock          shared by who adds, held alone by who takes away; its content counts changes
turns/        locks of long work that is to be done once
processes/    a file for each process that is at work, which it holds
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from services.storage.files import process_name
from services.storage.locks import FileLock, Presence, turn

_COUNT_BYTES = 8


class Commons:
    """One process's part in a directory.

    `look` is called where the files may be others than this process knows; it has the lock, or
    shares it, at that time.
    """

    def __init__(self, root: Path, look: Callable[[], None]) -> None:
        """Take part from now on. Blocks. Raises OSError."""
        self._lock = root / "lock"
        self.turns = root / "turns"
        self.turns.mkdir(mode=0o770, exist_ok=True)
        self.presence = Presence(root / "processes", process_name())
        self._look = look
        self._seen = b""
        FileLock.take(self._lock).release()
        # For as long as it is used: the file is never removed.
        self._counter = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Take part no more."""
        self.presence.close()
        os.close(self._counter)

    @property
    def stale(self) -> bool:
        """Whether another process has changed something since this one has looked."""
        return os.pread(self._counter, _COUNT_BYTES, 0) != self._seen

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Keep everybody from taking anything away, and know what there is. Blocks.

        Raises OSError.
        """
        lock = FileLock.take(self._lock, shared=True)
        try:
            self._catch_up()
            yield
        finally:
            lock.release()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Have the directory for oneself, and know what there is. Blocks. Raises OSError."""
        lock = FileLock.take(self._lock)
        try:
            self._catch_up()
            # Before as well: who dies in the middle has told the others to look.
            self._count(lock.descriptor)
            yield
            self._count(lock.descriptor)
        finally:
            lock.release()

    def _catch_up(self) -> None:
        found = os.pread(self._counter, _COUNT_BYTES, 0)
        if found != self._seen:
            self._look()
            self._seen = found

    def _count(self, descriptor: int) -> None:
        number = int.from_bytes(os.pread(descriptor, _COUNT_BYTES, 0), "little") + 1
        self._seen = number.to_bytes(_COUNT_BYTES, "little")
        os.pwrite(descriptor, self._seen, 0)

    def forget_turns(self) -> None:
        """Remove the locks of those who were killed at their work. Blocks. Raises OSError."""
        for path in self.turns.iterdir():
            lock = FileLock.attempt(path)
            if lock is not None:
                lock.release(remove=True)

    @asynccontextmanager
    async def turn(self, work: str) -> AsyncIterator[None]:
        """Wait until no other process does a piece of work, and do it. Raises OSError."""
        async with turn(self.turns / work):
            yield

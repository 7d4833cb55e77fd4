"""Locks of files: what keeps processes that share a directory out of each other's way.

All are flock(2)'s, which the kernel lets go of when their holder ends, SIGKILL included: nothing
has to be broken, waited out or cleaned up after. Each acquisition opens its file anew, so that two
threads of one process exclude one another as two processes do.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

MODE = 0o660
"""Of a lock's file, less the umask: others of the store's group take it too."""


class FileLock:
    """A lock that is held, until `release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    @classmethod
    def take(cls, path: Path, *, shared: bool = False) -> FileLock:
        """Wait for a lock; its file is made if need be. Blocks. Raises OSError."""
        lock = cls._open(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        assert lock is not None
        return lock

    @classmethod
    def attempt(cls, path: Path, *, shared: bool = False) -> FileLock | None:
        """Take a lock unless somebody holds it. Raises OSError."""
        return cls._open(path, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)

    @classmethod
    def _open(cls, path: Path, how: int) -> FileLock | None:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
            try:
                fcntl.flock(descriptor, how)
                # Whoever held it before may have removed the file: then it locks nothing any more.
                if _is_at(descriptor, path):
                    return cls(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:  # whatever ends the wait, ^C too, leaves no descriptor
                os.close(descriptor)
                raise
            os.close(descriptor)

    def release(self, *, remove: bool = False) -> None:
        """Let go; `remove` the file before, which only who holds it alone may do."""
        if self.descriptor < 0:
            return
        if remove:
            with suppress(OSError):  # it holds nobody up, and a sweep finds it
                self.path.unlink(missing_ok=True)
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    own = os.fstat(descriptor)
    return (own.st_dev, own.st_ino) == (named.st_dev, named.st_ino)


def is_held(path: Path) -> bool:
    """Tell whether somebody holds a lock, shared or not."""
    if not path.exists():
        return False
    lock = FileLock.attempt(path)
    if lock is None:
        return True
    lock.release()
    return False


@asynccontextmanager
async def turn(path: Path) -> AsyncIterator[None]:
    """Hold a lock on work that may take long, waiting for it as long as it takes.

    The file is gone afterwards. Raises OSError.
    """
    lock = FileLock.attempt(path) or await _awaited(path)
    try:
        yield
    finally:
        lock.release(remove=True)


async def _awaited(path: Path) -> FileLock:
    """Wait in a thread of its own: one of the pool's would be lost to all others meanwhile."""
    loop = asyncio.get_running_loop()
    taken: asyncio.Future[FileLock] = loop.create_future()

    def deliver(lock: FileLock | None, error: OSError | None) -> None:
        if taken.done():  # who waited was cancelled
            if lock is not None:
                lock.release(remove=True)
        elif lock is not None:
            taken.set_result(lock)
        else:
            assert error is not None
            taken.set_exception(error)

    def wait() -> None:
        lock, error = None, None
        try:
            lock = FileLock.take(path)
        except OSError as failure:
            error = failure
        try:
            loop.call_soon_threadsafe(deliver, lock, error)
        except RuntimeError:  # the loop has ended meanwhile
            if lock is not None:
                lock.release(remove=True)

    threading.Thread(target=wait, name=f"turn {path.name}", daemon=True).start()
    return await taken


class Presence:
    """Which processes are at work in a directory: each holds a file that is named after it."""

    def __init__(self, directory: Path, token: str) -> None:
        """Be known as `token` from now on, until `close` or the process's end."""
        directory.mkdir(mode=0o770, parents=True, exist_ok=True)
        self._directory = directory
        self._own = FileLock.take(directory / token, shared=True)

    def lives(self, token: str) -> bool:
        """Tell whether a process of that name is at work."""
        return bool(token) and is_held(self._directory / token)

    def sweep(self) -> None:
        """Remove the files of processes that have ended."""
        for path in self._directory.iterdir():
            with suppress(OSError):
                lock = FileLock.attempt(path)
                if lock is not None:
                    lock.release(remove=True)

    def close(self) -> None:
        """Be gone."""
        self._own.release()

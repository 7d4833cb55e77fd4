"""Being told that files of a directory have changed, by whichever process of this machine."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# Source: inotify(7) and <sys/inotify.h>.
_IN_MODIFY = 0x2
_IN_MOVED_TO = 0x80
_IN_NONBLOCK = os.O_NONBLOCK
_IN_CLOEXEC = os.O_CLOEXEC
_BUFFER = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class DirectoryWatch:
    """Calls back when a file in a directory was written to, or has got its name."""

    def __init__(self, directory: Path, changed: Callable[[], None]) -> None:
        """Watch from now on, in the running loop. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._changed = changed
        self._descriptor = _checked(_libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
        try:
            name = os.fsencode(directory)
            _checked(_libc.inotify_add_watch(self._descriptor, name, _IN_MODIFY | _IN_MOVED_TO))
        except OSError:
            os.close(self._descriptor)
            raise
        self._loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        # Which file it was is all the same: who is called looks.
        with suppress(BlockingIOError):
            os.read(self._descriptor, _BUFFER)
        self._changed()


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

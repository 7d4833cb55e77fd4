"""Being told that a file has changed, by whichever process of this machine."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

# Source: inotify(7) and <sys/inotify.h>.
_IN_MODIFY = 0x2
_IN_MOVED_TO = 0x80
_IN_Q_OVERFLOW = 0x4000
_IN_NONBLOCK = os.O_NONBLOCK
_IN_CLOEXEC = os.O_CLOEXEC
_EVENT = struct.Struct("=iIII")  # struct inotify_event: watch, mask, cookie, length of the name
_BUFFER = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class FileWatch:
    """Calls back when a file was written to, or another one has got its name.

    Its directory is watched, so that it need not be there; what becomes of others in it is no news.
    """

    def __init__(self, path: Path, changed: Callable[[], None]) -> None:
        """Watch from now on, in the running loop. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._name = os.fsencode(path.name)
        self._changed = changed
        self._descriptor = _checked(_libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
        try:
            name = os.fsencode(path.parent)
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
        with suppress(BlockingIOError):
            news = os.read(self._descriptor, _BUFFER)
            if any(mask & _IN_Q_OVERFLOW or name == self._name for mask, name in _events(news)):
                self._changed()


def _events(news: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield what happened, and the name of the file that it happened to."""
    offset = 0
    while offset < len(news):
        _watch, mask, _cookie, length = _EVENT.unpack_from(news, offset)
        offset += _EVENT.size
        yield mask, news[offset : offset + length].rstrip(b"\0")
        offset += length


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

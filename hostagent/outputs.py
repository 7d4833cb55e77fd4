"""What a machine writes on the host: its console and its exit record, both bounded.

They are plain files, so that nothing is lost while the agent is away and QEMU never waits for it.
A file that grows past its bound is seen through inotify: a console is cut to its end, and a machine
that writes more than an exit record is reported. While the agent is away, RLIMIT_FSIZE bounds both.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

LARGEST_EXIT_RECORD = 64 * 1024
LARGEST_CONSOLE = 512 * 1024
CONSOLE_KEPT = 256 * 1024
CONSOLE_FILES = 256
"""Consoles of ended machines that are kept, the newest ones."""

MOST_CONSOLES = CONSOLE_FILES + CONSOLE_FILES // 4
"""When there are more the oldest go: not each machine's end looks at all of them."""

# A guest that prints without end wakes us so often, and grows past the bound for so long.
CONSOLE_PAUSE = 1.0

_IN_MODIFY = 0x2
_IN_NONBLOCK = 0o4000
_IN_CLOEXEC = 0o2000000
_EVENT = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class GrowthWatch:
    """Calls back with the names of files in a directory that were written to."""

    def __init__(self, directory: Path, grown: Callable[[str], None], pause: float = 0.0) -> None:
        """``pause`` is the time in seconds between two looks, however much is written."""
        self._loop = asyncio.get_running_loop()
        self._grown = grown
        self._pause = pause
        self._timer: asyncio.TimerHandle | None = None
        self._descriptor = _checked(_libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
        _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _IN_MODIFY))
        self._listen()

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _listen(self) -> None:
        self._loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        names = set()
        with suppress(BlockingIOError):
            data = os.read(self._descriptor, 64 * 1024)
            offset = 0
            while offset < len(data):
                *_, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                names.add(data[offset : offset + length].rstrip(b"\0").decode())
                offset += length
        # An overflown queue names no file; the next write to it will.
        for name in names - {""}:
            self._grown(name)
        if self._pause:
            self._loop.remove_reader(self._descriptor)
            self._timer = self._loop.call_later(self._pause, self._listen)


class Outputs:
    """The files of all machines, by their IDs."""

    def __init__(self, consoles: Path, exits: Path) -> None:
        self._consoles = consoles
        self._exits = exits

    def open_console(self, machine_id: str) -> int:
        """Begin a machine's console and return where QEMU writes it."""
        return _begin(self._consoles / machine_id)

    def open_exit(self, machine_id: str) -> int:
        """Begin a machine's exit record and return where QEMU writes it."""
        return _begin(self._exits / machine_id)

    def identities(self, machine_id: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return device and inode of a machine's console and exit record. Raises OSError."""
        found = [(directory / machine_id).stat() for directory in (self._consoles, self._exits)]
        console, record = ((one.st_dev, one.st_ino) for one in found)
        return console, record

    def watch(
        self, violation: Callable[[str], None], spoken: Callable[[str], None]
    ) -> list[GrowthWatch]:
        """Keep both kinds bounded.

        ``violation`` is told of a machine whose exit record is too long, ``spoken`` of each other
        that has grown.
        """

        def exit_grown(name: str) -> None:
            with suppress(FileNotFoundError):
                if (self._exits / name).stat().st_size > LARGEST_EXIT_RECORD:
                    os.truncate(self._exits / name, 0)
                    violation(name)
                else:
                    spoken(name)

        return [
            GrowthWatch(self._exits, exit_grown),
            GrowthWatch(self._consoles, self.shorten_console, CONSOLE_PAUSE),
        ]

    def shorten_console(self, name: str) -> None:
        """Cut a console that is too long to its end."""
        path = self._consoles / name
        with suppress(FileNotFoundError):
            if path.stat().st_size > LARGEST_CONSOLE:
                kept = _tail(path, CONSOLE_KEPT)
                # QEMU appends: what it writes between these two stands before what was kept.
                with path.open("r+b") as file:
                    file.truncate(0)
                with path.open("ab") as file:
                    file.write(kept)

    def console(self, machine_id: str, longest: int) -> bytes:
        """Return the end of a machine's console. Raises FileNotFoundError."""
        return _tail(self._consoles / machine_id, longest)

    def exit_record(self, machine_id: str) -> bytes:
        """Return what a machine left; empty where it left nothing."""
        try:
            with (self._exits / machine_id).open("rb") as file:
                return file.read(LARGEST_EXIT_RECORD)
        except FileNotFoundError:
            return b""

    def exit_record_from(self, machine_id: str, offset: int) -> tuple[bytes, float]:
        """Return what a machine left behind so many bytes, and when it last wrote, in Unix time."""
        try:
            with (self._exits / machine_id).open("rb", buffering=0) as file:
                at = os.fstat(file.fileno()).st_mtime
                return os.pread(file.fileno(), LARGEST_EXIT_RECORD, offset), at
        except FileNotFoundError:
            return b"", 0.0

    def rename(self, machine_id: str, wanted: str) -> None:
        """Keep a running machine's files under another name. Raises OSError."""
        for directory in (self._consoles, self._exits):
            os.replace(directory / machine_id, directory / wanted)

    def remove_exit(self, machine_id: str) -> None:
        """Remove a machine's exit record. Idempotent."""
        (self._exits / machine_id).unlink(missing_ok=True)

    def end(self, machine_id: str, running: Collection[str]) -> None:
        """Remove an ended machine's exit record; its console stays among the newest ones."""
        self.remove_exit(machine_id)
        if len(os.listdir(self._consoles)) > len(running) + MOST_CONSOLES:
            self._remove_old_consoles(running)

    def sweep(self, running: Collection[str]) -> None:
        """Remove exit records without a machine, and the oldest consoles without one."""
        for path in self._exits.iterdir():
            if path.name not in running:
                path.unlink(missing_ok=True)
        self._remove_old_consoles(running)
        for name in running:
            self.shorten_console(name)

    def _remove_old_consoles(self, running: Collection[str]) -> None:
        ended = [path for path in self._consoles.iterdir() if path.name not in running]
        ended.sort(key=lambda path: path.stat().st_mtime)
        for path in ended[:-CONSOLE_FILES]:
            path.unlink(missing_ok=True)


def _begin(path: Path) -> int:
    # A new inode: a machine of the same ID that is just ending can't write into it.
    path.unlink(missing_ok=True)
    # QEMU finds a descriptor only where its mode is the one that it would open with.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _tail(path: Path, longest: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - longest))
        return file.read(longest)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

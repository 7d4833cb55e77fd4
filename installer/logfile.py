"""Log files of bounded size."""

import os
import shutil
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
KEEP = 3
"""Predecessors kept beside a log file, as NAME.1 (the newest) to NAME.3."""


class RotatingLog:
    """A file that takes whole chunks of log lines and is put aside when it is full."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._file = path.open("ab", buffering=0)

    def write(self, chunk: bytes) -> None:
        """Append bytes; the file is put aside first when they would make it too long."""
        if self._file.tell() and self._file.tell() + len(chunk) > self._max_bytes:
            self._file.close()
            _shift(self._path, self._keep)
            self._path.rename(_numbered(self._path, 1))
            self._file = self._path.open("ab", buffering=0)
        self._file.write(chunk)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def cut_back(path: Path, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> bool:
    """Put aside the content of a log that another process holds open for appending.

    That process goes on with the same, now empty, file. What it writes between our copy and the
    cut is lost, which is why the services log through the watcher instead; the host agent can't,
    because it outlives the watcher. Tells whether the log was long enough.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    _shift(path, keep)
    shutil.copyfile(path, _numbered(path, 1))
    os.truncate(path, 0)
    return True


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _shift(path: Path, keep: int) -> None:
    _numbered(path, keep).unlink(missing_ok=True)
    for number in range(keep - 1, 0, -1):
        older = _numbered(path, number)
        if older.exists():
            older.rename(_numbered(path, number + 1))

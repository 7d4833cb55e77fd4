"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

STAGING_PREFIX = ".new-"
"""Beginning of the name of what isn't complete; a sweep removes what carries it."""


def process_name() -> str:
    """Return this process's name among those that share a directory; part of what it stages."""
    return _name_of(os.getpid())


@cache
def _name_of(_pid: int) -> str:
    # A process ID is used again, and another machine has the same ones.
    return secrets.token_hex(4)


def staged_path(directory: Path) -> Path:
    """Return a name in a directory for what isn't complete yet."""
    return directory / f"{STAGING_PREFIX}{process_name()}-{secrets.token_hex(8)}"


def stager(name: str) -> str:
    """Return the process that gave something staged its name, empty where that can't be told."""
    return name.removeprefix(STAGING_PREFIX).rpartition("-")[0]


def sync_directory(path: Path) -> None:
    """Have a directory's entries on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, data: bytes, mode: int = 0o660, *, synced: bool = False) -> None:
    """Write a new file; synced: its bytes are on the disk then, but its name isn't yet."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if synced:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_content(directory: Path) -> None:
    """Have all files of a directory, and their names, on the disk.

    The writing of all is begun before any is waited for, so that few commits of the file system's
    journal serve all: files that are synced as they are written take one each.
    """
    with ExitStack() as opened:
        descriptors = []
        for entry in os.scandir(directory):
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(os.close, descriptor)
            # To drop dirty pages Linux begins to write them, doesn't wait, and so keeps them.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            descriptors.append(descriptor)
        for descriptor in descriptors:
            os.fsync(descriptor)
    sync_directory(directory)


def replace_file(path: Path, data: bytes, mode: int = 0o660) -> None:
    """Give a file new content in one step."""
    staged = staged_path(path.parent)
    try:
        write_new(staged, data, mode, synced=True)
        os.rename(staged, path)
    finally:
        staged.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextmanager
def staged_directory(parent: Path) -> Iterator[Path]:
    """A new directory beside where it shall be, gone at the end unless `publish` has moved it."""
    staged = staged_path(parent)
    staged.mkdir(mode=0o770)
    try:
        yield staged
    finally:
        if staged.exists():
            shutil.rmtree(staged)


def publish(staged: Path, final: Path) -> None:
    """Give a staged directory its name, durably; `sync_content` comes before.

    Raises:
        OSError: there is something of that name (ENOTEMPTY), or the disk fails.
    """
    os.rename(staged, final)
    try:
        sync_directory(final.parent)
    except OSError:
        # Whose name can't be kept isn't there: it would be in the way of who tries again.
        os.rename(final, staged)
        raise


def move_aside(path: Path) -> Path | None:
    """Take a file or directory out of sight in one step; None where there is none.

    What is returned is to be deleted; after a crash a sweep does it.
    """
    doomed = staged_path(path.parent)
    try:
        os.rename(path, doomed)
    except FileNotFoundError:
        return None
    return doomed


def delete(path: Path) -> None:
    """Delete a file or a directory with all in it."""
    if path.is_dir() and not path.is_symlink():
        with suppress(FileNotFoundError):  # another process sweeps as well
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Take a file or directory away, durably: out of sight in one step, then its content."""
    doomed = move_aside(path)
    if doomed is not None:
        sync_directory(path.parent)
        delete(doomed)


def nobody(_process: str) -> bool:
    """Tell that no other process is at work."""
    return False


def sweep_staged(directory: Path, lives: Callable[[str], bool] = nobody) -> int:
    """Delete what a crash left half-made; returns how many entries.

    `lives` tells which other processes are at work: theirs is left alone.
    """
    doomed = [
        entry
        for entry in directory.iterdir()
        if entry.name.startswith(STAGING_PREFIX) and not lives(stager(entry.name))
    ]
    for entry in doomed:
        delete(entry)
    return len(doomed)


def sweep_inside(directory: Path, lives: Callable[[str], bool] = nobody) -> None:
    """Delete what a crash left half-made beside the files of something that is whole.

    Besides staged files these are disks that were not complete; who makes such is for the caller
    to know.
    """
    sweep_staged(directory, lives)
    for path in directory.glob(".*.partial"):
        path.unlink(missing_ok=True)


def to_json(value: Mapping[str, Any]) -> bytes:
    """A record as it stands in the store."""
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def from_json(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        ValueError: it isn't one.
        OSError: it can't be read.
    """
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not a record")
    return value

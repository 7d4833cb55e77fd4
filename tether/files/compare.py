"""What differs between the container's disk and its image's, whose file system it began as.

A file of the image that nobody has touched has the same inode on both: the tables of inodes tell
(``inodes.py``), or number and time of change. For all others owner, mode, size and time of
modification tell, and where these are the same as well, the content itself: nothing is taken for
changed that isn't, and no change is missed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from tether.files.failures import of_system

MODIFIED, ADDED, DELETED = "C", "A", "D"

_GONE = (FileNotFoundError, NotADirectoryError)
_PIECE = 256 * 1024
_ROOT_INODE = 2  # of ext4
# Mount points that are made before the container runs; empty, they are no change of its own.
# Source: moby, daemon/initlayer/setup_unix.go; what the tether mounts besides.
_MADE = frozenset(
    {
        *("/dev", "/dev/pts", "/dev/shm", "/dev/console", "/proc", "/sys"),  # noqa: S108 — names
        *("/.dockerenv", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab"),
        "/etc/machine-id",
    }
)
# Directories that are made with those, and no change either while nothing else is in them.
_MADE_ABOVE = frozenset({"/etc", "/dev"})


@dataclass(frozen=True)
class Change:
    """One path that differs; ``kind`` is a letter of Docker's."""

    kind: str
    path: str


class _Directory:
    """A directory that is being compared."""

    def __init__(self, path: str, kind: str, *, told: bool, in_image: bool, same: bool) -> None:
        self.path = path
        # What to tell of it once something in it has changed, unless that was told.
        self.kind = kind
        self.told = told
        self.in_image = in_image
        # Whether it has the image's entries, by name and inode.
        self.same = same
        self.entries: Iterator[_Pair] = iter(())


@dataclass(frozen=True)
class _Pair:
    """What has one name in a directory on both sides."""

    name: str
    ours: os.stat_result | None
    theirs: os.stat_result | None
    same: bool = False
    """It is a directory of the image's that nobody has touched."""


def compare(disk: str, image: str, touched: Container[int] | None = None) -> Iterator[Change]:
    """Yield what differs below two directories, by their names, a directory before its entries.

    A directory counts as modified where something in it is. Of what was removed with a directory
    only that is told. ``touched`` has the inodes that may not be what they are in the image, where
    that is known. Memory stays flat however many files there are. Raises FileError.
    """
    # Of files with many names (busybox's programs), which are compared once.
    linked: dict[tuple[int, int], bool] = {}
    same = touched is not None and _ROOT_INODE not in touched
    root = _Directory("", "", told=True, in_image=True, same=same)
    above: list[_Directory] = [_open(disk, image, root, touched)]
    while above:
        here = above[-1]
        pair = next(here.entries, None)
        if pair is None:
            above.pop()
            continue
        ours, theirs = pair.ours, pair.theirs
        path = f"{here.path}/{pair.name}"
        kind = "" if pair.same else _kind(disk, image, path, ours, theirs, linked)
        told = bool(kind) and not _is_made(disk, path, ours, theirs)
        if told:
            for directory in above:
                if not directory.told:
                    directory.told = True
                    yield Change(directory.kind, directory.path)
            yield Change(kind, path)
        if pair.same or (ours is not None and stat.S_ISDIR(ours.st_mode)):
            below = _Directory(
                path,
                kind or MODIFIED,
                told=told,
                in_image=pair.same or (theirs is not None and stat.S_ISDIR(theirs.st_mode)),
                same=pair.same,
            )
            above.append(_open(disk, image, below, touched))


def write_changes(changes: Iterable[Change], out: IO[bytes]) -> None:
    """Write changes as vic.tether.v1.FileTask has them."""
    for change in changes:
        out.write(f"{change.kind}{change.path}".encode("utf-8", "surrogateescape") + b"\0")


def _open(
    disk: str, image: str, directory: _Directory, touched: Container[int] | None
) -> _Directory:
    ours = _entries(disk + directory.path)
    if directory.same:
        theirs = ours
    else:
        theirs = _entries(image + directory.path) if directory.in_image else {}

    def pairs() -> Iterator[_Pair]:
        for name in sorted({*ours, *theirs}):
            mine, other = ours.get(name), theirs.get(name)
            if mine is not None and other is not None and touched is not None:
                inode = mine.inode()
                if inode == other.inode() and inode not in touched:
                    if mine.is_dir(follow_symlinks=False):
                        yield _Pair(name, None, None, same=True)
                    continue
            status = _status(other)
            if directory.same:
                status = _status_at(f"{image}{directory.path}/{name}")
            yield _Pair(name, _status(mine), status)

    directory.entries = pairs()
    return directory


def _entries(path: str) -> dict[str, os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return {entry.name: entry for entry in entries}
    except _GONE:
        return {}
    except OSError as error:
        raise of_system(error, "open", path) from error


def _status(entry: os.DirEntry[str] | None) -> os.stat_result | None:
    if entry is None:
        return None
    try:
        return entry.stat(follow_symlinks=False)
    except _GONE:
        return None


def _status_at(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except _GONE:
        return None
    except OSError as error:
        raise of_system(error, "lstat", path) from error


def _kind(
    disk: str,
    image: str,
    path: str,
    ours: os.stat_result | None,
    theirs: os.stat_result | None,
    linked: dict[tuple[int, int], bool],
) -> str:
    """Tell how a path differs; empty where it doesn't."""
    if ours is None:
        return DELETED if theirs is not None else ""
    if theirs is None:
        return ADDED
    if ours.st_ino == theirs.st_ino and ours.st_ctime_ns == theirs.st_ctime_ns:
        return ""
    pair = ours.st_ino, theirs.st_ino
    try:
        differs = linked.get(pair)
        if differs is None:
            differs = _differs(disk + path, image + path, ours, theirs)
            if ours.st_nlink > 1 and not stat.S_ISDIR(ours.st_mode):
                linked[pair] = differs
        return MODIFIED if differs else ""
    except _GONE:
        return MODIFIED
    except OSError as error:
        raise of_system(error, "open", path) from error


def _differs(
    ours_path: str, theirs_path: str, ours: os.stat_result, theirs: os.stat_result
) -> bool:
    if _attributes(ours) != _attributes(theirs) or _xattrs(ours_path) != _xattrs(theirs_path):
        return True
    if stat.S_ISDIR(ours.st_mode):
        # Its times change with its entries, which are told by themselves.
        return False
    if ours.st_mtime_ns != theirs.st_mtime_ns or ours.st_size != theirs.st_size:
        return True
    if ours.st_nlink > theirs.st_nlink:
        # A name that is new is to be a link to it.
        return True
    if stat.S_ISLNK(ours.st_mode):
        return os.readlink(ours_path) != os.readlink(theirs_path)
    return stat.S_ISREG(ours.st_mode) and not _same_content(ours_path, theirs_path)


def _attributes(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mode, status.st_uid, status.st_gid, status.st_rdev


def _xattrs(path: str) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _same_content(ours_path: str, theirs_path: str) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with (
        open(os.open(ours_path, flags), "rb", buffering=0) as ours,
        open(os.open(theirs_path, flags), "rb", buffering=0) as theirs,
    ):
        while piece := ours.read(_PIECE):
            if piece != theirs.read(len(piece)):
                return False
        return not theirs.read(1)


def _is_made(
    disk: str, path: str, ours: os.stat_result | None, theirs: os.stat_result | None
) -> bool:
    """Tell whether a path is there only because the container's VM needed it."""
    if ours is None or theirs is not None:
        return False
    if path in _MADE_ABOVE and stat.S_ISDIR(ours.st_mode):
        return True
    if path not in _MADE:
        return False
    if stat.S_ISDIR(ours.st_mode):
        return not _entries(disk + path)
    if path == "/etc/mtab" and stat.S_ISLNK(ours.st_mode):
        return os.readlink(disk + path) == "/proc/mounts"
    return stat.S_ISREG(ours.st_mode) and ours.st_size == 0

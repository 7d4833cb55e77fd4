"""Giving directories, and what is in them, to users who may change the names in there meanwhile.

Root that goes by path below a facet's directory goes wherever a link of the facet's leads by then.
So a directory is opened as one, never through a link, and what is below is reached from there.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from installer.roles import UID_BASE, UIDS_PER_SLOT
from installer.slots import SLOTS

Owners = Callable[[os.stat_result], tuple[int, int]]
"""Returns whose, by user and group, a file is to be that is whose its status says."""


@contextmanager
def open_directory(path: Path, mode: int = 0o700) -> Iterator[int]:
    """Give a directory, made where it is missing, as a descriptor.

    Raises OSError: NotADirectoryError for a link in its place, wherever that leads.
    """
    with suppress(FileExistsError):
        path.mkdir(mode)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise NotADirectoryError(error.errno, "a link or a file is in its place", path) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_plainly(path: Path, most: int) -> bytes:
    """Read a file that somebody else may have put there: never through a link, nor waiting for one.

    Raises OSError; ValueError for what is no file, or one of more than `most` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            raise ValueError(f"{path} is not a file of at most {most} bytes")
        return file.read(most)


def own_directory(path: Path, uid: int, gid: int, mode: int) -> None:
    """Make a directory, or mend its owner and mode. Raises OSError."""
    with open_directory(path) as descriptor:
        status = os.fstat(descriptor)
        if (status.st_uid, status.st_gid) != (uid, gid):
            os.fchown(descriptor, uid, gid)
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(descriptor, mode)


def own_tree(path: Path, uid: int, gid: int) -> None:
    """Make a directory that one user alone may enter, and give it and all that is in it.

    A file of several names is given only where it is a suite's: a link may be to anybody's. Raises
    OSError.
    """

    def owners(status: os.stat_result) -> tuple[int, int]:
        ours = UID_BASE <= status.st_uid < UID_BASE + SLOTS * UIDS_PER_SLOT
        if not ours and status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            return status.st_uid, status.st_gid
        return uid, gid

    with open_directory(path) as descriptor:
        give_entry(descriptor, ".", owners)
        give_below(descriptor, owners)


def give_below(descriptor: int, owners: Owners, *, keep_modes: bool = False) -> None:
    """Give all that is below a directory to whom it is to belong. Raises OSError.

    What goes meanwhile is left out. With `keep_modes` files keep setuid and setgid.
    """
    for _, directories, files, parent in os.fwalk(".", dir_fd=descriptor, onerror=_refuse):
        for name in (*directories, *files):
            with suppress(FileNotFoundError):
                give_entry(parent, name, owners, keep_modes=keep_modes)


def give_entry(parent: int, name: str, owners: Owners, *, keep_modes: bool = False) -> None:
    """Give what a directory has by a name, which may be a link, to whom it is to belong.

    Raises OSError.
    """
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if owners(status) == (status.st_uid, status.st_gid):
        return
    # Of what is opened now nobody can make something else.
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        status = os.fstat(descriptor)
        itself = f"/proc/self/fd/{descriptor}"
        os.chown(itself, *owners(status))
        if keep_modes and not stat.S_ISLNK(status.st_mode):
            os.chmod(itself, stat.S_IMODE(status.st_mode))  # chown clears them
    finally:
        os.close(descriptor)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error

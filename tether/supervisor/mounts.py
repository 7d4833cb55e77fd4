"""Mounts volumes and tmpfs over the container's root, from inside of it."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from tether.guestconfig import Mount
from tether.supervisor import syscalls
from tether.supervisor.copyup import copy_up
from tether.supervisor.directories import make_directories
from tether.supervisor.syscalls import mount

TMPFS_FLAGS = {
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "sync": syscalls.MS_SYNCHRONOUS,
    "dirsync": syscalls.MS_DIRSYNC,
    "noatime": syscalls.MS_NOATIME,
    "nodiratime": syscalls.MS_NODIRATIME,
    "strictatime": syscalls.MS_STRICTATIME,
}
"""Words of mount(8)."""


def make_mounts(wanted: list[dict[str, Any]], trees: list[int]) -> None:
    """Make the mounts in their order; ``trees`` are detached mounts, one for each volume.

    The caller sees the container's root as its own, so paths lead nowhere else. Raises OSError.
    """
    mounts = [Mount(**fields) for fields in wanted]
    descriptors = iter(trees)
    placed = [(one, None if one.disk is None else next(descriptors)) for one in mounts]
    for one, tree in placed:
        check_target(one.target, is_file=_is_file(tree))
    # What the image has must be copied before something is mounted over it.
    for one, tree in placed:
        if tree is not None and one.copy_up and not _is_file(tree):
            _fill(one.target, tree)
    for one, tree in placed:
        was_there = make_target(one.target, is_file=_is_file(tree))
        if tree is None:
            _mount_tmpfs(one, was_there=was_there)
            continue
        if one.readonly:
            syscalls.make_read_only(tree)
        syscalls.move_mount(tree, one.target, follow=True)


def _fill(target: str, tree: int) -> None:
    root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
    try:
        copy_up(target, root)
    finally:
        os.close(root)


def _is_file(tree: int | None) -> bool:
    """Tell whether a volume's subpath is a file, which is mounted on one."""
    return tree is not None and not stat.S_ISDIR(os.fstat(tree).st_mode)


def make_target(path: str, *, is_file: bool) -> bool:
    """Make what is mounted on, where the image has nothing there; whether it has.

    That is what a link leads to, as under runc. Raises OSError.
    """
    real = os.path.realpath(path)
    if os.path.lexists(real):
        check_target(path, is_file=is_file)
        return True
    if is_file:
        make_directories(os.path.dirname(real))
        os.close(os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    else:
        make_directories(real)
    return False


def check_target(path: str, *, is_file: bool) -> None:
    """Raise OSError where the image has a file in a directory's place, or the reverse."""
    real = os.path.realpath(path)
    if not os.path.lexists(real) or os.path.isdir(real) != is_file:
        return
    if is_file:
        message = f"cannot mount a file on {path}, which is a directory: is a directory"
        raise IsADirectoryError(errno.EISDIR, message)
    message = f"cannot mount a directory on {path}, which is a file: not a directory"
    raise NotADirectoryError(errno.ENOTDIR, message)


def _mount_tmpfs(wanted: Mount, *, was_there: bool) -> None:
    flags = syscalls.MS_RDONLY if wanted.readonly else 0
    for word in wanted.flags:
        flags |= TMPFS_FLAGS[word]
    data = wanted.data
    if was_there:
        # The image's mode, as under runc, where no other is asked for: the last one counts.
        mode = stat.S_IMODE(os.stat(wanted.target).st_mode)
        data = f"mode={mode:o},{data}".rstrip(",")
    mount("tmpfs", wanted.target, "tmpfs", flags, data)

"""Copies an image's files into an empty volume, all of them or none.

The volume's root carries a mark while the copy is at work: a volume that has it holds nothing that
anybody but us has written, and is emptied by whoever mounts it next.
"""

from __future__ import annotations

import errno
import os
import stat

from tether.supervisor import syscalls

COPY_UP_MARK = "trusted.vic.copy_up"
"""Name of the extended attribute; the storage service looks for it as well."""

_CHUNK = 1 << 24
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_marked(root: int) -> bool:
    """Whether a copy into this volume was begun and not ended."""
    return COPY_UP_MARK in os.listxattr(root)


def clear(root: int) -> None:
    """Delete everything in a directory."""
    for entry in list(os.scandir(root)):
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=root)
            continue
        below = os.open(entry.name, _OPEN_DIRECTORY, dir_fd=root)
        try:
            clear(below)
        finally:
            os.close(below)
        os.rmdir(entry.name, dir_fd=root)


def copy_up(source: str, volume: int) -> None:
    """Copy a directory with all in it into a volume, where that is empty.

    ``volume`` is a descriptor of its root, good for reading. A source that isn't there has nothing
    to give. Raises OSError.
    """
    if os.listdir(volume):
        return
    try:
        origin = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.setxattr(volume, COPY_UP_MARK, b"1")
        syscalls.sync_file_system(volume)
        _Copy(volume).directory(origin, volume)
        syscalls.sync_file_system(volume)
        os.removexattr(volume, COPY_UP_MARK)
    finally:
        os.close(origin)


class _Copy:
    """One copy; hard links among what is copied are kept."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._links: dict[tuple[int, int], str] = {}

    def directory(self, origin: int, copy: int, path: str = "") -> None:
        """Copy all that is in a directory, then what is known of itself."""
        for name in os.listdir(origin):
            status = os.stat(name, dir_fd=origin, follow_symlinks=False)
            below = f"{path}{name}"
            if stat.S_ISDIR(status.st_mode):
                self._subdirectory(name, origin, copy, below)
            elif not self._link(name, status, copy, below):
                self._other(name, status, origin, copy)
        _copy_attributes(origin, copy)
        status = os.fstat(origin)
        os.fchown(copy, status.st_uid, status.st_gid)
        os.fchmod(copy, stat.S_IMODE(status.st_mode))
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _subdirectory(self, name: str, origin: int, copy: int, path: str) -> None:
        os.mkdir(name, 0o700, dir_fd=copy)
        source = os.open(name, _OPEN_DIRECTORY, dir_fd=origin)
        try:
            target = os.open(name, _OPEN_DIRECTORY, dir_fd=copy)
            try:
                self.directory(source, target, f"{path}/")
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _link(self, name: str, status: os.stat_result, copy: int, path: str) -> bool:
        """Make another link to what was copied under another name; whether it was."""
        if status.st_nlink < 2:
            return False
        first = self._links.setdefault((status.st_dev, status.st_ino), path)
        if first == path:
            return False
        os.link(first, name, src_dir_fd=self._root, dst_dir_fd=copy, follow_symlinks=False)
        return True

    def _other(self, name: str, status: os.stat_result, origin: int, copy: int) -> None:
        mode = status.st_mode
        if stat.S_ISREG(mode):
            self._file(name, status, origin, copy)
            return
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=origin), name, dir_fd=copy)
        elif stat.S_ISSOCK(mode):
            return  # of a server that isn't there
        else:
            os.mknod(name, mode, status.st_rdev, dir_fd=copy)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=copy, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            os.chmod(name, stat.S_IMODE(mode), dir_fd=copy)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=copy, follow_symlinks=False)

    def _file(self, name: str, status: os.stat_result, origin: int, copy: int) -> None:
        flags = os.O_NOFOLLOW | os.O_CLOEXEC
        source = os.open(name, flags | os.O_RDONLY, dir_fd=origin)
        try:
            target = os.open(name, flags | os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=copy)
            try:
                _copy_data(source, target, status.st_size)
                os.fchown(target, status.st_uid, status.st_gid)
                # After the owner, whose change takes capabilities and set-user-ID bits away.
                _copy_attributes(source, target)
                os.fchmod(target, stat.S_IMODE(status.st_mode))
                os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(target)
        finally:
            os.close(source)


def _copy_data(source: int, target: int, size: int) -> None:
    """Copy what a file holds; holes stay holes."""
    os.truncate(target, size)
    start = 0
    while start < size:
        try:
            start = os.lseek(source, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole is left
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            sent = os.sendfile(target, source, start, min(end - start, _CHUNK))
            if sent == 0:
                return
            start += sent


def _copy_attributes(source: int, target: int) -> None:
    for name in os.listxattr(source):
        os.setxattr(target, name, os.getxattr(source, name))

"""A path of the container as tar: PAX, so that names and times of any kind survive."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from typing import IO

from tether.files.failures import of_system
from tether.files.paths import Description, base

_PIECE = 256 * 1024
_XATTR = "SCHILY.xattr."
# POSIX ACLs, file capabilities and what users set; security labels belong to the guest's kernel.
_XATTRS_KEPT = ("user.", "security.capability", "system.posix_acl_")
_GONE = (FileNotFoundError, NotADirectoryError)
_NANO = 1_000_000_000


def pack(path: str, top: Description, out: IO[bytes], *, export: bool = False) -> None:
    """Write everything below a described absolute path, its entries named as Docker names them.

    What the kernel makes up (/proc, /sys and their like) is an empty directory, but for who asks
    for something there; volumes are gone into. With ``export`` the path's own file system is all
    there is: what is mounted on it is empty, directory or file, and names begin below the path.

    What goes away meanwhile is left out; sockets, which tar has no word for, are too. Memory stays
    flat however large a file and however many there are. Raises FileError.
    """
    name = base(path)
    with stream_tar(out) as tar:
        links: dict[tuple[int, int], str] = {}
        if not stat.S_ISDIR(top.mode):
            add(tar, path, name, links)
            return
        try:
            device = os.lstat(path).st_dev
        except OSError as error:
            raise of_system(error, "lstat", path) from error

        def enters(status: os.stat_result) -> bool:
            """What has no device of its own, the kernel makes up."""
            return status.st_dev == device or (not export and os.major(status.st_dev) != 0)

        name, top_path = ("", "") if name == "/" else (name, path)
        for below in _walk(top_path, enters):
            if not export:
                add(tar, top_path + below or "/", name + below or "/", links)
            elif below:
                add(tar, top_path + below, below[1:], links, device)


def stream_tar(out: IO[bytes]) -> tarfile.TarFile:
    """Begin a tar that is never looked back at."""
    return tarfile.open(
        fileobj=out,
        mode="w|",
        format=tarfile.PAX_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
        bufsize=_PIECE,
    )


def _walk(top: str, enters: Callable[[os.stat_result], bool]) -> Iterator[str]:
    """Every path below, each relative with its leading "/", directories before their entries."""
    yield ""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            names = sorted(os.listdir(top + below or "/"))
        except _GONE:
            continue
        except OSError as error:
            raise of_system(error, "open", top + below) from error
        for entry in names:
            path = f"{below}/{entry}"
            try:
                status = os.lstat(top + path)
            except _GONE:
                continue
            yield path
            if stat.S_ISDIR(status.st_mode) and enters(status):
                waiting.append(path)


def add(
    tar: tarfile.TarFile,
    path: str,
    name: str,
    links: dict[tuple[int, int], str],
    device: int | None = None,
) -> None:
    """Add one path; without content where it isn't on the device, if one is given.

    ``links`` knows the first name of each file that has several. Raises FileError.
    """
    try:
        status = os.lstat(path)
        member = _member(path, name, status)
        if member is None:
            return
        if device not in (None, status.st_dev):
            member.size = 0
            tar.addfile(member)
            return
        if member.isreg() and status.st_nlink > 1:
            first = links.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                member.type, member.linkname, member.size = tarfile.LNKTYPE, first, 0
        if not member.isreg():
            tar.addfile(member)
        else:
            _add_content(tar, path, member, status)
    except _GONE:
        return
    except OSError as error:
        raise of_system(error, "open", path) from error
    # A stream never looks back, and the list would grow with the number of files.
    tar.members.clear()  # type: ignore[attr-defined] # typeshed has no such attribute


def _member(path: str, name: str, status: os.stat_result) -> tarfile.TarInfo | None:
    mode = status.st_mode
    member = tarfile.TarInfo(name)
    if stat.S_ISREG(mode):
        member.size = status.st_size
    elif stat.S_ISDIR(mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISFIFO(mode):
        member.type = tarfile.FIFOTYPE
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        member.type = tarfile.CHRTYPE if stat.S_ISCHR(mode) else tarfile.BLKTYPE
        member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    else:
        return None
    member.mode = stat.S_IMODE(mode)
    member.uid, member.gid = status.st_uid, status.st_gid
    seconds, fraction = divmod(status.st_mtime_ns, _NANO)
    member.mtime = seconds
    headers = {} if stat.S_ISLNK(mode) else _xattrs(path)
    if fraction:
        headers["mtime"] = f"{seconds}.{fraction:09d}"
    member.pax_headers = headers
    return member


def _xattrs(path: str) -> dict[str, str]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}  # a file system without any, such as proc
    found = {}
    for name in names:
        if name.startswith(_XATTRS_KEPT):
            value = os.getxattr(path, name, follow_symlinks=False)
            found[_XATTR + name] = value.decode("utf-8", "surrogateescape")
    return found


def _add_content(
    tar: tarfile.TarFile, path: str, member: tarfile.TarInfo, status: os.stat_result
) -> None:
    """Add a regular file with exactly its size's bytes, should it shrink or grow meanwhile."""
    # Not to wait for a writer, should it have become a FIFO.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        now = os.fstat(descriptor)
        if not os.path.samestat(now, status):
            return
        tar.addfile(member, _Exactly(file))  # type: ignore[arg-type]


class _Exactly:
    """A file that goes on with zeros after its end, as a sparse one does."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self._file.read(size - len(data))):
            data += piece
        return data + bytes(size - len(data))

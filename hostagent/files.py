"""Opening files whose paths come from a caller, without being led anywhere else.

The agent is root; a path it is given may have been prepared by whoever took another service over.
Every path is resolved below a known directory, by descriptor, with no link followed on the way
(openat2, Linux 5.6), and what was opened is checked before QEMU gets it.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from portlayer.errors import InvalidArgument, NotFound, Reason

# <linux/openat2.h>
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_AT_FDCWD = -100

# First bytes of a sparse VMDK (Virtual Disk Format 5.0). A file with a text descriptor instead
# would make QEMU look for its extents by name.
_SPARSE_VMDK = b"KDMV"
_WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

_libc = ctypes.CDLL(None, use_errno=True)


def open_beneath(directory: Path, relative: str, flags: int) -> int:
    """Open a file below a directory; no part of ``relative`` may be a link, or lead out.

    Raises OSError: ELOOP for a link, EXDEV for a way out.
    """
    how = struct.pack(
        "=QQQ",
        flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK,
        0,
        _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS,
    )
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor = _libc.syscall(_SYS_OPENAT2, root, relative.encode(), how, len(how))
    finally:
        os.close(root)
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), relative)
    return int(descriptor)


def open_disk(path: str, stores: Iterable[Path], *, writable: bool) -> int:
    """Open a VMDK of a chain: the machine's own (``writable``), or a sealed layer.

    Raises InvalidArgument (INVALID_MACHINE) where it is not what it should be, NotFound
    (DISK_NOT_FOUND) where it isn't there.
    """
    return _open(path, stores, writable=writable, sealed=not writable)


def open_volume(path: str, stores: Iterable[Path], *, read_only: bool) -> int:
    """Open the VMDK of a volume, which others may write at other times. Raises as open_disk."""
    return _open(path, stores, writable=not read_only, sealed=False)


def _open(path: str, stores: Iterable[Path], *, writable: bool, sealed: bool) -> int:
    store, relative = _split(path, stores)
    try:
        descriptor = open_beneath(store, relative, os.O_RDWR if writable else os.O_RDONLY)
    except FileNotFoundError as error:
        raise NotFound(f"there is no disk {path}", Reason.DISK_NOT_FOUND, path=path) from error
    except OSError as error:
        raise _invalid(path, error.strerror or "cannot be opened") from error
    try:
        _check_disk(path, descriptor, writable=writable, sealed=sealed)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_bootstrap(directory: Path, name: str) -> int:
    """Open a kernel or image that root alone can change. Raises NotFound (BOOTSTRAP_NOT_FOUND)."""
    descriptor = -1
    try:
        # The directory itself may be a link into the machine's cache.
        descriptor = open_beneath(Path(os.path.realpath(directory)), name, os.O_RDONLY)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o022:
            raise PermissionError(f"{name} is no file that root alone can change")
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise NotFound(
            f"the bootstrap image {directory.name} can't be used: {error}",
            Reason.BOOTSTRAP_NOT_FOUND,
            digest=directory.name,
        ) from error
    return descriptor


def _split(path: str, stores: Iterable[Path]) -> tuple[Path, str]:
    """Return the store that a path lies in, and the rest of the path, by its letters alone."""
    for store in stores:
        prefix = f"{store}/"
        if path.startswith(prefix) and len(path) > len(prefix):
            return store, path[len(prefix) :]
    raise _invalid(path, "does not lie in a store of this instance")


def _check_disk(path: str, descriptor: int, *, writable: bool, sealed: bool) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _invalid(path, "is no regular file")
    if writable and not status.st_mode & stat.S_IWUSR:
        raise _invalid(path, "is sealed, and can't be a machine's own disk")
    if sealed and status.st_mode & _WRITE_BITS:
        raise _invalid(path, "is not sealed (mode 0444), and can't be a layer")
    if os.pread(descriptor, len(_SPARSE_VMDK), 0) != _SPARSE_VMDK:
        raise _invalid(path, "is no sparse VMDK")


def _invalid(path: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"disk {path} {why}", Reason.INVALID_MACHINE, field="disk_chain", path=path
    )

"""Does one piece of work on the container's files, and says how it went."""

from __future__ import annotations

import json
import os
import resource
import stat
from collections.abc import Callable, Container
from dataclasses import asdict
from typing import IO, NoReturn

from tether.files.compare import compare, write_changes
from tether.files.failures import FileError, FileFailure, of_system
from tether.files.layer import write_layer
from tether.files.pack import pack
from tether.files.paths import Description, absolute, describe
from tether.files.unpack import unpack
from tether.supervisor.request import FileRequest
from tether.supervisor.users import UnknownUserError, resolve

# An archive may claim a header of any length, which is read into memory.
_MOST_MEMORY = 512 * 1024 * 1024
_ABOVE_ALL_DESCRIPTORS = (1 << 31) - 1
_FAILED = 1

DISK = "/disk"
"""Where the container's own disk is for who compares it."""
IMAGE = "/image"
"""Where its image's is."""


def carry_out(request: FileRequest, enter: Callable[[], Container[int] | None]) -> NoReturn:
    """Do it with standard input and output, in the root that ``enter`` goes to; ends the process.

    ``enter`` returns the inodes that may differ from the image's, where that is known; it raises
    OSError, ValueError.
    """
    code = 0
    try:
        touched = enter()
        # The supervisor's links and ports are none of this work's, nor of who may look at it.
        os.closerange(3, _ABOVE_ALL_DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
        os.umask(0)
        os.chdir("/")
        with open(0, "rb", closefd=False) as source, open(1, "wb", closefd=False) as out:
            do(request, source, out, touched)
    except BrokenPipeError:
        code = _FAILED  # whoever asked is gone
    except FileError as error:
        code = _fail(error.failure, str(error))
    except Exception as error:  # noqa: BLE001 — the last line of the child: whatever it was, say it
        code = _fail(FileFailure.FAILED, f"{type(error).__name__}: {error}")
    os._exit(code)


def _fail(failure: FileFailure, message: str) -> int:
    text = message.encode("utf-8", "replace").decode()
    os.write(2, json.dumps({"kind": failure.value, "message": text[:1000]}).encode())
    return _FAILED


def do(
    request: FileRequest,
    source: IO[bytes],
    out: IO[bytes],
    touched: Container[int] | None = None,
) -> None:
    """Do it. Raises FileError, OSError."""
    path = absolute(request.path)
    match request.task:
        case "write":
            _write(path, request, source)
        case "changes":
            _say(describe(DISK), out)
            write_changes(compare(DISK, IMAGE, touched), out)
        case "layer":
            _say(describe(DISK), out)
            write_layer(compare(DISK, IMAGE, touched), DISK, out)
        case "read":
            top = describe(path)
            _say(top, out)
            # A "." at the end stays, for the entries are to be named so.
            whole = path if path.endswith("/.") else path.rstrip("/") or "/"
            pack(whole, top, out, export=request.export)
        case _:
            _say(describe(path), out)
    out.flush()


def _say(what: Description, out: IO[bytes]) -> None:
    fields = asdict(what)
    for name in ("name", "link_target"):
        fields[name] = fields[name].encode("utf-8", "replace").decode()
    out.write(json.dumps(fields).encode() + b"\n")


def _write(path: str, request: FileRequest, source: IO[bytes]) -> None:
    try:
        real = os.path.realpath(path, strict=True)
        status = os.lstat(real)
        read_only = os.statvfs(real).f_flag & os.ST_RDONLY
    except OSError as error:
        raise of_system(error, "lstat", path) from error
    if not stat.S_ISDIR(status.st_mode):
        raise FileError(FileFailure.NOT_DIRECTORY, "extraction point is not a directory")
    of_root = status.st_dev == os.lstat("/").st_dev
    if read_only or (of_root and request.root_read_only):
        what = "container rootfs" if of_root else "mounted volume"
        raise FileError(FileFailure.READ_ONLY, f"{what} is marked read-only")
    owner = None
    if request.owner:
        try:
            user = resolve(request.owner, [])
        except UnknownUserError as error:
            raise FileError(FileFailure.INVALID, str(error)) from error
        owner = user.uid, user.gid
    try:
        unpack(real, source, owner, keep_kinds=request.no_overwrite_dir_non_dir)
    finally:
        if request.sync:
            os.sync()

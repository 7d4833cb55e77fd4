"""Members of layers, and the tar that they make."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass

EPOCH = 1_600_000_000
"""Time of every file, 2020-09-13."""


@dataclass(frozen=True)
class Entry:
    """One member of a layer's tar."""

    info: tarfile.TarInfo
    data: bytes = b""


def _info(path: str, kind: bytes, mode: int, uid: int, gid: int, mtime: float) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, gid, mtime
    return info


def file(
    path: str,
    data: bytes | str = b"",
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: float = EPOCH,
    xattrs: dict[str, bytes] | None = None,
) -> Entry:
    """A regular file; `xattrs` go into PAX records as Docker writes them."""
    content = data.encode() if isinstance(data, str) else data
    info = _info(path, tarfile.REGTYPE, mode, uid, gid, mtime)
    info.size = len(content)
    info.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in (xattrs or {}).items()
    }
    return Entry(info, content)


def directory(path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    """A directory."""
    return Entry(_info(path, tarfile.DIRTYPE, mode, uid, gid, EPOCH))


def symlink(path: str, target: str) -> Entry:
    """A symbolic link."""
    info = _info(path, tarfile.SYMTYPE, 0o777, 0, 0, EPOCH)
    info.linkname = target
    return Entry(info)


def hardlink(path: str, target: str, *, mode: int = 0o644) -> Entry:
    """A hard link to another member or to a file of a lower layer.

    Archives repeat the file's mode, which dockerd gives the file once more.
    """
    info = _info(path, tarfile.LNKTYPE, mode, 0, 0, EPOCH)
    info.linkname = target
    return Entry(info)


def device(path: str, *, major: int, minor: int, mode: int = 0o666, block: bool = False) -> Entry:
    """A character or block device."""
    info = _info(path, tarfile.BLKTYPE if block else tarfile.CHRTYPE, mode, 0, 0, EPOCH)
    info.devmajor, info.devminor = major, minor
    return Entry(info)


def whiteout(path: str) -> Entry:
    """Takes a file or tree of the lower layers away."""
    parent, _, name = path.rpartition("/")
    return file(f"{parent}/.wh.{name}" if parent else f".wh.{name}", mode=0)


def opaque(path: str) -> Entry:
    """Takes away everything that lower layers put into a directory."""
    return file(f"{path}/.wh..wh..opq", mode=0)


def make_tar(entries: Iterable[Entry]) -> bytes:
    """The entries as one PAX tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            tar.addfile(entry.info, io.BytesIO(entry.data) if entry.info.isreg() else None)
    return out.getvalue()

"""Volume stores by URL: directories of this host, or of file servers that it has mounted."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from installer.errors import PreconditionError, UsageError
from installer.instance import Instance
from installer.ownership import own_tree
from installer.roles import SERVICES, uid_of
from portlayer.identity import Role

RESERVED = "default"
"""Name of the store inside the data directory."""

MOUNTS = Path("/proc/self/mountinfo")

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def parse_stores(entries: tuple[str, ...]) -> dict[str, str]:
    """Return stores' URLs by name, of entries ``NAME=URL``; one empty entry means none.

    Raises UsageError.
    """
    stores: dict[str, str] = {}
    for entry in entries:
        if not entry and len(entries) == 1:
            return {}
        name, given, url = entry.partition("=")
        if not given or not _NAME.fullmatch(name):
            raise UsageError(
                f"invalid --volume-store {entry!r}: expected NAME=URL, such as "
                "fast=/srv/volumes or nas=nfs://server/export"
            )
        if name == RESERVED:
            raise UsageError(
                f"invalid --volume-store {entry!r}: {RESERVED} is the store inside the data "
                "directory"
            )
        if name in stores:
            raise UsageError(f"--volume-store {name!r} is given twice")
        check_url(url)
        stores[name] = url
    return stores


def check_url(url: str) -> None:
    """Raise UsageError for a URL that can't name a store."""
    if url.startswith("/"):
        return
    parts = urlsplit(url)
    known = (parts.scheme == "file" and parts.netloc in ("", "localhost")) or (
        parts.scheme == "nfs" and parts.netloc
    )
    if not known or not unquote(parts.path).startswith("/") or parts.query or parts.fragment:
        raise UsageError(
            f"invalid volume store URL {url!r}: expected /PATH, file:///PATH or nfs://SERVER/PATH"
        )


def locate(url: str, mounts: str | None = None, *, what: str = "volume store") -> Path:
    """Return the directory of this host that a store's URL means.

    Raises PreconditionError where it isn't there: a file server's is one that the host has mounted.
    """
    if url.startswith("/"):
        path = Path(url)
    else:
        parts = urlsplit(url)
        path = Path(unquote(parts.path))
        if parts.scheme == "nfs":
            known = MOUNTS.read_text() if mounts is None else mounts
            path = _mounted(parts.netloc, path, known, what)
    if not path.is_dir():
        raise PreconditionError(f"{what} {url}: there is no directory {path}")
    return Path(os.path.realpath(path))


def store_directories(
    instance: Instance, known: Mapping[str, str] | None = None
) -> tuple[dict[str, Path], list[str]]:
    """Return the instance's own directories in its stores, and why others can't be used.

    Those of stores `known` before, by name and URL, were made then.
    """
    found, faults = {}, []
    for name, url in instance.options.volume_stores.items():
        try:
            directory = locate(url) / f"vic-{instance.id}"
            if known and known.get(name) == url:
                check_there(directory, f"volume store {url}")
        except PreconditionError as error:
            faults.append(str(error))
        else:
            found[name] = directory
    return found, faults


def check_there(directory: Path, what: str) -> None:
    """Raise PreconditionError where what was made in a store before is gone.

    A mount point without its file system is an empty directory: who began anew in there would
    have two stores, of which the mount hides one.
    """
    if not directory.is_dir():
        raise PreconditionError(
            f"{what}: {directory}, which was there before, is gone; mount its file system, or make "
            "the directory to begin with an empty one"
        )


def lay_out_stores(instance: Instance, directories: Mapping[str, Path]) -> None:
    """Make the instance's own directory in each store. Raises PreconditionError."""
    storage = next(kind for kind in SERVICES if kind.role is Role.STORAGE)
    uid = uid_of(storage, instance.slot)
    for name, directory in directories.items():
        try:
            own_tree(directory, uid, uid)
        except OSError as error:
            raise PreconditionError(
                f"volume store {name!r}: {directory} can't be given to the storage service "
                f"({error.strerror}); a file server must let this host's root write "
                "(no_root_squash)"
            ) from error


def _mounted(server: str, export: Path, mounts: str, what: str) -> Path:
    """Return where an export, or a directory in it, is mounted. Source: proc(5), mountinfo."""
    for line in reversed(mounts.splitlines()):
        before, _, after = line.partition(" - ")
        kind, source, *_ = after.split(" ")
        host, _, directory = _plain(source).partition(":/")
        root, point = map(_plain, before.split(" ")[3:5])
        if not kind.startswith("nfs") or host != server:
            continue
        # What a bind mount shows is a directory below the export's own.
        shown = Path("/", directory, root.lstrip("/"))
        if export.is_relative_to(shown):
            return Path(point, export.relative_to(shown))
    raise PreconditionError(
        f"{what} nfs://{server}{export}: not mounted on this host; do that first, with "
        f"`mount -t nfs {server}:{export} DIRECTORY` or a line in /etc/fstab"
    )


def _plain(field: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), field)

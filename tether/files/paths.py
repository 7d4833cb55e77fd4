"""Paths inside the container's root, as Docker reads them."""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import dataclass

from tether.files.failures import of_system

# As many links as the kernel follows in one path.
_MOST_LINKS = 40


@dataclass(frozen=True)
class Description:
    """What one path is; ``mode`` is st_mode, ``link_target`` where a link leads in the end."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str


def absolute(path: str) -> str:
    """The path from the root on, clean, but for a "/" or "/." at its end, which has a meaning."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if path.endswith("/.") or path == ".":
        return clean.rstrip("/") + "/."
    if path.endswith("/") and clean != "/":
        return clean + "/"
    return clean


def base(path: str) -> str:
    """The last part, as Go's filepath.Base."""
    stripped = path.rstrip("/")
    return stripped.rpartition("/")[2] if stripped else "/"


def describe(path: str) -> Description:
    """Describe an absolute path. Raises FileError."""
    try:
        status = os.lstat(path)
    except OSError as error:
        raise of_system(error, "lstat", path) from error
    target = follow(path) if stat.S_ISLNK(status.st_mode) else ""
    return Description(base(path), status.st_size, status.st_mode, status.st_mtime_ns, target)


def follow(path: str) -> str:
    """Where a link leads in the end, as far as that exists; ".." stops at the root."""
    rest = [part for part in path.split("/") if part][::-1]
    done: list[str] = []
    links = 0
    while rest:
        part = rest.pop()
        if part == ".":
            continue
        if part == "..":
            del done[-1:]
            continue
        here = "/" + "/".join([*done, part])
        try:
            target = os.readlink(here)
        except OSError:
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            return here
        if target.startswith("/"):
            done = []
        rest.extend([piece for piece in target.split("/") if piece][::-1])
    return "/" + "/".join(done)

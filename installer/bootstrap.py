"""The container VMs' kernel and bootstrap image, as an instance finds them."""

import contextlib
import json
import os
import re
import shutil
import time
from pathlib import Path

from installer.errors import PreconditionError
from installer.instance import Instance
from installer.slots import SLOTS_DIR, data_dirs
from tether.bootstrap.errors import BootstrapError
from tether.bootstrap.image import DEFAULT_CACHE, build

FILES = ("vmlinuz", "initrd.img", "manifest.json")
DIGEST = re.compile(r"[0-9a-f]{64}")
# Longer than from finding an image to linking it, and long enough for who goes back and forth
# between two versions.
KEPT_SECONDS = 24 * 3600.0


def provide_bootstrap(instance: Instance, directory: Path | None) -> str:
    """Link the bootstrap image to boot with into the data directory; returns its digest.

    That is the image in `directory`, or else the one that belongs to this version, which is built
    where the machine's cache has none.

    Raises PreconditionError when there is none and none can be built.
    """
    if directory is None:
        directory = build_bootstrap()
    digest = _digest_of(directory)
    link_image(instance, directory)
    return digest


def link_image(instance: Instance, directory: Path) -> bool:
    """Link an image into the data directory; tells whether it wasn't there."""
    os.utime(directory)  # taken now
    link = instance.bootstrap_dir / _digest_of(directory)
    if link.exists():
        return False
    link.unlink(missing_ok=True)
    link.symlink_to(directory.resolve())
    return True


def unlink_image(instance: Instance, digest: str) -> None:
    """Take an image out of the data directory; machines that run don't need it."""
    with contextlib.suppress(FileNotFoundError):
        _remove(instance.bootstrap_dir / digest)


def prune_cache(keep: str, cache: Path = DEFAULT_CACHE, slots_dir: Path = SLOTS_DIR) -> None:
    """Remove images from the machine's cache that no running instance has and nobody took lately.

    An instance that is down gets its image again by its next `vic up`.
    """
    if not cache.is_dir():
        return
    linked = {keep, *(digest for data_dir in data_dirs(slots_dir) for digest in _linked(data_dir))}
    oldest = time.time() - KEPT_SECONDS
    for entry in cache.iterdir():
        if not (DIGEST.fullmatch(entry.name) or entry.name.startswith(".build-")):
            continue
        with contextlib.suppress(OSError):  # another `vic up` may be at it
            if entry.name not in linked and entry.stat().st_mtime < oldest:
                shutil.rmtree(entry)
    pointers = cache / "current"
    for pointer in pointers.iterdir() if pointers.is_dir() else ():
        with contextlib.suppress(OSError):
            if not (cache / pointer.read_text().strip()).exists():
                pointer.unlink()


def _linked(data_dir: Path) -> list[str]:
    try:
        return os.listdir(data_dir / "bootstrap")
    except OSError:
        return []


def build_bootstrap(*, refresh: bool = False) -> Path:
    """Return the directory of this version's image in the machine's cache, built where missing.

    Raises PreconditionError when it can't be built.
    """
    try:
        return build(DEFAULT_CACHE, refresh=refresh).directory
    except BootstrapError as error:
        raise PreconditionError(f"no bootstrap image for container VMs: {error}") from error


def _digest_of(directory: Path) -> str:
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        raise PreconditionError(f"{directory} is no bootstrap image: it lacks {', '.join(missing)}")
    try:
        digest = json.loads((directory / "manifest.json").read_text())["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise PreconditionError(f"{directory}/manifest.json is damaged: {error!r}") from error
    return str(digest)


def _remove(entry: Path) -> None:
    if entry.is_symlink() or not entry.is_dir():
        entry.unlink()
    else:
        shutil.rmtree(entry)

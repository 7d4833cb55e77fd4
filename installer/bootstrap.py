"""The container VMs' kernel and bootstrap image, as an instance finds them."""

import json
import shutil
from pathlib import Path

from installer.errors import PreconditionError
from installer.instance import Instance
from tether.bootstrap.errors import BootstrapError
from tether.bootstrap.image import DEFAULT_CACHE, build

FILES = ("vmlinuz", "initrd.img", "manifest.json")


def provide_bootstrap(instance: Instance, directory: Path | None) -> str:
    """Link the bootstrap image to boot with into the data directory; returns its digest.

    That is the image in `directory`, or else the one that belongs to this version, which is built
    where the machine's cache has none. Older images are unlinked; machines that run don't need
    them.

    Raises PreconditionError when there is none and none can be built.
    """
    if directory is None:
        directory = build_bootstrap()
    digest = _digest_of(directory)
    link = instance.bootstrap_dir / digest
    for entry in instance.bootstrap_dir.iterdir():
        if entry.name != digest:
            _remove(entry)
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(directory.resolve())
    return digest


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

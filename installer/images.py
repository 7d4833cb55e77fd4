"""Where an instance keeps images, what they may take, and how large containers' disks are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from installer.configure import parse_size
from installer.errors import PreconditionError, UsageError
from installer.instance import DEFAULT_BASE_SIZE, Instance, Options
from installer.ownership import own_directory
from installer.roles import IMAGE_STORES
from installer.stores import check_there, check_url, locate
from portlayer.identity import Role

GRAIN = 64 << 10
SMALLEST_BASE = 256 << 20
LARGEST_BASE = 2 << 40

SHARED = "vic-images"
"""Directory in a store that all instances use which are given it."""


@dataclass(frozen=True)
class ImageWishes:
    """Options of the command line; None leaves what was remembered."""

    store: str | None = None
    """A URL; an empty one keeps images in the data directory."""
    quota: str | None = None
    base_size: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the options by their names in the record. Raises UsageError."""
        if self.store:
            check_url(self.store)
        return {
            "image_store": self.store,
            "image_quota_bytes": None if self.quota is None else parse_size(self.quota),
            "base_size_bytes": None if self.base_size is None else parse_base(self.base_size),
        }


def parse_base(text: str) -> int:
    """Return bytes of a size that containers' disks can have. Raises UsageError."""
    size = DEFAULT_BASE_SIZE if text == "default" else parse_size(text)
    if not SMALLEST_BASE <= size <= LARGEST_BASE or size % GRAIN:
        raise UsageError(
            f"invalid --base-size {text!r}: expected a multiple of 64k from 256m to 2t, or default"
        )
    return size


def check_change(data_dir: Path, known: Options | None, wanted: Options, *, running: bool) -> None:
    """Raise PreconditionError where images would be lost from sight by another image store."""
    if known is None or known.image_store == wanted.image_store:
        return
    if running:
        raise PreconditionError("run `vic down` before you move the images to another store")
    storage = data_dir / Role.STORAGE
    if any(_holds(storage / name) for name in ("containers", "images/images")):
        raise PreconditionError(
            "the image store can only be changed while the instance has neither images nor "
            "containers; remove them first"
        )


def _holds(directory: Path) -> bool:
    return directory.is_dir() and any(not path.name.startswith(".") for path in directory.iterdir())


def shared_directory(instance: Instance) -> Path | None:
    """Return the directory of the image store that an instance shares; None if it has its own.

    Raises PreconditionError where it can't be reached.
    """
    url = instance.options.image_store
    return locate(url, what="image store") / SHARED if url else None


def lay_out_images(instance: Instance, known: str | None) -> Path | None:
    """Make the image store that an instance shares, and return it. Raises PreconditionError.

    What is in it belongs to the group of all that share image stores, whoever made it. One that was
    `known` before, by its URL, has to be there.
    """
    directory = shared_directory(instance)
    if directory is None:
        return None
    if instance.options.image_store == known:
        check_there(directory, f"image store {known}")
    try:
        own_directory(directory, 0, IMAGE_STORES, 0o2770)
    except OSError as error:
        raise PreconditionError(
            f"image store {instance.options.image_store}: {directory} can't be made "
            f"({error.strerror}); a file server must let this host's root write (no_root_squash)"
        ) from error
    return directory

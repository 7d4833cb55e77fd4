"""Giving up a share of an image store, when an instance is deleted."""

from __future__ import annotations

from pathlib import Path

from services.storage.files import delete
from services.storage.image_store import ImageStore


def leave(root: Path, *, owner: str, base_size: int) -> None:
    """Take all that an owner has out of a store, and what nobody else needs. Blocks.

    The owner's processes have ended. Raises OSError.
    """
    store = ImageStore(root, owner=owner, base_size=base_size)
    try:
        with store.changing():
            for path in (store.root / "references" / owner, store.root / "pins" / owner):
                delete(path)
                path.mkdir(mode=0o770)
            store.catalogue.refresh()
        store.sweep_now()
        for path in (store.root / "references" / owner, store.root / "pins" / owner):
            path.rmdir()
    finally:
        store.close()

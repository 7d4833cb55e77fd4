"""What nothing refers to: left by what was killed, or by what the store could not tell any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from services.storage.checking.findings import Findings, Subject
from services.storage.files import STAGING_PREFIX, delete, stager
from services.storage.image_store import ImageStore


def check_image_store(store: ImageStore, findings: Findings) -> None:
    """Tell what of the image store nobody needs, and sweep it. Blocks. Raises OSError."""
    with store.changing():
        blobs, layers = store.needs.everywhere()
        garbage = [store.blobs.path(digest) for digest in store.blobs.all() if digest not in blobs]
        garbage += [
            store.layers.own_disk(record.chain_id)
            for record in store.layers.all()
            if record.chain_id not in layers
        ]
        garbage += [
            store.root / "images" / image.id.hex
            for image in store.catalogue.stored_images()
            if not store.catalogue.in_use_anywhere(image.id)
        ]
        garbage += store.layers.leftovers(layers)
    garbage += staged(
        [store.blobs.directory, store.root / "images", store.catalogue.names_path("").parent],
        store.lives,
    )
    for path in garbage:
        findings.mend(
            Subject.LEFTOVER, str(path.relative_to(store.root)), "nothing needs it", _nothing
        )
    if findings.repair:
        store.sweep_now()


def check_staged(
    directories: Iterable[Path], lives: Callable[[str], bool], findings: Findings
) -> None:
    """Tell what was left half-made in other directories, and delete it. Blocks. Raises OSError."""
    for path in staged(directories, lives):
        findings.mend(Subject.LEFTOVER, str(path), "it was never completed", partial(delete, path))


def staged(directories: Iterable[Path], lives: Callable[[str], bool]) -> list[Path]:
    """Return what processes that ended left half-made. Blocks. Raises OSError."""
    return [
        entry
        for directory in directories
        if directory.is_dir()
        for entry in sorted(directory.iterdir())
        if entry.name.startswith(STAGING_PREFIX) and not lives(stager(entry.name))
    ]


def _nothing() -> None:
    """All of it goes at once, by the sweep."""

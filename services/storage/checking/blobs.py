"""Blobs against their digests, and images against their blobs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from services.storage.checking.findings import Findings, Subject
from services.storage.files import delete
from services.storage.image_store import ImageStore
from services.storage.imagec.digest import Digest

_CHUNK = 1 << 20


def check_blobs(store: ImageStore, findings: Findings) -> set[Digest]:
    """Read every blob; return those that are what they should be. Blocks. Raises OSError."""
    sound: set[Digest] = set()
    for digest in sorted(store.blobs.all()):
        try:
            found = digest_of(store.blobs.path(digest))
        except FileNotFoundError:
            continue  # removed since: nothing needs it any more
        except OSError as error:
            findings.lost(Subject.BLOB, digest, f"can't be read: {error.strerror}")
            continue
        if found == digest:
            sound.add(digest)
            continue

        def remove(digest: Digest = digest) -> None:
            with store.changing():
                doomed = store.blobs.detach(digest)
            for path in doomed:
                delete(path)

        findings.mend(Subject.BLOB, digest, f"its bytes are those of {found}; it goes", remove)
    return sound


def check_needed(store: ImageStore, sound: set[Digest], findings: Findings) -> None:
    """Tell which blobs of images aren't there: these can run, but be neither pushed nor saved."""
    for image in store.catalogue.stored_images():
        missing = [layer.blob for layer in image.layers if layer.blob not in sound]
        if missing:
            names = sorted(store.catalogue.use(image.id).tags)
            findings.lost(
                Subject.IMAGE,
                image.id,
                f"lacks {len(missing)} of its blobs, {missing[0]} first; pull "
                f"{', '.join(names) or 'it'} again",
            )


def digest_of(path: Path) -> Digest:
    """Return the digest of a file. Blocks. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            found.update(data)
    return Digest(f"sha256:{found.hexdigest()}")

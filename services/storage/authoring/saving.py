"""Images as one tar: an OCI layout, and beside it the manifest.json that Docker reads.

Source: OCI image specification 1.1, "Image Layout"; annotations as containerd and Docker write
them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.storage.authoring.archive_tar import END, directory_header, member, streamed_member
from services.storage.image_records import StoredImage
from services.storage.image_store import ImageStore
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import ManifestNotFound
from services.storage.imagec.manifest import OCI_INDEX, Platform
from services.storage.imagec.reference import Reference
from services.storage.images import Saved

LAYOUT = "oci-layout"
INDEX = "index.json"
DOCKER_INDEX = "manifest.json"

NAME = "io.containerd.image.name"
"""Annotation: a reference in full."""

REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation: a tag, or whatever else tells the images of a layout apart."""


@dataclass(frozen=True)
class _Bodies:
    config: bytes
    manifest: bytes


def blob_name(digest: Digest) -> str:
    """Where a blob lies in a layout."""
    return f"blobs/sha256/{digest.hex}"


async def save(
    store: ImageStore, images: Sequence[Saved], platform: Platform | None
) -> AsyncGenerator[bytes, None]:
    """Write images as one tar; the same images always make the same bytes.

    Raises, before the first byte:
        ManifestNotFound: an image is of another platform.
    """
    for saved in images:
        _check_platform(saved.image, platform)
    async with store.lease() as lease:
        for saved in images:
            await lease.hold(blobs=[layer.blob for layer in saved.image.layers])
        # Read at once: somebody may remove an image meanwhile.
        bodies = {
            saved.image.id: _Bodies(
                store.catalogue.config(saved.image.id), store.catalogue.manifest(saved.image.id)
            )
            for saved in images
        }
        yield b"".join(_head(images, bodies))
        written: set[Digest] = set()
        for saved in images:
            for layer in saved.image.layers:
                if layer.blob not in written:
                    written.add(layer.blob)
                    path, size = store.blobs.path(layer.blob), store.blobs.size(layer.blob)
                    async for piece in streamed_member(blob_name(layer.blob), path, size):
                        yield piece
        yield END


def _check_platform(image: StoredImage, wanted: Platform | None) -> None:
    found = image.config.platform
    if wanted is not None and (found.os, found.architecture) != (wanted.os, wanted.architecture):
        raise ManifestNotFound(
            f"image {image.id} was found but its platform ({found}) does not match the specified "
            f"platform ({wanted})"
        )


def _head(images: Sequence[Saved], bodies: dict[Digest, _Bodies]) -> Iterator[bytes]:
    """All but the layers: who reads a stream knows at its beginning what will come."""
    yield member(LAYOUT, b'{"imageLayoutVersion":"1.0.0"}')
    yield member(INDEX, _json(_index(images, bodies)))
    yield member(DOCKER_INDEX, _json([_docker_entry(saved) for saved in images]))
    yield directory_header("blobs")
    yield directory_header("blobs/sha256")
    small: dict[Digest, bytes] = {}
    for image_id, body in bodies.items():
        small[image_id] = body.config
        small[Digest.of(body.manifest)] = body.manifest
    for digest, content in small.items():
        yield member(blob_name(digest), content)


def _index(images: Sequence[Saved], bodies: dict[Digest, _Bodies]) -> dict[str, Any]:
    entries = []
    for saved in images:
        manifest = bodies[saved.image.id].manifest
        entry = {
            "mediaType": saved.image.manifest_type,
            "digest": Digest.of(manifest),
            "size": len(manifest),
        }
        entries += [{**entry, "annotations": _annotations(name)} for name in saved.names]
        if not saved.names:
            entries.append(entry)
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}


def _annotations(name: Reference) -> dict[str, str]:
    return {NAME: str(name), REF_NAME: name.tag or ""}


def _docker_entry(saved: Saved) -> dict[str, Any]:
    return {
        "Config": blob_name(saved.image.id),
        "RepoTags": [name.familiar for name in saved.names] or None,
        "Layers": [blob_name(layer.blob) for layer in saved.image.layers],
    }


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()

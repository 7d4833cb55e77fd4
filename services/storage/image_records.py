"""What is on record about an image, and about one owner's names for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from services.storage.files import from_json, to_json
from services.storage.imagec.config import ImageConfig, parse_config
from services.storage.imagec.digest import Digest, chain_ids
from services.storage.imagec.manifest import Manifest, parse_manifest

CONFIG = "config.json"
MANIFEST = "manifest.json"
RECORD = "image.json"


@dataclass(frozen=True)
class ImageLayer:
    """A layer of an image: as it was sent, and as it is stored."""

    blob: Digest
    media_type: str
    blob_size: int
    diff_id: Digest
    chain_id: Digest
    size_bytes: int
    """Bytes of the uncompressed tar."""


@dataclass(frozen=True)
class StoredImage:
    """An image in the store."""

    id: Digest
    config: ImageConfig
    layers: tuple[ImageLayer, ...]
    manifest_digest: Digest
    manifest_type: str

    @property
    def chain_id(self) -> Digest | None:
        """Chain ID of the top layer; None for an image without layers."""
        return self.layers[-1].chain_id if self.layers else None

    @property
    def size_bytes(self) -> int:
        """Bytes of all layers, uncompressed."""
        return sum(layer.size_bytes for layer in self.layers)


@dataclass(frozen=True)
class ImageUse:
    """One owner's names for an image, and what else it knows of it."""

    tags: dict[str, datetime] = field(default_factory=dict)
    """Reference in full, "docker.io/library/busybox:latest", and when it was given."""

    digests: tuple[str, ...] = ()
    """ "docker.io/library/busybox@sha256:…"."""

    parent: Digest | None = None
    """The image that a commit made it of; stays as long as this one."""

    @property
    def last_tagged(self) -> datetime | None:
        """When the newest tag was given."""
        return max(self.tags.values(), default=None)


def image_of(
    config_body: bytes, manifest_body: bytes, size_of: Callable[[Digest], int | None]
) -> StoredImage:
    """Describe an image by its configuration and manifest.

    `size_of` tells the size of a layer's tar by its chain ID, None where it isn't known: then it
    counts as that of its blob. Raises ValueError, InvalidManifest.
    """
    config = parse_config(config_body)
    manifest = parse_manifest(manifest_body, "")
    image_id = Digest.of(config_body)
    if not isinstance(manifest, Manifest) or manifest.config.digest != image_id:
        raise ValueError("the manifest is another image's")
    if len(manifest.layers) != len(config.diff_ids):
        raise ValueError("manifest and configuration have different numbers of layers")
    chain = chain_ids(config.diff_ids)
    return StoredImage(
        id=image_id,
        config=config,
        layers=tuple(
            ImageLayer(
                blob=blob.digest,
                media_type=blob.media_type,
                blob_size=blob.size,
                diff_id=diff_id,
                chain_id=chain_id,
                size_bytes=blob.size if (known := size_of(chain_id)) is None else known,
            )
            for blob, diff_id, chain_id in zip(manifest.layers, config.diff_ids, chain, strict=True)
        ),
        manifest_digest=Digest.of(manifest_body),
        manifest_type=manifest.media_type,
    )


def record_of(image: StoredImage) -> bytes:
    """An image's record as it stands in the store."""
    return to_json(
        {
            "manifest_digest": image.manifest_digest,
            "manifest_type": image.manifest_type,
            "layers": [asdict(layer) for layer in image.layers],
        }
    )


def use_record(image_id: Digest, use: ImageUse) -> bytes:
    """Names of an image as they stand in the store."""
    return to_json(
        {
            "image": image_id,
            "tags": {tag: given.isoformat() for tag, given in use.tags.items()},
            "digests": list(use.digests),
            "parent": use.parent,
        }
    )


def with_tag(use: ImageUse, tag: str) -> ImageUse:
    """The names with one more tag, given now."""
    return replace(use, tags={**use.tags, tag: datetime.now(UTC)})


def with_digest(use: ImageUse, digest: str) -> ImageUse:
    """The names with one more digest."""
    if digest in use.digests:
        return use
    return replace(use, digests=(*use.digests, digest))


def without_tags(use: ImageUse, tags: Iterable[str]) -> ImageUse:
    """The names less some tags."""
    gone = set(tags)
    return replace(use, tags={tag: at for tag, at in use.tags.items() if tag not in gone})


def without(use: ImageUse, names: Iterable[str]) -> ImageUse:
    """The names less some, tags or digests."""
    gone = set(names)
    return replace(
        without_tags(use, gone), digests=tuple(entry for entry in use.digests if entry not in gone)
    )


def read_image(directory: Path) -> StoredImage:
    """Read an image's record. Raises ValueError, KeyError, TypeError, OSError."""
    value = from_json(directory / RECORD)
    config = (directory / CONFIG).read_bytes()
    image_id = Digest.of(config)
    if image_id.hex != directory.name:
        raise ValueError("the configuration has another digest")
    return StoredImage(
        id=image_id,
        config=parse_config(config),
        layers=tuple(
            ImageLayer(
                blob=Digest(entry["blob"]),
                media_type=str(entry["media_type"]),
                blob_size=int(entry["blob_size"]),
                diff_id=Digest(entry["diff_id"]),
                chain_id=Digest(entry["chain_id"]),
                size_bytes=int(entry["size_bytes"]),
            )
            for entry in value["layers"]
        ),
        manifest_digest=Digest(value["manifest_digest"]),
        manifest_type=str(value["manifest_type"]),
    )


def read_use(path: Path) -> ImageUse:
    """Read names of an image. Raises ValueError, KeyError, TypeError, OSError."""
    value = from_json(path)
    return ImageUse(
        tags={str(tag): datetime.fromisoformat(at) for tag, at in value["tags"].items()},
        digests=tuple(str(entry) for entry in value["digests"]),
        parent=Digest(parent) if (parent := value.get("parent")) else None,
    )

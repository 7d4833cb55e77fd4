"""Which images there are, and what they are called.

    images/<image ID>/{config.json, manifest.json, image.json}
    references/<owner>/<image ID>.json

The first describes an image, the same for all who share the store. The second is one virtual
container host's use of it: the image stays as long as any owner has such a file, whether it holds
names or none. What is in memory here is an index of these files and is rebuilt from them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from services.storage.files import (
    from_json,
    publish,
    remove,
    replace_file,
    staged_directory,
    sweep_staged,
    to_json,
    write_synced,
)
from services.storage.imagec.config import ImageConfig, parse_config
from services.storage.imagec.digest import Digest

CONFIG = "config.json"
MANIFEST = "manifest.json"
RECORD = "image.json"

log = logging.getLogger("vic.storage.catalogue")


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
    """One owner's names for an image."""

    tags: dict[str, datetime] = field(default_factory=dict)
    """Reference in full, "docker.io/library/busybox:latest", and when it was given."""

    digests: tuple[str, ...] = ()
    """ "docker.io/library/busybox@sha256:…"."""

    @property
    def last_tagged(self) -> datetime | None:
        """When the newest tag was given."""
        return max(self.tags.values(), default=None)


class Catalogue:
    """Images, and one owner's names for them. Methods that write are run in a thread."""

    def __init__(self, root: Path, owner: str) -> None:
        """Open the directories, made if need be; sweep what has no record."""
        self._images_directory = root / "images"
        self._references = root / "references"
        self._own = self._references / owner
        for directory in (self._images_directory, self._own):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            sweep_staged(directory)
        self._images: dict[Digest, StoredImage] = {}
        self._uses: dict[Digest, ImageUse] = {}
        self._by_tag: dict[str, Digest] = {}
        self._load_images()
        self._load_uses()

    def _load_images(self) -> None:
        for entry in self._images_directory.iterdir():
            try:
                image = _read_image(entry)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("image without a valid record removed: %s: %s", entry.name, error)
                remove(entry)
                continue
            self._images[image.id] = image

    def _load_uses(self) -> None:
        for entry in self._own.iterdir():
            try:
                image_id = Digest(f"sha256:{entry.stem}")
                use = _read_use(entry)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("names of an image can't be read: %s: %s", entry, error)
                continue
            if image_id not in self._images:
                log.warning("names of an image that is gone removed", extra={"image": image_id})
                entry.unlink()
                continue
            self._uses[image_id] = use
            for tag, given in use.tags.items():
                # A crash between the two writes of a tag's move leaves it twice; the newer counts.
                other = self._by_tag.get(tag)
                if other is None or self._uses[other].tags[tag] < given:
                    self._by_tag[tag] = image_id
        for image_id, use in self._uses.items():
            stale = [tag for tag in use.tags if self._by_tag[tag] != image_id]
            if stale:
                self._uses[image_id] = _without(use, stale)

    # --- reading ---------------------------------------------------------------------------

    def all(self) -> list[tuple[StoredImage, ImageUse]]:
        """The owner's images."""
        return [(self._images[image_id], use) for image_id, use in self._uses.items()]

    def get(self, image_id: Digest) -> StoredImage | None:
        """An image of the owner's."""
        return self._images.get(image_id) if image_id in self._uses else None

    def stored(self, image_id: Digest) -> StoredImage | None:
        """An image that is in the store, whoever uses it."""
        return self._images.get(image_id)

    def use(self, image_id: Digest) -> ImageUse:
        """The owner's names for an image."""
        return self._uses.get(image_id, ImageUse())

    def tagged(self, reference: str) -> Digest | None:
        """The image that a full reference with a tag names."""
        return self._by_tag.get(reference)

    def tags(self) -> list[str]:
        """Every full reference with a tag."""
        return list(self._by_tag)

    def by_repository_digest(self, reference: str) -> Digest | None:
        """The image that a full reference with a digest names."""
        for image_id, use in self._uses.items():
            if reference in use.digests:
                return image_id
        return None

    def by_prefix(self, digits: str) -> list[Digest]:
        """The owner's images whose ID begins so."""
        return [image_id for image_id in self._uses if image_id.hex.startswith(digits)]

    def by_manifest(self, digest: Digest) -> StoredImage | None:
        """The stored image whose manifest has a digest."""
        return next(
            (image for image in self._images.values() if image.manifest_digest == digest), None
        )

    def config(self, image_id: Digest) -> bytes:
        """The image's configuration as the registry sent it."""
        return (self._images_directory / image_id.hex / CONFIG).read_bytes()

    def manifest(self, image_id: Digest) -> bytes:
        """The image's manifest as the registry sent it."""
        return (self._images_directory / image_id.hex / MANIFEST).read_bytes()

    def in_use_anywhere(self, image_id: Digest) -> bool:
        """Whether any owner uses an image."""
        name = f"{image_id.hex}.json"
        return any((owner / name).exists() for owner in self._references.iterdir())

    def stored_images(self) -> list[StoredImage]:
        """Every image in the store, whoever uses it."""
        return list(self._images.values())

    # --- writing ---------------------------------------------------------------------------

    def add(self, image: StoredImage, config: bytes, manifest: bytes) -> None:
        """Make an image visible whose layers are all there. Idempotent."""
        if image.id in self._images:
            return
        record = {
            "manifest_digest": image.manifest_digest,
            "manifest_type": image.manifest_type,
            "layers": [asdict(layer) for layer in image.layers],
        }
        with staged_directory(self._images_directory) as staged:
            write_synced(staged / CONFIG, config, 0o444)
            write_synced(staged / MANIFEST, manifest, 0o444)
            write_synced(staged / RECORD, to_json(record), 0o444)
            publish(staged, self._images_directory / image.id.hex)
        self._images[image.id] = image

    def put_use(self, image_id: Digest, use: ImageUse) -> None:
        """Replace the owner's names for an image, taking its tags away from other images."""
        moved = {
            other
            for tag in use.tags
            if (other := self._by_tag.get(tag)) is not None and other != image_id
        }
        self._write_use(image_id, use)
        for tag in self._uses.get(image_id, ImageUse()).tags:
            if tag not in use.tags:
                del self._by_tag[tag]
        self._uses[image_id] = use
        self._by_tag.update(dict.fromkeys(use.tags, image_id))
        for other in moved:
            rest = _without(self._uses[other], use.tags)
            self._write_use(other, rest)
            self._uses[other] = rest

    def drop_use(self, image_id: Digest) -> None:
        """The owner uses an image no more."""
        (self._own / f"{image_id.hex}.json").unlink(missing_ok=True)
        for tag in self._uses.pop(image_id, ImageUse()).tags:
            self._by_tag.pop(tag, None)

    def remove(self, image_id: Digest) -> None:
        """Delete an image's record; that no owner uses it is for the caller to know."""
        self._images.pop(image_id, None)
        remove(self._images_directory / image_id.hex)

    def _write_use(self, image_id: Digest, use: ImageUse) -> None:
        record = {
            "image": image_id,
            "tags": {tag: given.isoformat() for tag, given in use.tags.items()},
            "digests": list(use.digests),
        }
        replace_file(self._own / f"{image_id.hex}.json", to_json(record))


def with_tag(use: ImageUse, tag: str) -> ImageUse:
    """The names with one more tag, given now."""
    return replace(use, tags={**use.tags, tag: datetime.now(UTC)})


def with_digest(use: ImageUse, digest: str) -> ImageUse:
    """The names with one more digest."""
    if digest in use.digests:
        return use
    return replace(use, digests=(*use.digests, digest))


def _without(use: ImageUse, tags: Iterable[str]) -> ImageUse:
    gone = set(tags)
    return replace(use, tags={tag: at for tag, at in use.tags.items() if tag not in gone})


def without(use: ImageUse, names: Iterable[str]) -> ImageUse:
    """The names less some, tags or digests."""
    gone = set(names)
    return replace(
        _without(use, gone), digests=tuple(entry for entry in use.digests if entry not in gone)
    )


def _read_image(directory: Path) -> StoredImage:
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


def _read_use(path: Path) -> ImageUse:
    value = from_json(path)
    return ImageUse(
        tags={str(tag): datetime.fromisoformat(at) for tag, at in value["tags"].items()},
        digests=tuple(str(entry) for entry in value["digests"]),
    )

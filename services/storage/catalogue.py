"""Which images there are, and what they are called.

    images/<image ID>/{config.json, manifest.json, image.json}
    references/<owner>/<image ID>.json

The first describes an image, the same for all who share the store. The second is one virtual
container host's use of it: the image stays as long as any owner has such a file, whether it holds
names or none. What is in memory here is an index of these files and is rebuilt from them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from portlayer.errors import VicError
from services.storage.files import (
    STAGING_PREFIX,
    nobody,
    publish,
    remove,
    replace_file,
    staged_directory,
    sweep_staged,
    sync_content,
    sync_directory,
    write_new,
)
from services.storage.image_records import (
    CONFIG,
    MANIFEST,
    RECORD,
    ImageUse,
    StoredImage,
    image_of,
    read_image,
    read_use,
    record_of,
    use_record,
    without_tags,
)
from services.storage.imagec.digest import Digest

log = logging.getLogger("vic.storage.catalogue")


class Catalogue:
    """Images, and one owner's names for them. Methods that write are run in a thread."""

    def __init__(self, root: Path, owner: str, lives: Callable[[str], bool] = nobody) -> None:
        """Open the directories, made if need be.

        `lives` tells which other processes are at work in them.
        """
        self._images_directory = root / "images"
        self._references = root / "references"
        self._own = self._references / owner
        self._lives = lives
        for directory in (self._images_directory, self._own):
            directory.mkdir(mode=0o770, parents=True, exist_ok=True)
        self._images: dict[Digest, StoredImage] = {}
        self._uses: dict[Digest, ImageUse] = {}
        self._versions: dict[Digest, tuple[int, int]] = {}
        self._by_tag: dict[str, Digest] = {}
        self.untold: set[str] = set()
        """Images, by name of their directory, that couldn't be read when that was last tried: what
        they need isn't known."""
        self.refresh()

    def sweep(self, size_of: Callable[[Digest], int | None] = lambda _chain_id: None) -> int:
        """Delete what has lost its subject or its content; returns how many entries. Blocks.

        Records that can be made anew are; `size_of` tells the sizes of layers' tars.
        """
        swept = sum(
            sweep_staged(directory, self._lives)
            for directory in (self._images_directory, self._own)
        )
        return swept + self._sweep_images(size_of) + self._sweep_uses()

    def refresh(self) -> None:
        """Know images and names by their files, which the caller keeps from changing. Blocks."""
        self._refresh_images()
        self._refresh_uses()
        self._refresh_tags()

    def _refresh_images(self) -> None:
        there = {
            entry.name: entry
            for entry in self._images_directory.iterdir()
            if not entry.name.startswith(STAGING_PREFIX)
        }
        for image_id in list(self._images):
            if image_id.hex not in there:
                self._images.pop(image_id, None)
        for name, entry in there.items():
            if f"sha256:{name}" in self._images:
                continue
            try:
                image = read_image(entry)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.error("image without a valid record: %s: %s", entry.name, error)
                if _says_nothing(error):
                    self.untold.add(name)
                continue
            self._images[image.id] = image
        self.untold = {name for name in self.untold & there.keys() if not self._knows(name)}

    def _knows(self, name: str) -> bool:
        return f"sha256:{name}" in self._images

    def _refresh_uses(self) -> None:
        there = {entry.stem: entry for entry in self._own.glob("*.json")}
        for image_id in list(self._uses):
            if image_id.hex not in there or image_id not in self._images:
                self._uses.pop(image_id, None)
                self._versions.pop(image_id, None)
        for name, entry in there.items():
            try:
                image_id = Digest(f"sha256:{name}")
                version = _version(entry)
                if image_id not in self._images or self._versions.get(image_id) == version:
                    continue
                self._uses[image_id] = read_use(entry)
                self._versions[image_id] = version
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.error("names of an image can't be read: %s: %s", entry, error)

    def _refresh_tags(self) -> None:
        by_tag: dict[str, Digest] = {}
        for image_id, use in self._uses.items():
            for tag, given in use.tags.items():
                # A crash between the two writes of a tag's move leaves it twice; the newer counts.
                other = by_tag.get(tag)
                if other is None or self._uses[other].tags[tag] < given:
                    by_tag[tag] = image_id
        self._by_tag = by_tag
        for image_id, use in list(self._uses.items()):
            stale = [tag for tag in use.tags if by_tag[tag] != image_id]
            if stale:
                self._uses[image_id] = without_tags(use, stale)

    def _sweep_images(self, size_of: Callable[[Digest], int | None]) -> int:
        swept = 0
        for entry in list(self._images_directory.iterdir()):
            if f"sha256:{entry.name}" in self._images or entry.name.startswith(STAGING_PREFIX):
                continue
            try:
                image = self.rebuild(entry.name, size_of)
            except (OSError, ValueError, KeyError, TypeError, VicError) as error:
                if _says_nothing(error):
                    log.error("image that can't be read: %s: %s", entry.name, error)
                    self.untold.add(entry.name)
                    continue
                log.error("image without its configuration removed: %s: %s", entry.name, error)
                self.untold.discard(entry.name)
                remove(entry)
                swept += 1
                continue
            self.untold.discard(entry.name)
            log.warning("an image's record was made anew", extra={"image": image.id})
        self._refresh_uses()
        self._refresh_tags()
        return swept

    def rebuild(self, name: str, size_of: Callable[[Digest], int | None]) -> StoredImage:
        """Make the record of the image in a directory anew, by its configuration and manifest.

        Blocks. Raises ValueError, InvalidManifest, OSError where these are damaged.
        """
        directory = self._images_directory / name
        image = image_of(
            (directory / CONFIG).read_bytes(), (directory / MANIFEST).read_bytes(), size_of
        )
        if image.id.hex != name:
            raise ValueError("the configuration has another digest")
        replace_file(directory / RECORD, record_of(image), 0o444)
        self._images[image.id] = image
        return image

    def _sweep_uses(self) -> int:
        gone = [
            entry
            for entry in self._own.glob("*.json")
            if not self._knows(entry.stem) and entry.stem not in self.untold
        ]
        for entry in gone:
            log.warning("names of an image that is gone removed", extra={"image": entry.stem})
            entry.unlink(missing_ok=True)
        return len(gone)

    # --- reading ---------------------------------------------------------------------------

    def all(self) -> list[tuple[StoredImage, ImageUse]]:
        """The owner's images."""
        return [
            (self._images[image_id], use)
            for image_id, use in list(self._uses.items())
            if image_id in self._images
        ]

    def get(self, image_id: Digest) -> StoredImage | None:
        """An image of the owner's."""
        return self._images.get(image_id) if image_id in self._uses else None

    def stored(self, image_id: Digest) -> StoredImage | None:
        """An image that is in the store, whoever uses it."""
        return self._images.get(image_id)

    def use(self, image_id: Digest) -> ImageUse:
        """The owner's names for an image."""
        return self._uses.get(image_id, ImageUse())

    def has_children(self, image_id: Digest) -> bool:
        """Whether an image of the owner's was made of this one."""
        return any(use.parent == image_id for use in list(self._uses.values()))

    def generation(self, image_id: Digest) -> int:
        """Of how many images, one after the other, an image was made."""
        count, parent = 0, self.use(image_id).parent
        while parent is not None and count < len(self._uses):
            count, parent = count + 1, self.use(parent).parent
        return count

    def tagged(self, reference: str) -> Digest | None:
        """The image that a full reference with a tag names."""
        return self._by_tag.get(reference)

    def tags(self) -> list[str]:
        """Every full reference with a tag."""
        return list(self._by_tag)

    def by_repository_digest(self, reference: str) -> Digest | None:
        """The image that a full reference with a digest names."""
        for image_id, use in list(self._uses.items()):
            if reference in use.digests:
                return image_id
        return None

    def by_prefix(self, digits: str) -> list[Digest]:
        """The owner's images whose ID begins so."""
        return [image_id for image_id in list(self._uses) if image_id.hex.startswith(digits)]

    def by_manifest(self, digest: Digest) -> StoredImage | None:
        """The stored image whose manifest has a digest."""
        return next(
            (image for image in self.stored_images() if image.manifest_digest == digest), None
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
        with staged_directory(self._images_directory) as staged:
            write_new(staged / CONFIG, config, 0o444)
            write_new(staged / MANIFEST, manifest, 0o444)
            write_new(staged / RECORD, record_of(image), 0o444)
            sync_content(staged)
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
            # Where it can't be written the file says what isn't so, and by its time is disbelieved.
            rest = self._uses[other] = without_tags(self._uses[other], use.tags)
            self._write_use(other, rest)

    def drop_use(self, image_id: Digest) -> None:
        """The owner uses an image no more."""
        (self._own / f"{image_id.hex}.json").unlink(missing_ok=True)
        sync_directory(self._own)
        self._versions.pop(image_id, None)
        for tag in self._uses.pop(image_id, ImageUse()).tags:
            self._by_tag.pop(tag, None)

    def remove(self, image_id: Digest) -> None:
        """Delete an image's record; that no owner uses it is for the caller to know."""
        self._images.pop(image_id, None)
        remove(self._images_directory / image_id.hex)

    def names_path(self, hex_digits: str) -> Path:
        """Where the owner's names for an image are kept."""
        return self._own / f"{hex_digits}.json"

    def _write_use(self, image_id: Digest, use: ImageUse) -> None:
        path = self.names_path(image_id.hex)
        try:
            replace_file(path, use_record(image_id, use))
        except OSError:
            if image_id not in self._uses:
                path.unlink(missing_ok=True)  # or an image would be there whose making has failed
            raise
        self._versions[image_id] = _version(path)


def _version(path: Path) -> tuple[int, int]:
    """Return what tells a file from the one that was there before it."""
    state = path.stat()
    return state.st_ino, state.st_mtime_ns


def _says_nothing(error: Exception) -> bool:
    """Whether a failure to read says nothing of the file: the disk or the server fails, or we."""
    return isinstance(error, OSError) and not isinstance(
        error, FileNotFoundError | NotADirectoryError | IsADirectoryError
    )

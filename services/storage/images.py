"""Images as users name them: look-up, tags, removal, history."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from portlayer.errors import InvalidArgument, NotFound, Reason
from services.storage.disk_records import DiskRecord
from services.storage.image_records import ImageUse, StoredImage, with_tag
from services.storage.image_store import ImageStore
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import InvalidReference
from services.storage.imagec.reference import Reference, parse_reference

_MISSING = "<missing>"
_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


class ImageNotFound(NotFound):
    """The store has no such image."""

    default_reason = Reason.IMAGE_NOT_FOUND


@dataclass(frozen=True)
class ImageSummary:
    """An image in a list."""

    image: StoredImage
    use: ImageUse
    containers: int
    shared_bytes: int


@dataclass(frozen=True)
class Saved:
    """An image to save, and the names that it shall have in the archive."""

    image: StoredImage
    names: Sequence[Reference] = ()


@dataclass(frozen=True)
class HistoryLine:
    """A step that made an image."""

    image_id: str
    created: datetime | None
    created_by: str
    size_bytes: int
    comment: str
    tags: tuple[str, ...]


class Images:
    """What can be asked of the image store, and changed."""

    def __init__(self, store: ImageStore, disks: Callable[[], Iterable[DiskRecord]]) -> None:
        """`disks` tells the containers' disks."""
        self._store = store
        self._disks = disks

    def find(self, text: str) -> StoredImage:
        """The image that a reference, an ID or an unambiguous beginning of one names.

        Raises:
            ImageNotFound, InvalidReference.
        """
        image_id = self._find_id(text)
        image = self._store.catalogue.get(image_id) if image_id is not None else None
        if image is None:
            raise _not_found(text)
        return image

    def usable(self, text: str) -> StoredImage:
        """As `find`, but only an image that a disk can be made of.

        One from before the base's size or format was changed isn't; a pull makes it so.
        """
        image = self.find(text)
        if not self._store.complete(image):
            raise _not_found(text)
        return image

    def _find_id(self, text: str) -> Digest | None:
        catalogue = self._store.catalogue
        prefix = _PREFIX.fullmatch(text)
        if prefix is not None and len(prefix[1]) == 64:
            return Digest(f"sha256:{prefix[1]}")
        reference = parse_reference(text).with_default_tag()
        if reference.digest is not None:
            return catalogue.by_repository_digest(str(reference.with_digest(reference.digest)))
        found = catalogue.tagged(str(reference))
        if found is None and prefix is not None:
            candidates = catalogue.by_prefix(prefix[1])
            found = candidates[0] if len(candidates) == 1 else None
        return found

    def use(self, image: StoredImage) -> ImageUse:
        """Names of an image."""
        return self._store.catalogue.use(image.id)

    def all(self) -> list[ImageSummary]:
        """All images, newest first."""
        entries = self._store.catalogue.all()
        users = Counter(layer.chain_id for image, _use in entries for layer in image.layers)
        containers = Counter(record.image_id for record in self._disks())
        summaries = [
            ImageSummary(
                image,
                use,
                containers[image.id],
                sum(layer.size_bytes for layer in image.layers if users[layer.chain_id] > 1),
            )
            for image, use in entries
        ]
        return sorted(summaries, key=lambda summary: _age(summary.image), reverse=True)

    def layers_bytes(self) -> int:
        """Bytes of all layers, uncompressed, each counted once."""
        return sum(record.size_bytes for record in self._store.layers.all())

    async def tag(self, source: str, target: str) -> tuple[StoredImage, Reference]:
        """Give an image one more name; idempotent. Returns both.

        Raises:
            ImageNotFound, InvalidReference.
        """
        image = self.find(source)
        reference = _new_tag(parse_reference(target))
        if not await self._store.add_names(image.id, partial(_tagged, str(reference))):
            raise _not_found(source)  # removed since
        return image, reference

    def to_push(self, repository: Reference) -> list[Reference]:
        """The references that a push sends: the one, or without a tag all of its repository.

        Raises:
            ImageNotFound: in Docker's words.
        """
        known = (parse_reference(tag) for tag in self._store.catalogue.tags())
        there = [reference for reference in known if reference.name == repository.name]
        if not there:
            raise ImageNotFound(
                "An image does not exist locally with the tag: " + repository.familiar_name
            )
        if repository.tag is None:
            return sorted(there, key=str)
        if repository not in there:
            raise ImageNotFound(f"tag does not exist: {repository.familiar}")
        return [repository]

    def to_save(self, texts: Iterable[str]) -> list[Saved]:
        """The images that names choose, each once; a name without a tag is all of a repository.

        Raises as `find`.
        """
        chosen: dict[Digest, list[Reference]] = {}
        for text in texts:
            for image_id, reference in self._to_save(text):
                names = chosen.setdefault(image_id, [])
                if reference is not None and reference not in names:
                    names.append(reference)
        stored = (
            (self._store.catalogue.get(image_id), names) for image_id, names in chosen.items()
        )
        return [Saved(image, tuple(names)) for image, names in stored if image is not None]

    def _to_save(self, text: str) -> Iterable[tuple[Digest, Reference | None]]:
        prefix = _PREFIX.fullmatch(text)
        reference = None if prefix and len(prefix[1]) == 64 else parse_reference(text)
        if reference is not None and reference.tag is None and reference.digest is None:
            catalogue = self._store.catalogue
            known = {parse_reference(tag): tag for tag in catalogue.tags()}
            tagged = [
                (catalogue.tagged(tag), other)
                for other, tag in sorted(known.items(), key=lambda item: item[1])
                if other.name == reference.name
            ]
            if tagged:
                return [(image_id, other) for image_id, other in tagged if image_id is not None]
        image = self.find(text)
        named = reference is not None and str(reference) in self.use(image).tags
        return [(image.id, reference if named else None)]

    def history(self, text: str) -> list[HistoryLine]:
        """The steps that made an image, newest first. Raises as `find`."""
        image = self.find(text)
        sizes = iter([layer.size_bytes for layer in image.layers])
        lines = [
            HistoryLine(
                image_id=_MISSING,
                created=step.created,
                created_by=step.created_by,
                size_bytes=0 if step.empty_layer else next(sizes, 0),
                comment=step.comment,
                tags=(),
            )
            for step in image.config.history
        ]
        lines.reverse()
        # A commit adds one step: what it was made of is known for as many as there were of them.
        for at, ancestor in zip(range(len(lines)), self._lineage(image), strict=False):
            tags = tuple(familiar_names(self.use(ancestor).tags))
            lines[at] = replace(lines[at], image_id=ancestor.id, tags=tags)
        return lines

    def _lineage(self, image: StoredImage) -> Iterator[StoredImage]:
        """An image, its parent, the parent's parent."""
        found: StoredImage | None = image
        while found is not None:
            yield found
            parent = self.use(found).parent
            found = self._store.catalogue.get(parent) if parent is not None else None


def parse_new_name(text: str) -> list[Reference]:
    """Read the name that a new image shall have; none where it is empty.

    Raises:
        InvalidReference, InvalidArgument.
    """
    if not text:
        return []
    reference = parse_reference(text)
    if reference.digest is not None:
        raise InvalidArgument("cannot import digest reference")
    return [_new_tag(reference)]


def _new_tag(reference: Reference) -> Reference:
    if reference.digest is not None:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    if reference.familiar_name == "sha256":
        raise InvalidArgument("refusing to create an ambiguous tag using digest algorithm as name")
    return reference.with_default_tag()


def parse_push_reference(text: str, *, all_tags: bool) -> Reference:
    """Read what is to be pushed; with `all_tags` it has no tag.

    Raises:
        InvalidReference, InvalidArgument.
    """
    reference = parse_reference(text)
    if reference.digest is not None:
        raise InvalidArgument("cannot push a digest reference")
    if not all_tags:
        return reference.with_default_tag()
    if reference.tag is not None:
        raise InvalidArgument("tag can't be used with --all-tags/-a")
    return reference


def familiar_names(names: Iterable[str]) -> list[str]:
    """Names as Docker prints them."""
    return sorted(parse_reference(name).familiar for name in names)


def _age(image: StoredImage) -> float:
    return image.config.created.timestamp() if image.config.created is not None else 0.0


def _tagged(name: str, use: ImageUse) -> ImageUse:
    return use if name in use.tags else with_tag(use, name)


def _not_found(text: str) -> ImageNotFound:
    shown = _shown(text)
    return ImageNotFound(f"No such image: {shown}", image=shown)


def _shown(text: str) -> str:
    try:
        reference: Reference = parse_reference(text)
    except InvalidReference:
        return text
    return reference.with_default_tag().familiar

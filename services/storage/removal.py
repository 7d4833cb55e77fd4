"""Removing images, by the rules that users of Docker know.

A name goes first; the image goes with its last name, unless a container still needs it. An image
without names, or with several, is only removed by its ID, the latter only with force. One that
another was made of stays until that one goes, and goes with it when nothing else needs it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from portlayer.errors import FailedPrecondition, Reason
from services.storage.disks import DiskStore
from services.storage.image_events import ImageEvents
from services.storage.image_records import ImageUse, StoredImage, without
from services.storage.image_store import ImageStore, UseChanged
from services.storage.imagec.digest import Digest
from services.storage.imagec.reference import Reference, parse_reference
from services.storage.images import Images

_SHORT = 12


@dataclass(frozen=True)
class Untagged:
    """A name was taken away."""

    name: str


@dataclass(frozen=True)
class Deleted:
    """An image or a layer was deleted."""

    id: str


Removed = Untagged | Deleted


class ImageInUse(FailedPrecondition):
    """A container was made of the image."""

    default_reason = Reason.IMAGE_IN_USE


class ImageHasReferences(FailedPrecondition):
    """The image has more names than the one it would be removed by."""

    default_reason = Reason.IMAGE_HAS_REFERENCES


class Removal:
    """Removes images."""

    def __init__(
        self, store: ImageStore, images: Images, disks: DiskStore, events: ImageEvents
    ) -> None:
        self._store = store
        self._images = images
        self._disks = disks
        self._events = events

    async def remove(
        self, text: str, *, force: bool, prune: bool = True, running: Collection[str] = ()
    ) -> list[Removed]:
        """Take a name away, and the image with its last one; or an image by its ID.

        `running` are the containers that run, of whatever image. With `prune` the images go, too,
        that it was made of and that nothing else needs.

        Raises:
            ImageNotFound, InvalidReference.
            ImageInUse: another image was made of it; a container needs it and `force` is off, or
                one of it runs.
            ImageHasReferences: it was given by ID, has several names, and `force` is off.
        """
        while True:
            image = self._images.find(text)
            parent = self._images.use(image).parent
            name = self._name_of(image, text)
            try:
                if name is not None:
                    removed = await self._by_name(image, text, name, force=force, running=running)
                else:
                    removed = await self._by_id(image, text, force=force, running=running)
            except UseChanged:
                continue  # by what it has now it may have to stay
            break
        if prune and Deleted(image.id) in removed:
            removed += await self._parents(parent)
        return removed

    async def _parents(self, image_id: Digest | None) -> list[Removed]:
        """Remove what an image was made of that is gone, as far as nothing else needs it."""
        removed: list[Removed] = []
        while image_id is not None:
            image = self._store.catalogue.get(image_id)
            if image is None or self._is_needed(image):
                break
            use = self._images.use(image)
            if use.tags or use.digests:
                break
            try:
                removed += await self._delete(image, use)
            except UseChanged:
                break
            image_id = use.parent
        return removed

    def _is_needed(self, image: StoredImage) -> bool:
        has_children = self._store.catalogue.has_children(image.id)
        return has_children or self._container_of(image) is not None

    def _name_of(self, image: StoredImage, text: str) -> str | None:
        """The full name that `text` is, None when it is an ID."""
        if image.id.removeprefix("sha256:").startswith(text.removeprefix("sha256:")):
            return None
        reference = parse_reference(text).with_default_tag()
        if reference.digest is not None:
            return str(reference.with_digest(reference.digest))
        return str(reference)

    async def _by_name(
        self, image: StoredImage, text: str, name: str, *, force: bool, running: Collection[str]
    ) -> list[Removed]:
        use = self._images.use(image)
        container = self._container_of(image)
        if _is_only_reference(use) and container is not None and not force:
            raise ImageInUse(
                f'conflict: unable to remove repository reference "{text}" (must force) - '
                f"container {container[:_SHORT]} is using its referenced image {image.id.short}",
                image=text,
            )
        gone = _going(use, name)
        rest = without(use, gone)
        stays = rest.tags or rest.digests or (container is not None and not force)
        stays = stays or self._store.catalogue.has_children(image.id)
        if not stays and self._running_of(image, running) is None:
            # In one step: a kill must not leave an image that only a prune would find.
            deleted = await self._delete(image, use, untagged=1)
            return [*(Untagged(parse_reference(entry).familiar) for entry in gone), *deleted]
        await self._store.rename(image.id, partial(without, names=gone))
        # Docker's: digests that go with a tag aren't told.
        self._events.untagged(image)
        return [Untagged(parse_reference(entry).familiar) for entry in gone]

    async def _by_id(
        self, image: StoredImage, text: str, *, force: bool, running: Collection[str]
    ) -> list[Removed]:
        use = self._images.use(image)
        if self._store.catalogue.has_children(image.id):
            raise ImageInUse(
                f"conflict: unable to delete {image.id.short} (cannot be forced) - "
                "image has dependent child images",
                image=text,
            )
        if (runs := self._running_of(image, running)) is not None:
            raise ImageInUse(
                f"conflict: unable to delete {image.id.short} (cannot be forced) - "
                f"image is being used by running container {runs[:_SHORT]}",
                image=text,
            )
        container = self._container_of(image)
        if not force and container is not None:
            raise ImageInUse(
                f"conflict: unable to delete {image.id.short} (must be forced) - "
                f"image is being used by stopped container {container[:_SHORT]}",
                image=text,
            )
        if not force and (use.tags or use.digests) and not _is_only_reference(use):
            raise ImageHasReferences(
                f"conflict: unable to delete {image.id.short} (must be forced) - "
                "image is referenced in multiple repositories",
                image=text,
            )
        return await self._with_names(image, use)

    async def discard(self, image: StoredImage, use: ImageUse) -> list[Removed]:
        """Remove an image with all its names unless a container or an image was made of it.

        `use` are the names that it is to have; with others it stays. What it was made of goes, too,
        where nothing else needs it.
        """
        if self._store.catalogue.get(image.id) is None or self._is_needed(image):
            return []
        try:
            removed = await self._with_names(image, use)
        except UseChanged:
            return []
        return [*removed, *await self._parents(use.parent)]

    async def _with_names(self, image: StoredImage, use: ImageUse) -> list[Removed]:
        names = [*use.tags, *use.digests]
        deleted = await self._delete(image, use, untagged=len(use.tags))
        return [*(Untagged(parse_reference(name).familiar) for name in names), *deleted]

    async def _delete(
        self, image: StoredImage, judged: ImageUse, untagged: int = 0
    ) -> list[Removed]:
        layers = await self._store.delete(image, judged)
        for _ in range(untagged):
            self._events.untagged(image)
        self._events.deleted(image)
        return [Deleted(image.id), *(Deleted(chain_id) for chain_id in layers)]

    def _containers_of(self, image: StoredImage) -> Iterator[str]:
        for record in self._disks.records():
            if record.image_id == image.id:
                yield record.container_id

    def _container_of(self, image: StoredImage) -> str | None:
        return next(self._containers_of(image), None)

    def _running_of(self, image: StoredImage, running: Collection[str]) -> str | None:
        return next((one for one in self._containers_of(image) if one in running), None)


def _is_only_reference(use: ImageUse) -> bool:
    """Whether an image has one tag, and no digest of another repository; or one digest."""
    references = [parse_reference(name) for name in (*use.tags, *use.digests)]
    repositories = {reference.name for reference in references}
    return len(use.tags) <= 1 and len(repositories) == 1


def _going(use: ImageUse, name: str) -> list[str]:
    """A name, and digests of its repository when that has no other tag left."""
    reference = parse_reference(name)
    if reference.digest is not None:
        return [name]
    left = [tag for tag in use.tags if tag != name]
    if _names_repository(left, reference):
        return [name]
    return [name, *(entry for entry in use.digests if _names_repository([entry], reference))]


def _names_repository(names: Iterable[str], repository: Reference) -> bool:
    return any(parse_reference(name).name == repository.name for name in names)

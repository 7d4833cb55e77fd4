"""What happens to images, as Docker tells it."""

from __future__ import annotations

from collections.abc import Iterable

from vic.storage.v1 import image_pb2

from portlayer.journal import Journal
from services.storage.image_records import StoredImage
from services.storage.imagec.reference import Reference


class ImageEvents:
    """Tells each change once. Docker names some by the image's ID, some by a reference."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def pulled(self, image: StoredImage, reference: Reference) -> None:
        """Tell that an image was pulled by a reference."""
        self._tell(
            image_pb2.IMAGE_EVENT_KIND_PULL, reference.familiar, image, reference.familiar_name
        )

    def pushed(self, image: StoredImage, reference: Reference) -> None:
        """Tell that an image was pushed by a reference."""
        self._tell(
            image_pb2.IMAGE_EVENT_KIND_PUSH, reference.familiar, image, reference.familiar_name
        )

    def tagged(self, image: StoredImage, reference: Reference) -> None:
        """Tell that an image has got a name."""
        self._tell(image_pb2.IMAGE_EVENT_KIND_TAG, image.id, image, reference.familiar)

    def untagged(self, image: StoredImage) -> None:
        """Tell that an image has lost a name."""
        self._tell(image_pb2.IMAGE_EVENT_KIND_UNTAG, image.id, image, image.id)

    def deleted(self, image: StoredImage) -> None:
        """Tell that an image is gone."""
        self._tell(image_pb2.IMAGE_EVENT_KIND_DELETE, image.id, image, image.id)

    def loaded(self, images: Iterable[StoredImage]) -> None:
        """Tell that images came out of an archive."""
        for image in images:
            self._tell(image_pb2.IMAGE_EVENT_KIND_LOAD, image.id, image, image.id)

    def saved(self, images: Iterable[StoredImage]) -> None:
        """Tell that images went into an archive."""
        for image in images:
            self._tell(image_pb2.IMAGE_EVENT_KIND_SAVE, image.id, image, image.id)

    def imported(self, image: StoredImage) -> None:
        """Tell that an image was made of a root file system."""
        self._tell(image_pb2.IMAGE_EVENT_KIND_IMPORT, image.id, image, image.id)

    def pruned(self, reclaimed_bytes: int) -> None:
        """Tell that the images that nothing used were removed."""
        reclaimed = {"reclaimed": str(reclaimed_bytes)}
        self.journal.add(image_pb2.IMAGE_EVENT_KIND_PRUNE, "", reclaimed)

    def _tell(self, kind: int, actor: str, image: StoredImage, name: str) -> None:
        self.journal.add(kind, actor, {**image.config.defaults.labels, "name": name})

"""Removing the images that nothing uses."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from portlayer.errors import VicError
from services.storage.image_records import ImageUse, StoredImage
from services.storage.image_store import ImageStore
from services.storage.removal import Deleted, Removal, Removed

log = logging.getLogger("vic.storage.pruning")


@dataclass(frozen=True)
class LabelRule:
    """A label that an image must have, or must not have."""

    name: str
    value: str | None
    """None for any."""

    wanted: bool

    @classmethod
    def parse(cls, text: str) -> LabelRule:
        """Read `name` or `name=value`, with "!" before it for what must not be."""
        name, given, value = text.removeprefix("!").partition("=")
        return cls(name, value if given else None, not text.startswith("!"))

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are as they must be."""
        found = self.name in labels and self.value in (None, labels[self.name])
        return found == self.wanted


@dataclass(frozen=True)
class Pruned:
    """What a prune removed."""

    removed: Sequence[Removed]
    reclaimed_bytes: int
    """Bytes of the layers that went, uncompressed."""


class Pruning:
    """Removes images by rules."""

    def __init__(self, store: ImageStore, removal: Removal) -> None:
        self._store = store
        self._removal = removal

    async def prune(
        self, *, everything: bool, until: datetime | None, rules: Sequence[LabelRule]
    ) -> Pruned:
        """Remove images without a tag, or all, that no container was made of.

        `until` spares those that were made later, and those that don't say when. One that can't be
        removed is left and doesn't stop the others.
        """
        removed: list[Removed] = []
        layers = self._store.layers
        before = {record.chain_id: record.size_bytes for record in layers.all()}
        # What was made of others goes before they do.
        catalogue = self._store.catalogue
        youngest = sorted(
            catalogue.all(), key=lambda entry: catalogue.generation(entry[0].id), reverse=True
        )
        for image, _ in youngest:
            # One that was given a name meanwhile stays.
            use = catalogue.use(image.id)
            if not _goes(image, use, everything=everything, until=until, rules=rules):
                continue
            try:
                removed += await self._removal.discard(image, use)
            except (VicError, OSError) as error:
                log.warning("image not pruned: %s", error, extra={"image": image.id})
        gone = {line.id for line in removed if isinstance(line, Deleted)}
        return Pruned(
            removed,
            sum(size for chain_id, size in before.items() if chain_id in gone),
        )


def _goes(
    image: StoredImage,
    use: ImageUse,
    *,
    everything: bool,
    until: datetime | None,
    rules: Sequence[LabelRule],
) -> bool:
    created = image.config.created
    return (
        (everything or not use.tags)
        and (until is None or (created is not None and created <= until))
        and all(rule.holds(image.config.defaults.labels) for rule in rules)
    )

"""What of an image store must stay: what an image, a container's disk or a lease needs."""

from __future__ import annotations

from services.storage.catalogue import Catalogue
from services.storage.imagec.digest import Digest
from services.storage.layers import LayerStore
from services.storage.leases import Lease, Leases, Pins


class Needs:
    """Blobs and layers that something stands on."""

    def __init__(
        self, layers: LayerStore, catalogue: Catalogue, leases: Leases, pins: Pins
    ) -> None:
        self._layers = layers
        self._catalogue = catalogue
        self._leases = leases
        self._pins = pins
        self.own: set[Lease] = set()
        """This process's leases."""

    def everywhere(self) -> tuple[set[Digest], set[Digest]]:
        """Return the blobs and layers that anybody needs. Blocks; the store is the caller's alone.

        Raises OSError.
        """
        kept_blobs, tops = self._leases.held()
        used_blobs, kept_layers = self.here()
        return kept_blobs | used_blobs, kept_layers | self._with_ancestors(tops | self._pins.all())

    def here(self) -> tuple[set[Digest], set[Digest]]:
        """Return what images and this process's own leases need, as far as it is known here."""
        blobs: set[Digest] = set()
        tops: set[Digest] = set()
        for image in self._catalogue.stored_images():
            blobs.update(layer.blob for layer in image.layers)
            tops.update(layer.chain_id for layer in image.layers)
        for lease in tuple(self.own):
            blobs |= lease.blobs
            tops |= lease.layers
        return blobs, self._with_ancestors(tops)

    def _with_ancestors(self, tops: set[Digest]) -> set[Digest]:
        found = set(tops)
        for top in tops:
            if top in self._layers:
                found.update(self._layers.ancestry(top))
        return found

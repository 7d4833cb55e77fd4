"""How much an image store may take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.storage.blobs import BlobStore
from services.storage.imagec.errors import StoreFull
from services.storage.layers import LayerStore

_MIB = 1 << 20


class Quota:
    """A limit on the bytes of blobs and layers, and what of it work in hand will take."""

    def __init__(self, limit: int, layers: LayerStore, blobs: BlobStore) -> None:
        """`limit` is in bytes; 0 is none."""
        self.limit = limit
        self._layers = layers
        self._blobs = blobs
        self._expected = 0

    @property
    def used(self) -> int:
        """Bytes that blobs and layers take, those that come already included."""
        return (
            self._expected
            + sum(self._blobs.size(digest) for digest in self._blobs.all())
            + sum(record.stored_bytes for record in self._layers.all())
        )

    def check(self, size: int) -> None:
        """Raise StoreFull where `size` more bytes would be too many."""
        if not self.limit:
            return
        used = self.used
        if used + size > self.limit:
            raise StoreFull(
                f"the image store's quota of {_shown(self.limit)} would be exceeded: "
                f"{_shown(used)} are in use and {_shown(size)} more are needed"
            )

    @contextmanager
    def expecting(self, size: int) -> Iterator[None]:
        """Count bytes that come. Raises StoreFull."""
        self.check(size)
        self._expected += size
        try:
            yield
        finally:
            self._expected -= size


def _shown(size: int) -> str:
    return f"{size / _MIB:.1f} MiB" if size >= _MIB else f"{size} bytes"

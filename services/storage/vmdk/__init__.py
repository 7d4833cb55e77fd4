"""VMDK files: `monolithicSparse` extents that form chains, as QEMU and VMware read them.

A *disk* is the view through a *chain*: a file and its parents, each holding the *grains*
(64 KiB) in which it differs from the one below. Layers are *sealed*: read-only, never opened
for writing again, because a child is bound to its parent's content ID.
"""

from services.storage.vmdk.errors import ChainBroken, VmdkCorrupt, VmdkError
from services.storage.vmdk.format import GRAIN, content_id
from services.storage.vmdk.reader import MAX_DEPTH, Chain
from services.storage.vmdk.writer import PARTIAL_SUFFIX, SparseWriter, create_disk

__all__ = [
    "GRAIN",
    "MAX_DEPTH",
    "PARTIAL_SUFFIX",
    "Chain",
    "ChainBroken",
    "SparseWriter",
    "VmdkCorrupt",
    "VmdkError",
    "content_id",
    "create_disk",
]

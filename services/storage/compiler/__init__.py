"""The layer compiler: an image layer's tar becomes a VMDK, without mount, mkfs or privilege.

A *base* is an empty ext4 on a disk of the image store's base size. A *layer* is compiled onto its
*parent*, the base or another layer: the tar is applied to a model of the parent's file system,
and the blocks that change go into a child VMDK. The result is deterministic: same parent, same
tar, same bytes.

`compile_layer` and `create_base` take and give plain values, so that they run in a worker
process; `FileSystem` reads a disk back.
"""

from services.storage.compiler.base import create_base, create_volume
from services.storage.compiler.compile import compile_delta, compile_layer
from services.storage.compiler.contract import (
    DEFAULT_SIZE,
    BlockSink,
    BlockSource,
    LayerInfo,
    Limits,
    Readable,
)
from services.storage.compiler.errors import (
    CompilerError,
    DiskCorrupt,
    DiskFull,
    LayerInvalid,
    LayerTooLarge,
    NotFound,
)
from services.storage.compiler.reader import FileSystem, Stat, Usage

__all__ = [
    "DEFAULT_SIZE",
    "BlockSink",
    "BlockSource",
    "CompilerError",
    "DiskCorrupt",
    "DiskFull",
    "FileSystem",
    "LayerInfo",
    "LayerInvalid",
    "LayerTooLarge",
    "Limits",
    "NotFound",
    "Readable",
    "Stat",
    "Usage",
    "compile_delta",
    "compile_layer",
    "create_base",
    "create_volume",
]

"""A volume's disk as the host can look at it, without mounting anything."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from services.storage.compiler.ext4.superblock import (
    BLOCK,
    INCOMPAT_RECOVER,
    INODE_BYTES,
    ROOT_INODE,
    SUPERBLOCK_OFFSET,
)
from services.storage.files import sync_directory
from services.storage.vmdk import GRAIN, Chain, SparseWriter, content_id

COPY_UP_MARK = b"vic.copy_up"
"""Name of the extended attribute (without its prefix, "trusted.") that the root directory carries
while a tether copies an image's files into the volume."""


def is_at_rest(path: Path) -> bool:
    """Tell whether a disk that no VM has can be read as it stands.

    It can't when its journal holds what isn't in place yet, or when the copy of an image's files
    into it was begun and not ended. Raises OSError, VmdkError.
    """
    with Chain(path) as disk:
        superblock = disk.read(SUPERBLOCK_OFFSET, 1024)
        (incompat,) = struct.unpack_from("<I", superblock, 0x60)
        if incompat & INCOMPAT_RECOVER:
            return False
        # The first group's descriptor is in the block behind the superblock's.
        (table,) = struct.unpack_from("<I", disk.read(BLOCK, 32), 8)
        root = disk.read(table * BLOCK + (ROOT_INODE - 1) * INODE_BYTES, INODE_BYTES)
        (xattr_block,) = struct.unpack_from("<I", root, 0x68)
        beside = disk.read(xattr_block * BLOCK, BLOCK) if xattr_block else b""
        return COPY_UP_MARK not in root and COPY_UP_MARK not in beside


def disk_size(path: Path) -> int:
    """Return the bytes of a disk as a VM sees it."""
    with Chain(path) as disk:
        return disk.size


def enlarge(path: Path, size: int, *, name: str) -> None:
    """Give a disk that no VM has more room, in one step. `size` is a multiple of 64 KiB.

    QEMU can't resize a VMDK, so what it holds is copied into a larger one. The file system in it
    is as large as before: the tether that mounts it next for writing lets it grow. Raises OSError,
    VmdkError.
    """
    out = path.with_name(f"larger-{path.name}")
    with (
        Chain(path) as disk,
        SparseWriter(out, size, content_id(f"vic volume {name} {size}")) as writer,
    ):
        for grain in range(-(-disk.size // GRAIN)):
            if disk.holds(grain):
                length = min(GRAIN, disk.size - grain * GRAIN)
                writer.write(grain * GRAIN, memoryview(disk.read(grain * GRAIN, length)))
        writer.seal(0o600)
    os.rename(out, path)
    sync_directory(path.parent)

"""An empty ext4 file system, written block by block: the base disk of an image store, a volume.

What mkfs and a first mount would leave behind, without either: sealed metadata, a clean journal,
every inode table marked as zeroed so that no guest's kernel spends time and space on zeroing it.
Its root is empty: no image has the lost+found that mkfs adds, and e2fsck makes one at need.
Everything derives from size and name; two base disks of one size are the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from services.storage.compiler.contract import DEFAULT_SIZE, BlockSink, LayerInfo
from services.storage.compiler.errors import CompilerError
from services.storage.compiler.ext4 import bitmap, directory, extents
from services.storage.compiler.ext4.geometry import LOG_FLEX, Geometry
from services.storage.compiler.ext4.inode import FLAG_EXTENTS, Inode
from services.storage.compiler.ext4.superblock import (
    BLOCK,
    BLOCK_UNINIT,
    BLOCKS_PER_GROUP,
    COMPAT,
    FIRST_INODE,
    INCOMPAT,
    INODE_BYTES,
    INODE_UNINIT,
    JOURNAL_INODE,
    RO_COMPAT,
    ROOT_INODE,
    SUPERBLOCK_BYTES,
    SUPERBLOCK_OFFSET,
    Group,
    has_backup,
)
from services.storage.vmdk import GRAIN, SparseWriter, VmdkError, content_id

FORMAT_VERSION = 2
"""Part of every base disk's identity: raised when the layout of what is made here changes."""


def create_base(
    path: Path, size: int = DEFAULT_SIZE, *, name: str | None = None, durable: bool = True
) -> LayerInfo:
    """Make the sealed base disk that an image store's layers build on.

    Args:
        path: the VMDK to make; an older file of that name is replaced.
        size: virtual bytes, a multiple of 64 KiB, at least 16 MiB.
        name: identity of the file system; by default the size and the format's version.
        durable: survive a power cut once this returns.

    Raises:
        CompilerError: the size isn't possible.
        OSError: the file can't be written.
    """
    return _create(path, size, name or f"vic base {FORMAT_VERSION} {size}", durable, mode=0o444)


def create_volume(path: Path, size: int, *, name: str, durable: bool = True) -> LayerInfo:
    """Make an empty volume: a file system on a disk without a parent that QEMU may write.

    Arguments and errors as `create_base`; the name is the volume's ID.
    """
    return _create(path, size, f"vic volume {FORMAT_VERSION} {name}", durable, mode=0o600)


def _create(path: Path, size: int, name: str, durable: bool, mode: int) -> LayerInfo:
    if size % GRAIN:
        raise CompilerError(f"a disk of {size} bytes: not a multiple of 64 KiB")
    try:
        with SparseWriter(path, size, content_id(name), durable=durable) as writer:
            format_disk(writer, size, hashlib.sha256(name.encode()).digest())
            writer.seal(mode)
            return LayerInfo(size, writer.file_size, writer.grain_bytes)
    except VmdkError as error:
        raise CompilerError(str(error)) from error


def format_disk(sink: BlockSink, size: int, seed: bytes) -> None:
    """Write an empty file system for a disk that reads as zeros.

    Args:
        sink: the disk.
        size: its bytes.
        seed: at least 32 bytes: the file system's UUID and the seed of its directory hashes.
    """
    geometry = Geometry.of(size)
    groups = geometry.make_groups()
    uuid = seed[:6] + bytes([seed[6] & 0x0F | 0x80, seed[7], seed[8] & 0x3F | 0x80]) + seed[9:16]
    journal = geometry.front(0) + geometry.flex_metadata(0)
    root = journal + geometry.journal

    _take_first_group(groups[0], geometry)
    for number, group in enumerate(groups):
        _write_bitmaps(sink, geometry, number, group, root + 1)
    free_blocks = sum(group.free_blocks for group in groups)
    free_inodes = sum(group.free_inodes for group in groups)
    journal_inode = _inode(0o100600, geometry.journal * BLOCK, 1, journal, geometry.journal)
    superblock = _superblock(geometry, uuid, seed[16:32], free_blocks, free_inodes, journal_inode)
    descriptors = b"".join(g.pack(n, uuid) for n, g in enumerate(groups))
    _write_superblocks(sink, geometry, superblock, descriptors)

    table = bytearray(BLOCK)
    for number, inode in (
        (ROOT_INODE, _inode(0o40755, BLOCK, 2, root, 1)),
        (JOURNAL_INODE, journal_inode),
    ):
        at = (number - 1) * INODE_BYTES
        table[at : at + INODE_BYTES] = inode.pack()
    _write(sink, groups[0].inode_table, table)
    _write(sink, journal, _journal_superblock(geometry.journal, uuid))
    _write(sink, root, directory.build_linear(ROOT_INODE, ROOT_INODE, ()))


def _write(sink: BlockSink, block: int, data: bytes | bytearray) -> None:
    sink.write(block * BLOCK, memoryview(data))


def _take_first_group(group: Group, geometry: Geometry) -> None:
    """Account for the journal, the root and the reserved inodes, which both of them are among."""
    group.free_blocks -= geometry.journal + 1
    group.free_inodes -= FIRST_INODE - 1
    group.unused_inodes -= FIRST_INODE - 1
    group.used_directories = 1


def _write_bitmaps(
    sink: BlockSink, geometry: Geometry, number: int, group: Group, first_free: int
) -> None:
    """Write a group's bitmaps, unless its flags can say that there is nothing to tell."""
    used = geometry.front(number) + geometry.flex_metadata(number)
    if number == 0:
        used = first_free
        inodes = bitmap.new_bitmap(geometry.inodes_per_group)
        bitmap.set_range(inodes, 0, FIRST_INODE - 1)
        _write(sink, group.inode_bitmap, inodes)
    else:
        group.flags |= INODE_UNINIT
    # The kernel takes a last group's bitmap from the disk, and one that holds what belongs to
    # other groups can't be derived from its own descriptor.
    if number and number < geometry.groups - 1 and not geometry.flex_metadata(number):
        group.flags |= BLOCK_UNINIT
        return
    blocks = bitmap.new_bitmap(geometry.blocks_in(number))
    bitmap.set_range(blocks, 0, used)
    _write(sink, group.block_bitmap, blocks)


def _inode(mode: int, size: int, links: int, start: int, count: int) -> Inode:
    return Inode(
        mode=mode,
        uid=0,
        gid=0,
        size=size,
        links=links,
        atime=0,
        ctime=0,
        mtime=0,
        crtime=0,
        sectors=count * BLOCK // 512,
        flags=FLAG_EXTENTS,
        block=extents.single_root(start, count),
        xattr_block=0,
        in_inode_xattrs=b"",
    )


def _superblock(
    geometry: Geometry, uuid: bytes, hash_seed: bytes, blocks: int, inodes: int, journal: Inode
) -> bytearray:
    raw = bytearray(SUPERBLOCK_BYTES)
    pack = struct.pack_into
    pack("<IIIII", raw, 0x00, geometry.groups * geometry.inodes_per_group, geometry.blocks, 0,
         blocks, inodes)  # fmt: skip
    per_group = geometry.inodes_per_group
    pack("<IIIIII", raw, 0x14, 0, 2, 2, BLOCKS_PER_GROUP, BLOCKS_PER_GROUP, per_group)
    # No forced checks by count or age; magic; clean; continue after errors; dynamic revision.
    pack("<HHHHHH", raw, 0x34, 0, 0xFFFF, 0xEF53, 1, 1, 0)
    pack("<II", raw, 0x48, 0, 1)
    pack("<IHHIII", raw, 0x54, FIRST_INODE, INODE_BYTES, 0, COMPAT, INCOMPAT, RO_COMPAT)
    raw[0x68:0x78] = uuid
    pack("<I", raw, 0xE0, JOURNAL_INODE)
    raw[0xEC:0xFC] = hash_seed
    # Half-MD4 for indexed directories; the journal's inode is repeated below, as form 1.
    pack("<BB", raw, 0xFC, 1, 1)
    # User attributes and access control lists without a mount option.
    pack("<I", raw, 0x100, 0x4 | 0x8)
    raw[0x10C:0x148] = journal.block
    pack("<II", raw, 0x148, journal.size >> 32, journal.size & 0xFFFFFFFF)
    pack("<HHI", raw, 0x15C, 32, 32, 0x2)  # unsigned characters in directory hashes
    pack("<B", raw, 0x174, LOG_FLEX)
    pack("<I", raw, 0x248, geometry.overhead)
    return raw


def _write_superblocks(
    sink: BlockSink, geometry: Geometry, superblock: bytearray, descriptors: bytes
) -> None:
    table = descriptors.ljust(geometry.descriptors * BLOCK, b"\0")
    for number in filter(has_backup, range(geometry.groups)):
        struct.pack_into("<H", superblock, 0x5A, number)
        front = bytes(SUPERBLOCK_OFFSET) if number == 0 else b""
        block = (front + superblock).ljust(BLOCK, b"\0")
        _write(sink, number * BLOCKS_PER_GROUP, block + table)


def _journal_superblock(blocks: int, uuid: bytes) -> bytes:
    """An empty journal: jbd2's superblock, version 2, big-endian."""
    raw = struct.pack(">IIIIIIIII", 0xC03B3998, 4, 0, BLOCK, blocks, 1, 1, 0, 0)
    return (raw.ljust(0x30, b"\0") + uuid + (1).to_bytes(4, "big")).ljust(BLOCK, b"\0")

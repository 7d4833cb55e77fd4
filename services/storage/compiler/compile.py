"""Compiling a layer: tar in, block delta out."""

from __future__ import annotations

from pathlib import Path

from services.storage.compiler.contract import BlockSink, BlockSource, LayerInfo, Limits, Readable
from services.storage.compiler.emit import finish
from services.storage.compiler.errors import DiskCorrupt
from services.storage.compiler.ext4.volume import Volume
from services.storage.compiler.layer import LayerWriter
from services.storage.compiler.output import BlockOutput
from services.storage.compiler.tar.stream import TarStream
from services.storage.compiler.tree import Tree
from services.storage.vmdk import Chain, SparseWriter, VmdkError, content_id

_DEFAULT_LIMITS = Limits()


def compile_layer(
    stream: Readable,
    parent: Path,
    out: Path,
    *,
    chain_id: str,
    limits: Limits = _DEFAULT_LIMITS,
    durable: bool = True,
) -> LayerInfo:
    """Compile one layer into a sealed child VMDK of its parent.

    The output depends on the parent's content, the tar, the chain ID, the output's own name and
    its path to the parent, and on nothing else. It gets its name in one step when it is complete.

    Args:
        stream: the uncompressed tar; it is read to its end.
        parent: the layer below, or the base disk.
        out: the VMDK to make; an older file of that name is replaced.
        chain_id: the layer's chain ID (OCI image specification), which gives the content ID.
        limits: what the layer may cost.
        durable: survive a power cut once this returns.

    Raises:
        LayerInvalid: the tar is broken, or asks for what can't be.
        LayerTooLarge: a limit is passed.
        DiskFull: the image doesn't fit into the base size.
        DiskCorrupt: the parent is damaged.
        OSError: reading the stream or writing the file failed.
    """
    try:
        with (
            Chain(parent) as chain,
            SparseWriter(out, chain.size, content_id(chain_id), chain, durable=durable) as writer,
        ):
            info = compile_delta(stream, chain, writer, limits, spare=out.parent)
            writer.seal()
            return LayerInfo(
                size=chain.size,
                bytes_written=writer.file_size,
                changed_bytes=writer.grain_bytes,
                entries=info.entries,
                bytes_read=info.bytes_read,
                dropped_xattrs=info.dropped_xattrs,
            )
    except VmdkError as error:
        raise DiskCorrupt(str(error)) from error


def compile_delta(
    stream: Readable,
    source: BlockSource,
    sink: BlockSink,
    limits: Limits = _DEFAULT_LIMITS,
    *,
    spare: Path | None = None,
) -> LayerInfo:
    """Compile one layer into writes of whole blocks.

    Args:
        stream: the uncompressed tar.
        source: the parent's disk; it isn't changed.
        sink: gets every block that differs, files' data first, in an order that only depends on
            parent and tar, from a thread of its own. A block may come twice; the later one counts.
        limits: what the layer may cost.
        spare: a directory for what is too much for memory; without, that of temporary files.

    Raises:
        CompilerError: as `compile_layer`.
    """
    volume = Volume(source)
    if not volume.superblock.ours:
        raise DiskCorrupt(
            "the parent's file system isn't clean, or has features that we don't make"
        )
    members = TarStream(stream, limits)
    with BlockOutput(sink) as output:
        tree = Tree(volume, output, spare)
        writer = LayerWriter(tree, members, limits.path_steps)
        while (member := members.next()) is not None:
            writer.apply(member)
            tree.directories.settle()
        finish(tree)
    return LayerInfo(
        size=source.size,
        bytes_written=0,
        changed_bytes=0,
        entries=members.members,
        bytes_read=members.bytes_read,
        dropped_xattrs=writer.dropped_xattrs,
    )

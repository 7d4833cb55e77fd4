"""The file system in memory: the parent's, loaded as it is looked at, with the layer's edits.

A name in a directory belongs to the parent (*lower*) until this layer makes it or passes through
it; whiteouts hide lower names only, whatever their place in the tar.
"""

from __future__ import annotations

from array import array
from pathlib import Path

from services.storage.compiler.allocation import BlockAllocator, InodeAllocator
from services.storage.compiler.directories import Directories, Directory
from services.storage.compiler.errors import DiskCorrupt, LayerInvalid
from services.storage.compiler.ext4 import extents
from services.storage.compiler.ext4.directory import MAX_NAME, pack_entry
from services.storage.compiler.ext4.inode import (
    FAST_SYMLINK,
    FLAG_EXTENTS,
    MAX_LINKS,
    TYPE_DIRECTORY,
    TYPE_LINK,
    Inode,
)
from services.storage.compiler.ext4.superblock import ROOT_INODE
from services.storage.compiler.ext4.volume import Volume
from services.storage.compiler.inodes import InodeTable
from services.storage.compiler.output import BlockOutput
from services.storage.compiler.spare import SpareBlocks


class Tree:
    """Directories, names and inodes, with the space they take."""

    def __init__(self, volume: Volume, output: BlockOutput, spare: Path | None = None) -> None:
        """Begin with the parent's tree; `spare` is a directory for what is too much for memory."""
        self.volume = volume
        self.spare = None if spare is None else str(spare)
        self.output = output
        self.inodes = InodeTable(volume, spare)
        self.blocks = BlockAllocator(volume)
        self.numbers = InodeAllocator(volume)
        self.directories = Directories(spare)
        self._links = SpareBlocks(volume.superblock.blocks, spare)
        """Targets of this layer's symbolic links that don't lie in their inodes."""
        self._nodes = SpareBlocks(volume.superblock.blocks, spare)
        """This layer's blocks of extent trees."""
        self.generation = 0
        """Counts what may change the meaning of a path that was looked up before."""
        self._load(ROOT_INODE, ROOT_INODE, b"")

    @property
    def root(self) -> Directory:
        """The directory that all are in."""
        return self.directories.known(ROOT_INODE)

    def _load(self, number: int, parent: int, name: bytes) -> Directory:
        found = Directory(number, parent, name, fresh=False)
        inode = self.inodes.get(number)
        if inode.kind != TYPE_DIRECTORY:
            raise DiskCorrupt(f"inode {number} isn't a directory")
        self.directories.add(found, size=inode.size)
        for child, target, kind in self.volume.entries(inode):
            if child not in (b".", b".."):
                found.add(child, pack_entry(target, kind), lower=True)
        self.directories.grown(found.weight)
        return found

    def enter(self, parent: Directory, name: bytes, entry: int) -> Directory:
        """The directory that an entry names."""
        found = self.directories.get(entry >> 3)
        return found if found is not None else self._load(entry >> 3, parent.number, name)

    def parent(self, directory: Directory) -> Directory:
        """The directory that one is in; the root for the root."""
        return self.directories.known(directory.parent)

    def link_target(self, number: int) -> bytes:
        """What a symbolic link points to."""
        inode = self.inodes.get(number)
        if inode.size >= FAST_SYMLINK:
            found, _ = extents.parse(inode.block, self._read_node, self.volume.superblock.blocks)
            if found and found[0].start in self._links:
                return self._links.get(found[0].start, inode.size)
        return self.volume.link_target(inode)

    def keep_link_target(self, block: int, target: bytes) -> None:
        """Know the target that was written into a block."""
        self._links.put(block, target)

    def claim(self, directory: Directory) -> None:
        """Mark the way to a directory as this layer's, so that no whiteout takes it away."""
        while not directory.claimed:
            directory.claimed = True
            parent = self.parent(directory)
            parent.own(directory.name)
            directory = parent

    def attach(self, parent: Directory, name: bytes, number: int, kind: int) -> None:
        """Give an inode a name that isn't taken."""
        if len(name) > MAX_NAME:
            raise LayerInvalid(f"a name of {len(name)} bytes, more than {MAX_NAME}")
        self.directories.grown(parent.add(name, pack_entry(number, kind)))
        parent.changed = True
        if not parent.claimed:
            self.claim(parent)

    def keep(self, parent: Directory, name: bytes) -> None:
        """Have a name that is there be this layer's."""
        parent.own(name)
        parent.changed = True
        self.claim(parent)

    def make_directory(self, parent: Directory, name: bytes, inode: Inode) -> Directory:
        """Make an empty directory under a name that isn't taken."""
        number = self.numbers.take(directory=True)
        self.inodes.put(number, inode)
        self.attach(parent, name, number, TYPE_DIRECTORY)
        made = Directory(number, parent.number, name, fresh=True)
        self.directories.add(made)
        self.directories.grown(made.weight)
        return made

    def add_name(self, parent: Directory, name: bytes, entry: int) -> None:
        """Give a file a further name."""
        number = entry >> 3
        if self.inodes.add_links(number, 1) > MAX_LINKS:
            raise LayerInvalid(f"a file with more than {MAX_LINKS} names")
        self.attach(parent, name, number, entry & 7)

    def remove(self, parent: Directory, name: bytes) -> None:
        """Take a name away, with everything below it."""
        entry = parent.take(name)
        parent.changed = True
        kind = entry & 7
        if kind == TYPE_DIRECTORY:
            self.generation += 1
            self._remove_tree(entry >> 3)
            return
        if kind == TYPE_LINK:
            self.generation += 1
        self._release(entry >> 3)

    def _remove_tree(self, top: int) -> None:
        pending = array("I", [top])
        while pending:
            number = pending.pop()
            # Where one lies doesn't matter any more.
            directory = self.directories.get(number) or self._load(number, ROOT_INODE, b"")
            self.directories.forget(directory)
            for _, entry in directory.entries():
                if entry & 7 == TYPE_DIRECTORY:
                    pending.append(entry >> 3)
                else:
                    self._release(entry >> 3)
            self._free_content(self.inodes.get(number))
            self.inodes.clear(number)
            self.numbers.free(number, directory=True)

    def _release(self, number: int) -> None:
        """Take one name off a file, and the file away with its last name."""
        if self.inodes.add_links(number, -1) > 0:
            return
        self._free_content(self.inodes.get(number))
        self.inodes.clear(number)
        self.numbers.free(number, directory=False)

    def _free_content(self, inode: Inode) -> None:
        if inode.flags & FLAG_EXTENTS:
            self.free_data(inode)
        if inode.xattr_block:
            self.blocks.free(inode.xattr_block, 1)

    def free_data(self, inode: Inode) -> None:
        """Give back the blocks of a file's or directory's data."""
        found, nodes = extents.parse(inode.block, self._read_node, self.volume.superblock.blocks)
        for extent in found:
            self.blocks.free(extent.start, extent.count)
        for node in nodes:
            self.blocks.free(node, 1)

    def _read_node(self, block: int) -> bytes:
        return self._nodes.get(block) if block in self._nodes else self.volume.read_block(block)

    def build_extents(self, runs: list[extents.Extent]) -> tuple[bytes, int]:
        """Make an extent tree; the root's 60 bytes, and how many blocks its nodes take."""

        def write(block: int, node: bytes) -> None:
            self._nodes.put(block, node)
            self.output.put(block, node)

        root, nodes = extents.build(runs, self.blocks.take_one, write)
        return root, len(nodes)

    def hide_lower(self, top: Directory) -> None:
        """Take away everything below a directory that is the parent's alone.

        Nobody may hold a directory over this.
        """
        pending = array("I", [top.number])
        while pending:
            self.directories.settle()
            # What is this layer's has been looked into.
            directory = self.directories.known(pending.pop())
            if directory.cleared:
                continue
            directory.cleared = True
            for name, entry in directory.entries():
                if not directory.owns(name):
                    self.remove(directory, name)
                elif entry & 7 == TYPE_DIRECTORY:
                    pending.append(entry >> 3)

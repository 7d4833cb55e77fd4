"""Applying a layer's members to the tree, in the order of the tar.

Source: OCI image specification, "Image Layer Filesystem Changeset". Where it is silent, the rule
is what Docker and umoci do: a directory over a directory keeps the content and takes the new
attributes, anything else replaces what had the name.
"""

from __future__ import annotations

import stat
from collections.abc import Callable

from services.storage.compiler.content import ContentWriter, Payload
from services.storage.compiler.directories import Directory
from services.storage.compiler.errors import LayerInvalid
from services.storage.compiler.ext4 import extents, xattr
from services.storage.compiler.ext4.inode import (
    FAST_SYMLINK,
    FLAG_EXTENTS,
    TYPE_BLOCK,
    TYPE_CHAR,
    TYPE_DIRECTORY,
    TYPE_FIFO,
    TYPE_FILE,
    TYPE_LINK,
    Inode,
    encode_device,
)
from services.storage.compiler.ext4.superblock import BLOCK
from services.storage.compiler.paths import MAX_PATH, Resolver, shown, split
from services.storage.compiler.tar.stream import Kind, Member
from services.storage.compiler.tree import Tree

_WHITEOUT = b".wh."
_AUFS = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_FILE = Kind.FILE  # looked up for each member
_NO_OWNER = 0xFFFFFFFF
_MAX_MAJOR = 0xFFF
_MAX_MINOR = 0xFFFFF
_EMPTY_BLOCK = bytes(60)


class LayerWriter:
    """Turns members into edits of the tree."""

    def __init__(self, tree: Tree, payload: Payload, max_steps: int) -> None:
        """`payload` is that of the present member."""
        self._tree = tree
        self._paths = Resolver(tree, max_steps)
        self._content = ContentWriter(tree, payload)
        self.dropped_xattrs = 0
        self._makers: dict[Kind, Callable[[Member], tuple[int, Inode]]] = {
            Kind.SYMLINK: self._symlink,
            Kind.CHAR_DEVICE: self._device,
            Kind.BLOCK_DEVICE: self._device,
            Kind.FIFO: self._fifo,
        }

    def apply(self, member: Member) -> None:
        """Carry out one member.

        Raises:
            LayerInvalid: it asks for what can't be, or reaches out of the image.
            DiskFull: no room for it.
        """
        kind = member.kind
        known = self._paths.known(member.name)
        if known is not None:
            parent, name = known
            self._check_owner(member)
        else:
            path, name = split(member.name)
            if name.startswith(_WHITEOUT):
                self._whiteout(path, name)
                return
            self._check_owner(member)
            if not name:
                self._root(member)
                return
            parent = self._paths.make(path)
            self._paths.remember(member.name, parent)
        if kind is _FILE:
            self._make(parent, name, member, self._file)
        elif kind is Kind.DIRECTORY:
            self._directory(parent, name, member)
        elif kind is Kind.HARD_LINK:
            self._hard_link(parent, name, member)
        else:
            self._make(parent, name, member, self._makers[kind])

    def _check_owner(self, member: Member) -> None:
        if (
            0 <= member.uid < _NO_OWNER and 0 <= member.gid < _NO_OWNER
        ) or member.kind is Kind.HARD_LINK:
            return
        raise LayerInvalid(f"{shown(member.name)} has an owner that Linux can't express")

    def _make(
        self,
        parent: Directory,
        name: bytes,
        member: Member,
        make: Callable[[Member], tuple[int, Inode]],
    ) -> None:
        tree = self._tree
        if name in parent.names:
            tree.remove(parent, name)
        file_type, inode = make(member)
        number = tree.numbers.take(directory=False)
        tree.inodes.put(number, inode)
        tree.attach(parent, name, number, file_type)

    def _whiteout(self, path: bytes, name: bytes) -> None:
        directory = self._paths.find(path)
        target = name[len(_WHITEOUT) :]
        if target in (b"", b".", b".."):
            raise LayerInvalid(f"the whiteout {shown(name)} names nothing")
        if name == _OPAQUE:
            if directory is not None:
                self._tree.hide_lower(directory)
            return
        # What else begins like this is AUFS's own book-keeping.
        if directory is None or name.startswith(_AUFS):
            return
        entry = directory.find(target)
        if entry is None:
            return
        if directory.owns(target):
            if entry & 7 == TYPE_DIRECTORY:
                self._tree.hide_lower(self._tree.enter(directory, target, entry))
            return
        self._tree.remove(directory, target)

    def _root(self, member: Member) -> None:
        if member.kind is not Kind.DIRECTORY:
            raise LayerInvalid("the layer replaces the root directory by something else")
        self._describe(self._tree.root, member)

    def _directory(self, parent: Directory, name: bytes, member: Member) -> None:
        tree = self._tree
        entry = parent.find(name)
        if entry is not None and entry & 7 == TYPE_DIRECTORY:
            found = tree.enter(parent, name, entry)
            self._describe(found, member)
            tree.claim(found)
            return
        if entry is not None:
            tree.remove(parent, name)
        inode = self._inode(member, stat.S_IFDIR, FLAG_EXTENTS, extents.EMPTY_ROOT)
        tree.make_directory(parent, name, inode)

    def _describe(self, directory: Directory, member: Member) -> None:
        """Give a directory that is there a member's attributes."""
        old = self._tree.inodes.get(directory.number)
        if old.xattr_block:
            self._tree.blocks.free(old.xattr_block, 1)
        new = self._inode(member, stat.S_IFDIR, old.flags, old.block)
        new.size = old.size
        new.links = old.links
        new.crtime = old.crtime
        new.sectors += old.sectors - (8 if old.xattr_block else 0)
        self._tree.inodes.put(directory.number, new)

    def _hard_link(self, parent: Directory, name: bytes, member: Member) -> None:
        tree = self._tree
        path, last = split(member.link)
        target = self._find(path, last)
        if target is None or not last:
            raise LayerInvalid(
                f"{shown(member.name)} is a link to {shown(member.link)}, which isn't there"
            )
        if target & 7 == TYPE_DIRECTORY:
            raise LayerInvalid(f"{shown(member.name)} is a hard link to a directory")
        existing = parent.find(name)
        if existing is not None:
            if existing >> 3 == target >> 3:
                # It says what is so already; but from now on it is this layer that says it.
                tree.keep(parent, name)
                return
            tree.remove(parent, name)
            if self._find(path, last) != target:
                raise LayerInvalid(f"{shown(member.name)} is a link to what it replaces")
        tree.add_name(parent, name, target)

    def _find(self, path: bytes, name: bytes) -> int | None:
        directory = self._paths.find(path)
        return None if directory is None else directory.find(name)

    def _inode(
        self, member: Member, file_type: int, flags: int, block: bytes, sectors: int = 0
    ) -> Inode:
        mode = file_type | member.mode & 0o7777
        in_inode = b""
        xattr_block = 0
        if member.xattrs:
            stored = xattr.build(member.xattrs, mode)
            in_inode = stored.in_inode
            self.dropped_xattrs += stored.dropped
            if stored.block is not None:
                xattr_block = self._tree.blocks.take_one()
                self._tree.output.put(xattr_block, stored.block)
                sectors += BLOCK // 512
        return Inode(
            mode,
            member.uid,
            member.gid,
            member.size,
            1 if file_type != stat.S_IFDIR else 2,
            member.atime,
            member.ctime,
            member.mtime,
            member.mtime,
            sectors,
            flags,
            block,
            xattr_block,
            in_inode,
        )

    def _file(self, member: Member) -> tuple[int, Inode]:
        block, blocks = self._content.write(member)
        sectors = blocks * (BLOCK // 512)
        return TYPE_FILE, self._inode(member, stat.S_IFREG, FLAG_EXTENTS, block, sectors)

    def _symlink(self, member: Member) -> tuple[int, Inode]:
        target = member.link
        if not target or len(target) > MAX_PATH:
            raise LayerInvalid(
                f"the symbolic link {shown(member.name)} has a target of {len(target)} bytes"
            )
        if len(target) < FAST_SYMLINK:
            inode = self._inode(member, stat.S_IFLNK, 0, target.ljust(60, b"\0"))
        else:
            block = self._tree.blocks.take_one()
            self._tree.output.put(block, target.ljust(BLOCK, b"\0"))
            self._tree.keep_link_target(block, target)
            root = extents.single_root(block, 1)
            inode = self._inode(member, stat.S_IFLNK, FLAG_EXTENTS, root, BLOCK // 512)
        inode.mode = stat.S_IFLNK | 0o777
        inode.size = len(target)
        return TYPE_LINK, inode

    def _device(self, member: Member) -> tuple[int, Inode]:
        major, minor = member.major, member.minor
        if not (0 <= major <= _MAX_MAJOR and 0 <= minor <= _MAX_MINOR):
            raise LayerInvalid(f"{shown(member.name)} is a device {major}:{minor}")
        block = encode_device(major, minor)
        if member.kind is Kind.CHAR_DEVICE:
            return TYPE_CHAR, self._inode(member, stat.S_IFCHR, 0, block)
        return TYPE_BLOCK, self._inode(member, stat.S_IFBLK, 0, block)

    def _fifo(self, member: Member) -> tuple[int, Inode]:
        return TYPE_FIFO, self._inode(member, stat.S_IFIFO, 0, _EMPTY_BLOCK)

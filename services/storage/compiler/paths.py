"""Names of a tar's members, and what they lead to in the tree.

Links on the way are followed inside the tree, as if it were the root of everything: there is
nothing outside of it. The last component is never followed.
"""

from __future__ import annotations

from services.storage.compiler.directories import Directory
from services.storage.compiler.errors import LayerInvalid, LayerTooLarge
from services.storage.compiler.ext4 import extents
from services.storage.compiler.ext4.directory import MAX_NAME
from services.storage.compiler.ext4.inode import (
    FLAG_EXTENTS,
    TYPE_DIRECTORY,
    TYPE_LINK,
    Inode,
)
from services.storage.compiler.ext4.superblock import ROOT_INODE
from services.storage.compiler.tree import Tree

MAX_PATH = 4095
_DOT = ord(".")
_MAX_HOPS = 40
"""Links followed in one path: Linux's own limit."""
_CACHE = 1 << 14
_CACHED_PATH = 512


def shown(name: bytes) -> str:
    """A name as an error may show it."""
    text = name[:200].decode("utf-8", "backslashreplace")
    return repr(text if len(name) <= 200 else text + "…")


def split(name: bytes) -> tuple[bytes, bytes]:
    """A member's directory and its name in there, both relative to the root.

    The root itself is two empty names.

    Raises:
        LayerInvalid: the name reaches out of the root, or is too long.
    """
    if name[:2] == b"./":
        name = name[2:]
    if len(name) > MAX_PATH:
        raise LayerInvalid(f"the path {shown(name)} is longer than {MAX_PATH} bytes")
    if b"//" in name or b"/." in name or name[:1] in (b"/", b".", b"") or name[-1:] == b"/":
        name = _clean(name)
    directory, _, last = name.rpartition(b"/")
    return directory, last


def _clean(name: bytes) -> bytes:
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise LayerInvalid(f"the path {shown(name)} reaches out of the image")
            parts.pop()
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)


class Resolver:
    """Finds directories by path, and makes those that a layer takes for granted."""

    def __init__(self, tree: Tree, max_steps: int) -> None:
        """`max_steps` bounds the components looked up in all, against links that multiply."""
        self._tree = tree
        self._steps = max_steps
        self._cache = {b"": ROOT_INODE}
        """Directories by path."""
        self._written: dict[bytes, int] = {}
        """Those of members' directories as tars have them, not yet made plain."""
        self._generation = tree.generation

    def known(self, name: bytes) -> tuple[Directory, bytes] | None:
        """The directory of a member beside one that was remembered, and the member's name in there.

        None also where the name has to be looked at: it may be a whiteout, or no name at all.
        """
        path, _, last = name.rpartition(b"/")
        if not last or last[0] == _DOT or self._generation != self._tree.generation:
            return None
        number = self._written.get(path)
        if number is None or len(last) > MAX_NAME:
            return None
        return self._tree.directories.known(number), last

    def remember(self, name: bytes, directory: Directory) -> None:
        """Know the directory of a member's name, as the tar has written it."""
        path, _, last = name.rpartition(b"/")
        self._refresh()
        # With anything else at its end the name's directory is another one than it seems.
        if last and last[0] != _DOT and len(path) <= _CACHED_PATH:
            self._written[path] = directory.number

    def _refresh(self) -> None:
        """Forget all paths where they may have another meaning since, or are too many."""
        if self._generation != self._tree.generation or self._full():
            self._generation = self._tree.generation
            self._cache = {b"": ROOT_INODE}
            self._written = {}

    def _full(self) -> bool:
        return len(self._cache) > _CACHE or len(self._written) > _CACHE

    def make(self, path: bytes) -> Directory:
        """The directory at a path; missing ones are made.

        Raises:
            LayerInvalid: the path leads through a file of this layer, or round in circles.
        """
        self._refresh()
        number = self._cache.get(path)
        if number is not None:
            return self._tree.directories.known(number)
        found = self._walk(path, make=True)
        assert found is not None
        if len(path) <= _CACHED_PATH:
            self._cache[path] = found.number
        return found

    def find(self, path: bytes) -> Directory | None:
        """The directory at a path, if there is one."""
        return self._walk(path, make=False)

    def _walk(self, path: bytes, *, make: bool) -> Directory | None:
        tree = self._tree
        at = tree.root
        pending = path.split(b"/")[::-1]
        hops = 0
        while pending:
            part = pending.pop()
            self._steps -= 1
            if self._steps < 0:
                raise LayerTooLarge("the layer's paths take too long to follow")
            if not part or part == b".":
                continue
            if part == b"..":
                at = tree.parent(at)
                continue
            entry = at.find(part)
            kind = entry & 7 if entry is not None else 0
            if entry is not None and kind == TYPE_DIRECTORY:
                at = tree.enter(at, part, entry)
            elif entry is not None and kind == TYPE_LINK:
                hops += 1
                if hops > _MAX_HOPS:
                    raise LayerInvalid(f"the path {shown(path)} goes through too many links")
                target = tree.link_target(entry >> 3)
                if target[:1] == b"/":
                    at = tree.root
                pending += target.split(b"/")[::-1]
            elif not make:
                return None
            else:
                at = self._make(at, part, path)
        return at

    def _make(self, parent: Directory, name: bytes, path: bytes) -> Directory:
        tree = self._tree
        if name in parent:
            if parent.owns(name):
                raise LayerInvalid(f"the path {shown(path)} leads through a file")
            tree.remove(parent, name)
        return tree.make_directory(parent, name, implicit_directory())


def implicit_directory() -> Inode:
    """A directory that no member describes: root's, open to all, as old as time itself."""
    return Inode(
        mode=0o40755,
        uid=0,
        gid=0,
        size=0,
        links=2,
        atime=0,
        ctime=0,
        mtime=0,
        crtime=0,
        sectors=0,
        flags=FLAG_EXTENTS,
        block=extents.EMPTY_ROOT,
        xattr_block=0,
        in_inode_xattrs=b"",
    )

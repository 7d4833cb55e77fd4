"""Writing the bytes of files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from services.storage.compiler.allocation import Run
from services.storage.compiler.errors import LayerInvalid
from services.storage.compiler.ext4 import extents
from services.storage.compiler.ext4.extents import Extent
from services.storage.compiler.ext4.superblock import BLOCK
from services.storage.compiler.output import GATHER
from services.storage.compiler.paths import shown
from services.storage.compiler.tar.sparse import Fragments
from services.storage.compiler.tar.stream import Member
from services.storage.compiler.tree import Tree

_MAX_SIZE = extents.MAX_LOGICAL * BLOCK
"""The largest file that ext4 holds with 4 KiB blocks: 16 TiB less one block."""


class Payload(Protocol):
    """The bytes of the present member's file."""

    def views(self, count: int) -> list[memoryview]:
        """The next `count` bytes where they are; nobody changes them."""

    def read_into(self, target: memoryview) -> None:
        """Fill `target` with the next bytes."""


class ContentWriter:
    """Puts payloads into free blocks."""

    def __init__(self, tree: Tree, payload: Payload) -> None:
        """`payload` is that of the present member."""
        self._tree = tree
        self._payload = payload

    def write(self, member: Member) -> tuple[bytes, int]:
        """Write a file's data.

        Returns:
            The 60 bytes of its extent tree's root, and how many blocks it takes in all.

        Raises:
            LayerInvalid: larger than any file can be.
            DiskFull: no room.
        """
        size = member.size
        if not size:
            return extents.EMPTY_ROOT, 0
        if size > _MAX_SIZE:
            raise LayerInvalid(f"{shown(member.name)} is a file of {size} bytes")
        if member.fragments is not None:
            return self._write_sparse(member.fragments)
        blocks = (size + BLOCK - 1) // BLOCK
        runs = self._tree.blocks.take(blocks)
        if len(runs) == 1 and size <= GATHER:
            start, count = runs[0]
            self._tree.output.lend(start, self._payload.views(size), size)
            return extents.single_root(start, count), blocks
        self._lend(runs, size)
        return self._root(joined(0, runs), blocks)

    def _lend(self, runs: list[Run], size: int) -> None:
        """Pass a payload on in pieces, so that little of it is in memory."""
        for start, count in runs:
            end = start + count
            while start < end:
                step = min(size, (end - start) * BLOCK, GATHER)
                self._tree.output.lend(start, self._payload.views(step), step)
                size -= step
                start += GATHER // BLOCK

    def _root(self, found: list[Extent], blocks: int) -> tuple[bytes, int]:
        root, nodes = self._tree.build_extents(found)
        return root, blocks + nodes

    def _write_sparse(self, fragments: Fragments) -> tuple[bytes, int]:
        found: list[Extent] = []
        blocks = 0
        for first, count, parts in _covered(fragments):
            runs = self._tree.blocks.take(count)
            filler = _Filler(parts, first * BLOCK, self._payload.read_into)
            self._tree.output.stream(runs, count * BLOCK, filler.fill)
            found += joined(first, runs)
            blocks += count
        return self._root(found, blocks)


def joined(logical: int, runs: list[tuple[int, int]]) -> list[Extent]:
    """Extents of a file's blocks from one on, which lie in runs."""
    found: list[Extent] = []
    for start, count in runs:
        found.append(Extent(logical, start, count))
        logical += count
    return found


def _covered(fragments: Fragments) -> list[tuple[int, int, Fragments]]:
    """Runs of file blocks that hold data: first block, count, and the fragments in there."""
    covered: list[tuple[int, int, Fragments]] = []
    for offset, length in fragments:
        first = offset // BLOCK
        end = (offset + length + BLOCK - 1) // BLOCK
        if covered and first <= covered[-1][0] + covered[-1][1]:
            start, _, parts = covered[-1]
            parts.append((offset, length))
            covered[-1] = (start, end - start, parts)
        else:
            covered.append((first, end - first, [(offset, length)]))
    return covered


class _Filler:
    """Gives the bytes of a run of blocks: fragments from the payload, zeros between them."""

    def __init__(
        self, parts: Fragments, offset: int, read_into: Callable[[memoryview], None]
    ) -> None:
        self._parts = parts[::-1]
        self._offset = offset
        self._read_into = read_into

    def fill(self, view: memoryview) -> None:
        while len(view):
            if not self._parts:
                view[:] = bytes(len(view))
                return
            offset, length = self._parts[-1]
            gap = min(offset - self._offset, len(view))
            if gap:
                view[:gap] = bytes(gap)
                step = gap
            else:
                step = min(length, len(view))
                self._read_into(view[:step])
                if step == length:
                    self._parts.pop()
                else:
                    self._parts[-1] = (offset + step, length - step)
            self._offset += step
            view = view[step:]

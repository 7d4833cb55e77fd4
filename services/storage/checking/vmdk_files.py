"""Whether a VMDK file is whole, as far as it tells itself."""

from __future__ import annotations

import os
from pathlib import Path

from services.storage.vmdk import VmdkError
from services.storage.vmdk.format import DESCRIPTOR_SECTORS, NO_PARENT_CID, SECTOR
from services.storage.vmdk.reader import Extent

_CONTENT = (1 + DESCRIPTOR_SECTORS) * SECTOR
"""Where tables and grains begin; what is before them names the file and its parent."""

ANY_PARENT = Path()
"""Where only the file itself is looked at."""

_CHUNK = 1 << 20
_ZERO_GRAIN = 1


def fault(path: Path, *, parent: Path | None, size: int | None = None) -> str:
    """Say what is wrong with a file of a chain, nothing if nothing is. Blocks.

    `parent` is the file that it must be a child of, None for none; `size` is what a VM must see.
    """
    try:
        extent = Extent(path)
    except FileNotFoundError:
        return "its disk is missing"
    except (OSError, VmdkError) as error:
        return f"its disk can't be read: {error}"
    try:
        if size is not None and extent.size != size:
            return f"its disk has {extent.size} bytes, not {size}"
        link = "" if parent is ANY_PARENT else _fault_of_link(extent, parent)
        return link or _fault_of_tables(extent, path)
    except (OSError, VmdkError) as error:
        return f"its disk can't be read: {error}"
    finally:
        extent.close()


def _fault_of_link(extent: Extent, parent: Path | None) -> str:
    descriptor = extent.descriptor
    if parent is None:
        return "" if descriptor.parent_cid == NO_PARENT_CID else "its disk has a parent"
    if not descriptor.parent_hint:
        return "its disk names no parent"
    named = Path(os.path.normpath(extent.path.parent / descriptor.parent_hint))
    if named != Path(os.path.normpath(parent)):
        return f"its disk is a child of {named}, not of {parent.name}"
    above = Extent(parent)
    try:
        if descriptor.parent_cid != above.descriptor.cid:
            return (
                f"its disk was made on content {descriptor.parent_cid:08x}, but {parent.name} "
                f"holds {above.descriptor.cid:08x}"
            )
    finally:
        above.close()
    return ""


def _fault_of_tables(extent: Extent, path: Path) -> str:
    end = path.stat().st_size // SECTOR + (path.stat().st_size % SECTOR > 0)
    for number in extent.tables():
        last = max(extent.table(number))
        if last > _ZERO_GRAIN and last >= end:
            return f"its disk is cut: grain table {number} points behind the end"
    return ""


def same_content(one: Path, other: Path) -> bool:
    """Tell whether two files hold the same grains in the same places. Blocks. Raises OSError."""
    with one.open("rb") as first, other.open("rb") as second:
        if first.read(SECTOR) != second.read(SECTOR):
            return False
        first.seek(_CONTENT)
        second.seek(_CONTENT)
        while True:
            left, right = first.read(_CHUNK), second.read(_CHUNK)
            if left != right:
                return False
            if not left:
                return True

"""What differs from the image as a layer: a tar with whiteouts.

Source: OCI image specification, layer.md.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from typing import IO

from tether.files.compare import DELETED, Change
from tether.files.pack import add, stream_tar

_WHITEOUT = ".wh."


def write_layer(changes: Iterable[Change], root: str, out: IO[bytes]) -> None:
    """Write changes of what is below a root. A removed file is an empty one with a prefix.

    Raises FileError.
    """
    with stream_tar(out) as tar:
        links: dict[tuple[int, int], str] = {}
        for change in changes:
            if change.kind == DELETED:
                directory, _, name = change.path[1:].rpartition("/")
                place = f"{directory}/" if directory else ""
                tar.addfile(tarfile.TarInfo(f"{place}{_WHITEOUT}{name}"))
            else:
                add(tar, root + change.path, change.path[1:], links)

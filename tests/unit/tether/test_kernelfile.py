"""Reading and writing small files without pathlib and io."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tether.supervisor import kernelfile


def test_what_is_put_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"....")
    kernelfile.put(str(path), b"12")
    assert kernelfile.take(str(path)) == b"12.."


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        kernelfile.put(str(tmp_path / "file"), b"12")


@pytest.mark.parametrize("most", [None, 1, 65_536, 65_537, 200_000, 300_000])
def test_no_more_is_read_than_was_asked_for(tmp_path: Path, most: int | None) -> None:
    content = os.urandom(200_000)
    (tmp_path / "file").write_bytes(content)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        assert kernelfile.rest(descriptor, most) == content[:most]
    finally:
        os.close(descriptor)

"""The archive that becomes the initial RAM file system."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tether.bootstrap.cpio import Archive


def parse(data: bytes) -> dict[str, tuple[int, bytes, tuple[int, int], int]]:
    """Read newc as the kernel does: name → mode, data, device, mtime."""
    entries: dict[str, tuple[int, bytes, tuple[int, int], int]] = {}
    offset = 0
    while True:
        assert data[offset : offset + 6] == b"070701"
        fields = [int(data[offset + 6 + 8 * i : offset + 14 + 8 * i], 16) for i in range(13)]
        name_size, size = fields[11], fields[6]
        name = data[offset + 110 : offset + 110 + name_size - 1].decode()
        start = (offset + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            assert not data[start:].strip(b"\0")
            return entries
        entries[name] = (fields[1], data[start : start + size], (fields[9], fields[10]), fields[5])
        offset = (start + size + 3) & ~3


def sample(order: int) -> Archive:
    archive = Archive()
    steps: list[Callable[[], None]] = [
        lambda: archive.file("usr/bin/tool", b"12345", 0o755),
        lambda: archive.link("bin", "usr/bin"),
        lambda: archive.character_device("dev/console", 5, 1, 0o600),
        lambda: archive.directory("proc"),
    ]
    for step in steps[::order]:
        step()
    return archive


def test_entries_are_as_the_kernel_reads_them() -> None:
    entries = parse(sample(1).pack())
    assert list(entries) == sorted(entries)
    assert entries["usr/bin/tool"][:2] == (0o100755, b"12345")
    assert entries["bin"][:2] == (0o120777, b"usr/bin")
    assert entries["dev/console"][0::2][0] == 0o020600
    assert entries["dev/console"][2] == (5, 1)
    assert entries["usr/bin"][0] == 0o040755


def test_equal_content_gives_equal_bytes() -> None:
    assert sample(1).pack() == sample(-1).pack()


def test_times_are_fixed() -> None:
    assert {entry[3] for entry in parse(sample(1).pack()).values()} == {1_686_355_200}


@pytest.mark.parametrize("path", ["", "/", "a/../b", "./a", "a//b"])
def test_path_out_of_the_tree_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        Archive().file(path, b"")

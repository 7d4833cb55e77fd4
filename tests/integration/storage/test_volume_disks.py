"""What the host sees of a volume's disk that programs of others have written."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from services.storage.compiler import create_volume
from services.storage.volumes.disk import is_at_rest

SIZE = 64 << 20
MARK = "trusted.vic.copy_up"


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """Make a volume's disk, and change its file system with debugfs."""

    def change(*requests: str) -> Path:
        disk, raw = tmp_path / "disk.vmdk", tmp_path / "disk.raw"
        disk.unlink(missing_ok=True)
        create_volume(disk, SIZE, name="v")
        run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", disk, raw)
        for request in requests:
            run("debugfs", "-w", "-R", request, raw)
        sparse = "subformat=monolithicSparse"
        run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", sparse, raw, disk)
        return disk

    return change


def test_a_volume_that_was_left_in_order_is_at_rest(changed: Callable[..., Path]) -> None:
    assert is_at_rest(changed())


def test_a_journal_that_is_not_in_place_has_to_be_replayed(changed: Callable[..., Path]) -> None:
    assert not is_at_rest(changed("feature needs_recovery"))


@pytest.mark.parametrize("others", [0, 3])
def test_a_copy_that_was_cut_off_is_seen_wherever_its_mark_is_kept(
    changed: Callable[..., Path], others: int
) -> None:
    # Others before it fill the inode: it is kept in a block beside then.
    fill = [f"ea_set / user.other{n} {'x' * 60}" for n in range(others)]
    assert is_at_rest(changed(*fill))
    assert not is_at_rest(changed(*fill, f"ea_set / {MARK} 1"))
    assert is_at_rest(changed(*fill, f"ea_set / {MARK} 1", f"ea_rm / {MARK}"))

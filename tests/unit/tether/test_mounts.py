"""What mounts and files are put on, on directories of this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tether.supervisor import sandbox, surrounding
from tether.supervisor.mounts import check_target, make_target


@pytest.fixture(autouse=True)
def no_mask() -> Iterator[None]:
    """The mask of the process that makes them in a VM."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(top: Path) -> set[int]:
    """The modes of all directories below one."""
    return {stat.S_IMODE(os.stat(path).st_mode) for path, _, _ in os.walk(top) if path != str(top)}


@pytest.mark.parametrize("is_file", [False, True])
def test_only_root_may_write_the_directories_above_a_mount(tmp_path: Path, is_file: bool) -> None:
    target = tmp_path / "opt/a/b/data"
    assert not make_target(str(target), is_file=is_file)
    assert target.is_file() is is_file
    assert modes(tmp_path) == {0o755}
    assert make_target(str(target), is_file=is_file)


def test_only_root_may_write_the_directories_above_a_file_of_ours(tmp_path: Path) -> None:
    sandbox.make_file(str(tmp_path / "etc/a/b/hosts"))
    assert modes(tmp_path) == {0o755}
    assert stat.S_IMODE((tmp_path / "etc/a/b/hosts").stat().st_mode) == 0o644


def test_a_container_is_marked_as_docker_marks_it(tmp_path: Path) -> None:
    sandbox.make_marks(str(tmp_path))
    sandbox.make_marks(str(tmp_path))
    mark = (tmp_path / ".dockerenv").stat()
    assert (stat.S_IMODE(mark.st_mode), mark.st_size) == (0o755, 0)
    assert os.readlink(tmp_path / "etc/mtab") == "/proc/mounts"
    assert modes(tmp_path) == {0o755}


def test_marks_of_the_image_stay(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/mtab").symlink_to("../proc/self/mounts")
    (tmp_path / ".dockerenv").symlink_to("etc/elsewhere")
    sandbox.make_marks(str(tmp_path))
    assert os.readlink(tmp_path / "etc/mtab") == "../proc/self/mounts"
    assert not (tmp_path / "etc/elsewhere").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="makes a device node")
def test_only_root_may_write_the_directories_above_a_device(tmp_path: Path) -> None:
    surrounding.make_node(str(tmp_path / "dev/a/b/null"), os.stat("/dev/null"))
    assert modes(tmp_path) == {0o755}


@pytest.mark.parametrize("is_file", [False, True])
def test_what_a_link_leads_to_is_made(tmp_path: Path, is_file: bool) -> None:
    link = tmp_path / "data"
    link.symlink_to("mnt/some/data")
    check_target(str(link), is_file=is_file)
    assert not make_target(str(link), is_file=is_file)
    assert (tmp_path / "mnt/some/data").is_file() is is_file
    assert link.is_symlink()


def test_what_a_link_of_a_file_of_ours_leads_to_is_made(tmp_path: Path) -> None:
    link = tmp_path / "resolv.conf"
    link.symlink_to("run/systemd/resolve/stub-resolv.conf")
    sandbox.make_file(str(link))
    assert (tmp_path / "run/systemd/resolve/stub-resolv.conf").read_bytes() == b""


def test_a_directory_is_not_mounted_on_a_file_nor_a_file_on_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "to-file").symlink_to("file")
    for name in ("file", "to-file"):
        with pytest.raises(NotADirectoryError, match=f"on {tmp_path}/{name}, which is a file"):
            check_target(f"{tmp_path}/{name}", is_file=False)
    with pytest.raises(IsADirectoryError, match="which is a directory"):
        check_target(str(tmp_path), is_file=True)

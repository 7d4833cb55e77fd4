"""Copying an image's files into an empty volume."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tether.supervisor import copyup, syscalls
from tether.supervisor.copyup import COPY_UP_MARK, clear, copy_up, is_marked

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="copies owners and devices")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    directory = tmp_path / "image"
    (directory / "below").mkdir(parents=True)
    (directory / "file").write_bytes(b"text\n")
    os.link(directory / "file", directory / "below" / "same")
    os.symlink("file", directory / "link")
    os.mkfifo(directory / "pipe", 0o620)
    os.mknod(directory / "null", stat.S_IFCHR | 0o644, os.makedev(1, 3))
    (directory / "tool").write_bytes(b"#!")
    os.chown(directory / "tool", 7, 8)
    (directory / "tool").chmod(0o4755)
    with (directory / "sparse").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(4 << 20)
        file.write(b"middle")
    os.chown(directory / "below", 7, 8)
    directory.chmod(0o750)
    os.utime(directory, ns=(1, 1_000_000_007))
    return directory


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "volume").mkdir()
    root = os.open(tmp_path / "volume", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.setxattr(root, COPY_UP_MARK, b"1")
        os.removexattr(root, COPY_UP_MARK)
    except OSError:
        pytest.skip("this file system keeps no trusted attributes")
    yield root
    os.close(root)


def test_everything_is_copied_with_all_that_is_known_of_it(
    image: Path, volume: int, tmp_path: Path
) -> None:
    copy_up(str(image), volume)
    copy = tmp_path / "volume"

    def known(path: Path) -> dict[str, tuple[int, ...]]:
        every = [path, *sorted(path.rglob("*"))]
        return {
            str(one.relative_to(path)): (
                *(one.lstat().st_mode, one.lstat().st_uid, one.lstat().st_gid),
                *(one.lstat().st_rdev, one.lstat().st_mtime_ns),
                0 if one.is_dir() else one.lstat().st_nlink,
                0 if one.is_dir() else one.lstat().st_size,
            )
            for one in every
        }

    assert known(copy) == known(image)
    assert (copy / "below" / "same").samefile(copy / "file")
    assert os.readlink(copy / "link") == "file"
    assert (copy / "sparse").read_bytes() == (image / "sparse").read_bytes()
    assert (copy / "sparse").stat().st_blocks * 512 < 1 << 20
    assert not is_marked(volume)


def test_a_volume_that_holds_something_is_left_alone(
    image: Path, volume: int, tmp_path: Path
) -> None:
    (tmp_path / "volume" / "mine").touch()
    copy_up(str(image), volume)
    assert os.listdir(volume) == ["mine"]


def test_a_path_that_the_image_does_not_have_gives_nothing(volume: int, tmp_path: Path) -> None:
    copy_up(str(tmp_path / "missing"), volume)
    assert os.listdir(volume) == []
    assert not is_marked(volume)


def test_a_copy_that_is_cut_off_is_marked_and_can_be_cleared(
    image: Path, volume: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(Exception):
        pass

    def cut(*_: object) -> None:
        raise PowerCutError

    monkeypatch.setattr(copyup, "_copy_data", cut)
    with pytest.raises(PowerCutError):
        copy_up(str(image), volume)
    assert is_marked(volume)
    clear(volume)
    assert os.listdir(volume) == []
    os.removexattr(volume, COPY_UP_MARK)
    monkeypatch.undo()
    copy_up(str(image), volume)
    assert "file" in os.listdir(volume)


def test_paths_inside_a_volume_lead_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "inside" / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    os.symlink("/outside", tmp_path / "inside" / "away")
    os.symlink("../../sub", tmp_path / "inside" / "back")
    root = os.open(tmp_path / "inside", os.O_PATH)
    try:
        found = syscalls.open_in_root(root, "back", os.O_PATH)
        assert os.fstat(found).st_ino == (tmp_path / "inside" / "sub").stat().st_ino
        os.close(found)
        with pytest.raises(FileNotFoundError):
            syscalls.open_in_root(root, "away", os.O_PATH)
    finally:
        os.close(root)

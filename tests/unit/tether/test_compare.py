"""What differs between a container's disk and its image's, on two directories of this machine."""

import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tether.files.compare import Change, compare, write_changes
from tether.files.layer import write_layer

Edit = Callable[[Path], None]


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A container's tree that is still its image's, and that one."""
    image = tmp_path / "image"
    for directory in ("etc/conf.d", "usr/bin", "var/empty", "dev"):
        (image / directory).mkdir(parents=True)
    (image / "etc/passwd").write_text("root")
    (image / "etc/conf.d/one").write_text("1")
    (image / "usr/bin/tool").write_text("tool")
    os.link(image / "usr/bin/tool", image / "usr/bin/also")
    (image / "usr/bin/link").symlink_to("tool")
    disk = tmp_path / "disk"
    shutil.copytree(image, disk, symlinks=True)
    (disk / "usr/bin/also").unlink()
    os.link(disk / "usr/bin/tool", disk / "usr/bin/also")
    return disk, image


def compared(trees: tuple[Path, Path]) -> Iterator[Change]:
    disk, image = trees
    return compare(str(disk), str(image))


def changes(trees: tuple[Path, Path]) -> list[str]:
    return [f"{one.kind} {one.path}" for one in compared(trees)]


def layer(trees: tuple[Path, Path]) -> tarfile.TarFile:
    out = io.BytesIO()
    write_layer(compared(trees), str(trees[0]), out)
    return tarfile.open(fileobj=io.BytesIO(out.getvalue()))


def test_a_disk_that_nothing_was_done_to_is_its_image(trees: tuple[Path, Path]) -> None:
    # Every inode is another one here, so that all of this is found by looking at the content.
    assert changes(trees) == []
    assert layer(trees).getnames() == []


def _rewrite(disk: Path) -> None:
    """Another content of the same size, under the same time."""
    file = disk / "etc/passwd"
    times = file.stat()
    file.write_text("toor")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def _replace_directory(disk: Path) -> None:
    shutil.rmtree(disk / "etc/conf.d")
    (disk / "etc/conf.d").mkdir()
    (disk / "etc/conf.d/two").write_text("2")


def _directory_by_file(disk: Path) -> None:
    shutil.rmtree(disk / "etc/conf.d")
    (disk / "etc/conf.d").write_text("now a file")


def _file_by_directory(disk: Path) -> None:
    (disk / "etc/passwd").unlink()
    (disk / "etc/passwd").mkdir()
    (disk / "etc/passwd/deep").write_text("x")


@pytest.mark.parametrize(
    ("edit", "wanted"),
    [
        (lambda d: (d / "etc/new").write_text("x"), ["C /etc", "A /etc/new"]),
        (lambda d: (d / "top").mkdir(), ["A /top"]),
        (
            lambda d: os.makedirs(d / "var/empty/a/b"),
            ["C /var", "C /var/empty", "A /var/empty/a", "A /var/empty/a/b"],
        ),
        (lambda d: (d / "etc/passwd").unlink(), ["C /etc", "D /etc/passwd"]),
        (lambda d: shutil.rmtree(d / "etc"), ["D /etc"]),
        (lambda d: (d / "etc/passwd").chmod(0o600), ["C /etc", "C /etc/passwd"]),
        (lambda d: (d / "etc").chmod(0o700), ["C /etc"]),
        (lambda d: (d / "etc/passwd").chmod(0o644), []),
        (_rewrite, ["C /etc", "C /etc/passwd"]),
        (_replace_directory, ["C /etc", "C /etc/conf.d", "D /etc/conf.d/one", "A /etc/conf.d/two"]),
        (_directory_by_file, ["C /etc", "C /etc/conf.d"]),
        (_file_by_directory, ["C /etc", "C /etc/passwd", "A /etc/passwd/deep"]),
        # Its other names are what they were.
        (lambda d: (d / "usr/bin/also").unlink(), ["C /usr", "C /usr/bin", "D /usr/bin/also"]),
        (
            lambda d: (d / "usr/bin/link").unlink() or (d / "usr/bin/link").symlink_to("also"),
            ["C /usr", "C /usr/bin", "C /usr/bin/link"],
        ),
        (
            lambda d: os.setxattr(d / "etc/passwd", "user.mark", b"1"),
            ["C /etc", "C /etc/passwd"],
        ),
        (lambda d: (d / "etc/bell\n").write_text(""), ["C /etc", "A /etc/bell\n"]),
    ],
)
def test_changes(trees: tuple[Path, Path], edit: Edit, wanted: list[str]) -> None:
    edit(trees[0])
    assert changes(trees) == wanted


def test_mount_points_that_the_vm_made_are_no_change(trees: tuple[Path, Path]) -> None:
    disk, image = trees
    for path in ("proc", "sys", "dev/shm"):
        (disk / path).mkdir()
    for name in ("hosts", "hostname", "resolv.conf", "machine-id"):
        (disk / "etc" / name).touch()
    (disk / ".dockerenv").touch()
    (disk / "etc/mtab").symlink_to("/proc/mounts")
    assert changes(trees) == []
    shutil.rmtree(image / "etc")
    # Nor is their directory, once the image has none; what the container puts there is.
    for name in ("passwd", "conf.d/one"):
        (disk / "etc" / name).unlink()
    (disk / "etc/conf.d").rmdir()
    assert changes(trees) == []
    (disk / "etc/hosts").write_text("127.0.0.1 me")
    assert changes(trees) == ["A /etc", "A /etc/hosts"]
    (disk / "etc/mtab").unlink()
    (disk / "etc/mtab").symlink_to("elsewhere")
    assert changes(trees) == ["A /etc", "A /etc/hosts", "A /etc/mtab"]


def test_a_new_name_of_a_file_stays_a_link_to_it(trees: tuple[Path, Path]) -> None:
    os.link(trees[0] / "usr/bin/tool", trees[0] / "usr/bin/third")
    tar = layer(trees)
    kinds = {member.name: (member.type, member.linkname) for member in tar.getmembers()}
    assert kinds["usr/bin/also"][0] == tarfile.REGTYPE
    assert kinds["usr/bin/third"] == (tarfile.LNKTYPE, "usr/bin/also")
    assert kinds["usr/bin/tool"] == (tarfile.LNKTYPE, "usr/bin/also")


def test_a_layer_has_directories_content_and_whiteouts(trees: tuple[Path, Path]) -> None:
    disk, _ = trees
    (disk / "etc/passwd").unlink()
    shutil.rmtree(disk / "var")
    (disk / "etc/new").write_text("content")
    os.mkfifo(disk / "etc/pipe")
    os.setxattr(disk / "etc/new", "user.mark", b"\xff\x00")
    tar = layer(trees)
    assert tar.getnames() == ["etc", "etc/new", "etc/.wh.passwd", "etc/pipe", ".wh.var"]
    assert tar.getmember("etc").isdir()
    assert tar.extractfile("etc/new").read() == b"content"  # type: ignore[union-attr]
    assert tar.getmember("etc/.wh.passwd").size == 0
    assert "SCHILY.xattr.user.mark" in tar.getmember("etc/new").pax_headers


def test_names_that_are_no_utf8_are_told_as_they_are(trees: tuple[Path, Path]) -> None:
    (trees[0] / os.fsdecode(b"odd-\xff")).touch()
    out = io.BytesIO()
    write_changes(compared(trees), out)
    assert out.getvalue() == b"A/odd-\xff\0"


def test_a_deep_tree_is_no_trouble(trees: tuple[Path, Path]) -> None:
    made = [trees[0] / "d"]
    for _ in range(1499):
        made.append(made[-1] / "d")
    for directory in made:
        directory.mkdir()
    assert len(changes(trees)) == 1500
    # What clears up after tests goes down one call a directory.
    for directory in reversed(made):
        directory.rmdir()

"""Files of an image, looked at and taken out without a VM."""

import io
import tarfile

import pytest

from services.storage.authoring.trees import tree_tar
from services.storage.compiler.errors import NotFound
from services.storage.compiler.reader import FileSystem
from tests.unit.storage.compiler.disks import (
    compile_all,
    directory,
    file,
    hard_link,
    symlink,
    tar,
)


@pytest.fixture
def files() -> FileSystem:
    """Two layers."""
    below = tar(directory("usr"), directory("usr/lib"), file("usr/lib/a", b"x" * 5000))
    above = tar(
        symlink("lib", "usr/lib"),
        symlink("away", "../../../usr/./lib"),
        symlink("round", "round"),
        symlink("nowhere", "/not/here"),
        hard_link("usr/b", "usr/lib/a"),
        symlink("usr/lib/link", "/etc/passwd"),
    )
    return compile_all(below, above)


def resolved(files: FileSystem, path: bytes) -> tuple[bytes, int, bool]:
    where, missing, found = files.resolve(path)
    return where, missing, found is not None


def test_a_path_leads_through_links_and_never_out(files: FileSystem) -> None:
    assert resolved(files, b"/") == (b"/", 0, True)
    assert resolved(files, b"/../lib/./a") == (b"/usr/lib/a", 0, True)
    assert resolved(files, b"/away/") == (b"/usr/lib", 0, True)
    assert resolved(files, b"/lib/x/../y/z") == (b"/usr/lib/y/z", 2, False)
    assert resolved(files, b"/nowhere/x") == (b"/not/here/x", 3, False)
    for path in (b"/round", b"/usr/b/below"):
        with pytest.raises(NotFound):
            files.resolve(path)


def test_a_tree_comes_as_a_tar_that_says_whether_it_is_a_directorys(files: FileSystem) -> None:
    whole = _read(files, b"/")
    assert whole["."].isdir()
    assert whole["usr/lib/link"].linkname == "/etc/passwd"
    linked = [name for name in ("usr/b", "usr/lib/a") if whole[name].islnk()]
    assert len(linked) == 1
    assert set(_read(files, b"/usr/lib")) == {".", "a", "link"}
    alone = _read(files, b"/usr/lib/a")
    assert list(alone) == ["a"]
    assert alone["a"].size == 5000


def _read(files: FileSystem, top: bytes) -> dict[str, tarfile.TarInfo]:
    packed = io.BytesIO(b"".join(tree_tar(files, top)))
    with tarfile.open(fileobj=packed) as opened:
        return {member.name: member for member in opened}

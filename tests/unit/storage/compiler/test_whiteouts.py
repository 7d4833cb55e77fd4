"""Whiteouts and opaque directories, in any order."""

from __future__ import annotations

import itertools
import tarfile

import pytest

from services.storage.compiler import LayerInvalid
from tests.unit.storage.compiler.disks import (
    compile_all,
    directory,
    file,
    hard_link,
    symlink,
    tar,
    tree,
)

BELOW = tar(
    directory("d"),
    file("d/old", b"old"),
    directory("d/sub"),
    file("d/sub/deep", b"deep"),
    file("f", b"f"),
    symlink("link", "d"),
)


def test_a_whiteout_hides_a_file() -> None:
    files = compile_all(BELOW, tar(file(".wh.f")))
    assert "f" not in tree(files)
    assert ".wh.f" not in tree(files)


def test_a_whiteout_hides_a_whole_directory() -> None:
    assert tree(compile_all(BELOW, tar(file(".wh.d")))) == {"f": "file f", "link": "link d"}


def test_a_whiteout_hides_the_link_and_not_its_target() -> None:
    found = tree(compile_all(BELOW, tar(file(".wh.link"))))
    assert "link" not in found
    assert found["d/old"] == "file old"


def test_a_whiteout_of_nothing_is_nothing() -> None:
    assert tree(compile_all(BELOW, tar(file(".wh.no"), file("no/.wh.no")))) == tree(
        compile_all(BELOW)
    )


def test_a_whiteout_of_one_name_leaves_the_others() -> None:
    below = tar(file("a", b"x"), hard_link("b", "a"))
    files = compile_all(below, tar(file(".wh.a")))
    assert tree(files) == {"b": "file x"}
    assert files.stat(b"b").links == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_an_opaque_directory_shows_only_its_own_layer(order: tuple[int, ...]) -> None:
    members = [directory("d", 0o700), file("d/.wh..wh..opq"), file("d/new", b"new")]
    files = compile_all(BELOW, tar(*(members[n] for n in order)))
    assert tree(files) == {
        "d": "directory",
        "d/new": "file new",
        "f": "file f",
        "link": "link d",
    }
    assert files.stat(b"d").mode & 0o777 == 0o700


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_an_opaque_directory_reaches_into_merged_ones(order: tuple[int, ...]) -> None:
    members = [
        directory("d"),
        file("d/.wh..wh..opq"),
        directory("d/sub"),
        file("d/sub/new", b"new"),
    ]
    found = tree(compile_all(BELOW, tar(*(members[n] for n in order))))
    assert found["d/sub/new"] == "file new"
    assert "d/sub/deep" not in found
    assert "d/old" not in found


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_whiteout_hides_only_what_lies_below(order: tuple[int, ...]) -> None:
    members = [file(".wh.d"), directory("d"), file("d/new", b"new")]
    assert tree(compile_all(BELOW, tar(*(members[n] for n in order)))) == {
        "d": "directory",
        "d/new": "file new",
        "f": "file f",
        "link": "link d",
    }


def test_a_whiteout_spares_a_directory_that_this_layer_describes() -> None:
    files = compile_all(BELOW, tar(directory("d", 0o700), file(".wh.d")))
    assert files.names(b"d") == []
    assert files.stat(b"d").mode & 0o777 == 0o700


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
def test_a_whiteout_and_a_new_file_of_one_name(order: tuple[int, ...]) -> None:
    members = [file(".wh.f"), file("f", b"new")]
    assert tree(compile_all(BELOW, tar(*(members[n] for n in order))))["f"] == "file new"


def test_a_whiteout_spares_a_link_that_this_layer_names_again() -> None:
    members = [hard_link("f", "f"), file(".wh.f")]
    assert tree(compile_all(BELOW, tar(*members)))["f"] == "file f"


def test_a_whiteout_through_a_link_stays_in_the_image() -> None:
    found = tree(compile_all(BELOW, tar(file("link/.wh.old"))))
    assert "d/old" not in found
    below = tar(directory("d"), file("d/x", b"x"), symlink("up", "../../.."))
    assert tree(compile_all(below, tar(file("up/d/.wh.x")))) == {
        "d": "directory",
        "up": "link ../../..",
    }


def test_an_opaque_root_hides_everything() -> None:
    files = compile_all(BELOW, tar(file("new", b"n"), file(".wh..wh..opq")))
    assert tree(files) == {"new": "file n"}
    assert files.names(b"") == [b"new"]


def test_what_is_hidden_twice_stays_hidden() -> None:
    again = tar(file("d/.wh..wh..opq"), file(".wh.d"), file("d/.wh..wh..opq"), file(".wh.d"))
    assert "d" not in tree(compile_all(BELOW, again))


def test_aufs_book_keeping_is_passed_over() -> None:
    found = compile_all(
        BELOW, tar(file(".wh..wh.plnk"), file(".wh..wh.aufs"), file("d/.wh..wh.orph"))
    )
    assert tree(found) == tree(compile_all(BELOW))


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh..."])
def test_a_whiteout_of_the_root_or_a_parent_is_refused(name: str) -> None:
    with pytest.raises(LayerInvalid, match="names nothing"):
        compile_all(BELOW, tar(file(name)))


def test_a_whiteout_may_be_of_any_type() -> None:
    info, _ = file(".wh.f")
    info.type = tarfile.CHRTYPE
    assert "f" not in tree(compile_all(BELOW, tar((info, b""))))
